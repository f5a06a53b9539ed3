"""Trainings on fixed features: all losses of dbloss by one command, and a plain PyTorch loop.

    python benches/peer/features.py make FOLDER PROGRAM   # features, labels and an experiment
    cd FOLDER && time PROGRAM run features.toml --seeds 5 --jobs 2
    python benches/peer/features.py time FOLDER [--steps 400]

The set is as large as VOC-MLT: 1,142 training pictures of 20 classes with a long tail, 4,952 test
pictures, 2,048 numbers each. PROGRAM is dbloss, whose `loss list` gives the methods. Both sides train
the same: the neck (linear 2,048 to 256, batch norm, dropout), a linear head, SGD with momentum 0.9
and weight decay 1e-4, the gradient's norm bounded by 35, batches of 32 of a class-aware order.

PyTorch is timed over a few losses for `--steps` steps each, in two processes of one thread side by
side, its better case; the time of all losses, seeds and epochs is extrapolated from the steps
alone: evaluation and checkpoints, which dbloss's time contains, are not in it.
"""

import argparse
import csv
import json
import multiprocessing
import os
import statistics
import subprocess
import time

import numpy as np

CLASSES, WIDTH, TRAIN, TEST = 20, 2048, 1142, 4952
# Training images of each class, as VOC-MLT's.
COUNTS = [775, 234, 151, 109, 78, 62, 51, 43, 36, 31, 27, 24, 20, 16, 13, 10, 8, 6, 5, 4]

EXPERIMENT = """name = "features"

[split]
source = { kind = "csv", train = "train-labels.csv", test = "test-labels.csv" }
distribution = { kind = "as-is" }

[model]
features = { train = "train.npy", test = "test.npy" }

[sampler]
kind = "class-aware"

"""


def make(folder, program):
    random = np.random.default_rng(0)
    os.makedirs(folder, exist_ok=True)
    centres = random.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    for name, images in [("train", TRAIN), ("test", TEST)]:
        labels = np.zeros((images, CLASSES), bool)
        for c, count in enumerate(COUNTS):
            share = max(count * images // TRAIN, 1)
            labels[random.choice(images, share, replace=False), c] = True
        noise = random.normal(size=(images, WIDTH)).astype(np.float32)
        features = np.maximum(labels.astype(np.float32) @ centres * 0.2 + noise, 0)
        np.save(f"{folder}/{name}.npy", features)
        names = [f"{name}-{i:05}.jpg" for i in range(images)]
        with open(f"{folder}/{name}.txt", "w") as file:
            file.write("\n".join(names) + "\n")
        with open(f"{folder}/{name}-labels.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["image", *(f"class-{c:02}" for c in range(CLASSES))])
            rows.writerows([n, *row.astype(int)] for n, row in zip(names, labels))
    listed = json.loads(subprocess.check_output([program, "loss", "list", "--format", "json"]))
    # `composed` is no loss but the grammar of the others.
    names = [loss["name"] for loss in listed if loss["name"] != "composed"]
    with open(f"{folder}/features.toml", "w") as file:
        file.write(EXPERIMENT)
        for name in names:
            file.write(f"\n[methods.{name}]\nloss.name = \"{name}\"\n")
    print(f"{len(names)} losses")


def losses(torch, counts, images):
    F = torch.nn.functional

    def bce(z, y):
        return F.binary_cross_entropy_with_logits(z, y)

    def focal(z, y):
        l = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        return (0.25 * (1 - torch.exp(-l)) ** 2 * l).mean()

    def db_focal(z, y):
        inverse = 1 / counts
        rebalanced = inverse / (y @ inverse).clamp(min=1e-12)[:, None]
        weight = 0.1 + torch.sigmoid(10 * (rebalanced - 0.3))
        shifted = z - 0.05 / 5 * torch.log(images / counts - 1)
        scale = y + 5 * (1 - y)
        l = F.binary_cross_entropy_with_logits(shifted * scale, y, reduction="none")
        return (2 * weight / scale * (1 - torch.exp(-l)) ** 2 * l).mean()

    return {"bce": bce, "focal": focal, "db-focal": db_focal}


def run(folder, loss_name, steps, queue, barrier):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    features = torch.from_numpy(np.load(f"{folder}/train.npy"))
    with open(f"{folder}/train-labels.csv") as file:
        rows = list(csv.reader(file))[1:]
    targets = torch.tensor([[float(v) for v in row[1:]] for row in rows])
    counts = targets.sum(0)
    loss_of = losses(torch, counts, float(len(rows)))[loss_name]
    network = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, 256),
        torch.nn.BatchNorm1d(256),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(256, CLASSES),
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    of_class = [torch.nonzero(targets[:, c])[:, 0] for c in range(CLASSES)]
    barrier.wait()
    start = time.perf_counter()
    for _ in range(steps):
        classes = torch.randint(CLASSES, (32,))
        order = [of_class[c][torch.randint(len(of_class[c]), (1,))] for c in classes.tolist()]
        index = torch.cat(order)
        optimiser.zero_grad()
        value = loss_of(network(features[index]), targets[index])
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 35.0)
        optimiser.step()
        value.item()
    queue.put(time.perf_counter() - start)


def measure(folder, steps):
    os.environ["OMP_NUM_THREADS"] = "1"
    seconds = []
    for name in ["bce", "focal", "db-focal"]:
        queue, barrier = multiprocessing.Queue(), multiprocessing.Barrier(2)
        both = [
            multiprocessing.Process(target=run, args=(folder, name, steps, queue, barrier))
            for _ in range(2)
        ]
        [process.start() for process in both]
        step = statistics.mean(queue.get() for _ in both) / steps
        [process.join() for process in both]
        seconds.append(step)
        print(f"{name:10} {1000 * step:.3f} ms a step")
    epoch = CLASSES * max(COUNTS) // 4 // 32
    total = 22 * 5 * 8 * epoch * statistics.mean(seconds) / 2
    print(f"22 losses x 5 seeds x 8 epochs of {epoch} steps, two at a time: {total:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["make", "time"])
    parser.add_argument("folder")
    parser.add_argument("program", nargs="?")
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    if args.what == "make":
        make(args.folder, args.program)
    else:
        measure(args.folder, args.steps)
