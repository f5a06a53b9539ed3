#!/bin/sh
# Runs the cases of a folder (one folder a case, with a `cmd.sh` that takes the program through
# DBLOSS), and holds what they print against a word that must occur and one that must not.
#
#   DBLOSS=target/release/dbloss sh tests/field.sh          # all cases of ../shared/cases
#   DBLOSS_CASES=DIR sh tests/field.sh T01 V13              # some of another folder
#
# Ends with 1 if a case is not as expected, with 0 where there are no cases.
root=$(cd "$(dirname "$0")/.." && pwd)
cases=${DBLOSS_CASES:-$root/../shared/cases}
program=${DBLOSS:-$root/target/release/dbloss}
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
export DBLOSS="$program"
[ -d "$cases" ] || { echo "SKIPPED: $cases is not there (set DBLOSS_CASES to its folder)" >&2; exit 0; }

# case | exit code of the last command | must occur | must not occur (extended expressions)
expectations='
C01|0|^c.jpg,cat\|dog|malformed
C03|0|^a.jpg,cat|malformed
C04|0|side below 1: 2.*c.jpg|malformed
C07|0|^dog,|both named
C10|0|^train/a.jpg,|missing
C12|0|^cat,|^"?cat "?,
C18|0|side below 1: 1.*a.jpg|malformed
F02|0|5.tiff|has no picture
L01|0|^b.jpg,cat\|dog|0 classes
O01|0|Jaguar \(/m/0449p\)|^Jaguar,
T01|2|separator|^cat,dog
T03|2|--separator list|^a.jpg
T11|0|nan. for labels|^nan,
T15|0|NFC|^cafe
T18|2|columns 2 and 4|^a.jpg
T24|2|4 refusals|rc=0
T26|2|val/0001.jpg|^train/0001
T27|0|^e.jpg|NEVER
V01|0|JPEGImages/3.jpeg,dog|missing
V06|0|^VOC2007/JPEGImages/3.jpg,$|NEVER
V13|0|猫|è
V14|0|photo \(1\).jpg,dog|NEVER
'

failed=0
printf '%-28s %-5s %-9s %s\n' case rc verdict 'last line'
for folder in "$cases"/*/; do
    name=$(basename "$folder")
    [ -f "$folder/cmd.sh" ] || continue
    short=${name%%-*}
    if [ $# -gt 0 ]; then
        case " $* " in *" $short "*) ;; *) continue ;; esac
    fi
    output=$(sh "$folder/cmd.sh" 2>&1)
    code=$(printf '%s\n' "$output" | sed -n 's/.*rc=\([0-9]*\).*/\1/p' | tail -n 1)
    refusals=$(printf '%s\n' "$output" | grep -c 'rc=2$')
    output="$output
$refusals refusals"
    line=$(printf '%s\n' "$expectations" | grep "^$short|")
    verdict=-
    if [ -n "$line" ]; then
        # `\|` in an expression is a plain bar.
        fields=$(printf '%s' "$line" | sed 's/\\|/\\x7c/g')
        expected=$(printf '%s' "$fields" | cut -d'|' -f2)
        must=$(printf '%s' "$fields" | cut -d'|' -f3 | sed 's/\\x7c/[|]/g')
        never=$(printf '%s' "$fields" | cut -d'|' -f4 | sed 's/\\x7c/[|]/g')
        verdict=good
        [ "$code" = "$expected" ] || verdict=CODE
        printf '%s\n' "$output" | grep -qE -- "$must" || verdict=MISSING
        ! printf '%s\n' "$output" | grep -qE -- "$never" || verdict=WRONG
        [ "$verdict" = good ] || failed=1
    fi
    last=$(printf '%s\n' "$output" | grep -v ' refusals$' | grep -v '^ *$' | tail -n 1 | cut -c1-90)
    printf '%-28s %-5s %-9s %s\n' "$name" "${code:--}" "$verdict" "$last"
done
exit $failed
