"""Pictures per second of a network in PyTorch on a GPU, eager, channels last: scripts/gpu-check.sh
sets them beside `dbloss bench step --device cuda`. Never run on a GPU so far.

    python benches/peer/gpu.py BACKBONE BATCH

Convolutions may use TF32 and other products may not, PyTorch's defaults, which are dbloss's too. The
loss is the mean square of the pooled features; the share of the peak is of 3 x the forward pass's
multiplications and additions for a training step.
"""

import sys
import time

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

ROUNDS = 20


def timed(step):
    """Median seconds of a round, after three to warm up."""
    times = []
    for _ in range(3 + ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[3:])[ROUNDS // 2]


def main(name, batch):
    model = timm.create_model(name, pretrained=False, num_classes=0).cuda()
    model = model.to(memory_format=torch.channels_last)
    images = torch.rand(batch, 3, 224, 224, device="cuda") * 2 - 1
    images = images.to(memory_format=torch.channels_last)
    # Running statistics, as dbloss's default.
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    flops = counter.get_total_flops()

    def infer():
        with torch.no_grad():
            model(images)

    def train():
        model.zero_grad(set_to_none=True)
        model(images).square().mean().backward()

    inference, training = timed(infer), timed(train)
    print(f"inference {batch / inference:.1f} pictures/s, {flops / inference / 1e12:.1f} TFLOP/s")
    print(f"training {batch / training:.1f} pictures/s, {3 * flops / training / 1e12:.1f} TFLOP/s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
