#!/usr/bin/env bash
# What there is to prove on a GPU, in one run of under 10 minutes, without a network.
#
# THIS SCRIPT HAS NEVER RUN ON A GPU, and neither has the code that it checks: what could be held
# without one is held on the host (tests/cuda_kernels.rs). Expect to mend both.
#
#   scripts/gpu-check.sh BINARY OUT [SPLIT]
#
# BINARY  a release binary built with `--features cudnn` (docs/gpu.md)
# OUT     a folder that is made: a log of each part, the runs, and page.md
# SPLIT   a split folder of voc07 (experiments/voc07.toml); without it that part is left out
#
# LIBRARIES  a folder with the CUDA libraries, if they are not on the loader's path
# PYTHON     an interpreter with torch, torchvision and timm, for the comparison (python3)
set -uo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "$0: $*" >&2
    exit 2
}

[ $# -ge 2 ] || fail "expected BINARY OUT [SPLIT]"
[ -x "$1" ] || fail "$1 is no program"
[ ! -e "$2" ] || fail "$2 is there already"
binary=$(realpath "$1") split=${3:-}
mkdir -p "$2"
out=$(realpath "$2")
python=${PYTHON:-python3}
[ -z "${LIBRARIES:-}" ] || export LD_LIBRARY_PATH=$LIBRARIES${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
page=$out/page.md
failed=0

# Runs a part with its own log and time limit, and says on the page how it ended.
part() {
    local name=$1 limit=$2 began=$SECONDS verdict
    shift 2
    if "$@" > "$out/$name.log" 2>&1; then
        verdict="passed"
    else
        verdict="FAILED, see $name.log"
        failed=1
    fi
    echo "| $name | $verdict | $((SECONDS - began)) s of $limit s |" >> "$page"
}

# A short run of the embedded set on a device: train NAME DEVICE [SETTING..]
train() {
    local name=$1 device=$2 setting
    shift 2
    local settings=()
    for setting in train.epochs=1 "$@"; do settings+=(--set "$setting"); done
    timeout 120 "$binary" run experiments/shapes.toml --method erm --device "$device" \
        --out "$out/$name" "${settings[@]}"
}

# The losses of two runs step by step: at most 1e-3 relative, which is what single precision leaves
# of other orders of sums. The CPU's are held against PyTorch (tests/golden_trajectory.rs).
trajectories() {
    local optimizer
    export NVIDIA_TF32_OVERRIDE=0
    for optimizer in sgd adamw; do
        train "cpu-$optimizer" cpu "optimizer.kind=\"$optimizer\"" || return 1
        train "gpu-$optimizer" cuda "optimizer.kind=\"$optimizer\"" || return 1
        compare "$out/cpu-$optimizer" "$out/gpu-$optimizer" || return 1
    done
}

compare() {
    local one other
    one=$(find "$1" -name steps.csv | head -1)
    other=$(find "$2" -name steps.csv | head -1)
    [ -n "$one" ] && [ -n "$other" ] || return 1
    paste -d, "$one" "$other" | awk -F, '
        NR == 1 { for (i = 1; i <= NF / 2; i++) if ($i == "loss") at = i; half = NF / 2; next }
        {
            far = $at - $(at + half); if (far < 0) far = -far
            if ($at > 0) far /= $at
            if (far > worst) { worst = far; line = NR }
        }
        END {
            print NR - 1 " steps, largest relative difference of the loss " worst " in line " line
            exit !(at && NR > 10 && worst <= 1e-3)
        }'
}

determinism() {
    train first cuda && train second cuda || return 1
    cmp "$(find "$out/first" -name steps.csv)" "$(find "$out/second" -name steps.csv)"
}

# Pictures a second of training and inference, here and in PyTorch eager and channels last.
speed() {
    local backbone batch
    for backbone in resnet50 vit_base_patch16_224 efficientnet_b0; do
        for batch in 32 256; do
            echo "== $backbone, batch $batch, dbloss"
            timeout 60 "$binary" bench step --backbone "$backbone" --batch "$batch" \
                --frozen-stages -1 --rounds 20 --device cuda || return 1
            echo "== $backbone, batch $batch, PyTorch"
            timeout 60 "$python" benches/peer/gpu.py "$backbone" "$batch" || return 1
        done
    done
}

end_to_end() {
    timeout 200 "$binary" bench step "$split" --backbone resnet50 --device cuda || return 1
    timeout 200 "$binary" run experiments/voc07.toml --method erm --device cuda --out "$out/voc07" \
        --set train.epochs=1
}

{
    echo "# dbloss on a GPU"
    echo
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1
    echo
    "$binary" --version
    echo
    echo "| part | | time |"
    echo "| --- | --- | --- |"
} > "$page"

part opens 10 timeout 10 "$binary" bench step --backbone resnet10_w16 --size 64 --device cuda
part trajectories 150 trajectories
part determinism 60 determinism
part speed 240 speed
if [ -n "$split" ]; then
    part voc07 120 end_to_end
else
    echo "| voc07 | left out: no SPLIT | |" >> "$page"
fi
{
    echo
    for log in trajectories speed voc07; do
        [ ! -e "$out/$log.log" ] || printf '## %s\n\n```\n%s\n```\n\n' "$log" "$(tail -80 "$out/$log.log")"
    done
} >> "$page"
cat "$page"
exit "$failed"
