"""Value and gradient of BCE and of DB-Focal in PyTorch, at the shapes of `cargo bench --bench loss`.

    pip install torch
    python benches/peer/losses.py

DB-Focal is written here from the paper's formulas, with autograd.
"""

import statistics
import time

import torch
import torch.nn.functional as F

ROUNDS = 7


def db_focal(logits, targets, counts, images):
    inverse = 1 / counts
    rebalanced = inverse / (targets @ inverse).clamp(min=1e-12)[:, None]
    weight = 0.1 + torch.sigmoid(10 * (rebalanced - 0.3))
    shifted = logits - 0.05 / 5 * torch.log(images / counts - 1)
    scale = targets + 5 * (1 - targets)
    loss = F.binary_cross_entropy_with_logits(shifted * scale, targets, reduction="none")
    return (2 * weight / scale * (1 - torch.exp(-loss)) ** 2 * loss).mean()


def bce(logits, targets, counts, images):
    return F.binary_cross_entropy_with_logits(logits, targets)


torch.manual_seed(0)
print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
for images, classes in [(256, 80), (1024, 1203)]:
    targets = (torch.rand(images, classes) < 0.04).float()
    logits = (3 * torch.randn(images, classes)).requires_grad_()
    counts = 1 + torch.floor(1000 / (1 + torch.arange(classes, dtype=torch.float32)))
    for loss in (bce, db_focal):
        times = []
        for _ in range(ROUNDS):
            logits.grad = None
            start = time.perf_counter()
            loss(logits, targets, counts, 2000.0).backward()
            times.append(1e3 * (time.perf_counter() - start))
        print(
            f"{loss.__name__:10} {images} x {classes}: best {min(times):.3f} ms, "
            f"median {statistics.median(times):.3f} ms"
        )
