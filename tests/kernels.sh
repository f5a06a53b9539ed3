#!/usr/bin/env bash
# The CPU kernels under a tool that sees what the tests cannot: tests/kernels.sh miri [filter]
# runs the portable ones under Miri, tests/kernels.sh asan [filter] those of every instruction set of
# this machine under AddressSanitizer, with overflow checks. Needs a nightly toolchain with the
# component miri, or rust-src.
#
# The kernels are compiled alone, in a package of their own, which takes a minute where the whole
# program takes an hour under either tool: they know of nothing but random streams and threads.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=${1:?miri or asan}
shift
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir "$home/src"
cp -r src/ops src/rng.rs "$home/src"
# What candle's graph and the GPU are for is left out.
rm -r "$home/src/ops/graph" "$home/src/ops/cuda"
sed -i '/^pub mod \(cuda\|graph\);/d' "$home/src/ops/mod.rs"
printf '#![allow(dead_code, missing_docs)]\npub mod ops;\npub mod rng;\n' > "$home/src/lib.rs"
{
    printf '[package]\nname = "kernels"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[dependencies]\n'
    grep -E '^(blake3|libc|memmap2|proptest|rand_chacha|rayon|tempfile) = ' Cargo.toml
    printf '[profile.dev]\nopt-level = 1\ndebug = "line-tables-only"\noverflow-checks = true\n'
} > "$home/Cargo.toml"
cp Cargo.lock "$home/Cargo.lock"
cp rust-toolchain.toml "$home" 2> /dev/null || true
cd "$home"

case $tool in
    miri)
        # Without the machine's features Miri sees the portable kernels alone. Rayon's pool is never
        # taken down, its queues keep pointers as numbers, and their list of threads (crossbeam-epoch)
        # breaks the stricter of Miri's two rules of borrowing: the other one is asked for.
        export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-permissive-provenance"
        MIRIFLAGS="$MIRIFLAGS -Zmiri-tree-borrows"
        export RAYON_NUM_THREADS=2 PROPTEST_CASES=2
        cargo +nightly miri test --lib -- "$@"
        ;;
    asan)
        target=$(rustc +nightly -vV | sed -n 's/^host: //p')
        export RUSTFLAGS=-Zsanitizer=address
        # The pool's threads live until the end.
        export ASAN_OPTIONS=detect_leaks=0
        cargo +nightly test --lib --target "$target" -- "$@"
        ;;
    *)
        echo "miri or asan, not $tool" >&2
        exit 2
        ;;
esac
