#!/bin/sh
# Compiles the LaTeX of a report, twice as longtable wants it, and fails on any error.
#
#   tests/latex.sh REPORT [OUT.pdf]
#
# Needs pdflatex: apt-get install texlive-latex-base texlive-latex-recommended
set -eu
report=${1:?"usage: tests/latex.sh REPORT [OUT.pdf]"}
command -v pdflatex > /dev/null || {
    echo "skipped: no pdflatex (apt-get install texlive-latex-base texlive-latex-recommended)" >&2
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$report"/report.tex "$report"/table.tex "$report"/per_class.tex "$work"
cd "$work"
for pass in 1 2; do
    pdflatex -interaction=nonstopmode -halt-on-error report.tex > pass.log 2>&1 || {
        tail -n 40 pass.log >&2
        exit 1
    }
done
pages=$(sed -n 's/^Output written on report.pdf (\([0-9]*\) page.*/\1/p' report.log)
overfull=$(grep -c '^Overfull' report.log || true)
cd - > /dev/null
[ $# -lt 2 ] || cp "$work/report.pdf" "$2"
echo "compiled: $pages pages, $overfull lines too wide"
