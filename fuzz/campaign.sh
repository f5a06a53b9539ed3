#!/usr/bin/env bash
# Fuzzes every reader, one after the other, for as many seconds as are given: fuzz/campaign.sh 180
# Further arguments name the readers; what is found lies in fuzz/artifacts. Needs a nightly
# toolchain and cargo-fuzz, and the seeds: cargo test --test bad_input -- --ignored corpus
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?how many seconds for each reader}
shift
readers=("$@")
[ ${#readers[@]} -gt 0 ] || readers=($(ls fuzz/corpus))

# The versions of the program's own lock file, and nothing newer.
cp Cargo.lock fuzz/Cargo.lock
target=$(rustc -vV | sed -n 's/^host: //p')
(cd fuzz && cargo +nightly fuzz build --target "$target" reader)
TIMEFORMAT='%U %S'
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
log=$TMPDIR/log

printf '%-22s %10s %8s %7s %8s %5s\n' reader inputs edges cpu_s slowest MB
for reader in "${readers[@]}"; do
    mkdir -p "fuzz/artifacts/$reader"
    found=
    cpu=$({ time DBLOSS_FUZZ_READER=$reader "fuzz/target/$target/release/reader" \
        "fuzz/corpus/$reader" -artifact_prefix="fuzz/artifacts/$reader/" \
        -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=512 -timeout=10 \
        -report_slow_units=2 -max_len=65536 -print_final_stats=1 > "$log" 2>&1 || found=found; } 2>&1 |
        awk '{ print $1 + $2 }')
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    printf '%-22s %10s %8s %7s %8s %5s\n' "$reader" "$(stat number_of_executed_units)" \
        "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)" "$cpu" \
        "$(stat slowest_unit_time_sec)" "$(stat peak_rss_mb)"
    grep -E 'SUMMARY|panicked at|artifact' "$log" || true
    find "$TMPDIR" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
done
