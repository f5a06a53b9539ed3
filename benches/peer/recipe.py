"""The published recipe in PyTorch, on the tables that dbloss reads: the mAP to compare with.

    python benches/peer/recipe.py TRAIN.csv TEST.csv WEIGHTS.safetensors --method erm|db-focal

MobileNetV2 (stem and first stage frozen, running batch-norm statistics), OpenCV's decoder and
augmentation, every step of the recipe written out here once more from the paper and the published
settings for VOC-MLT. The counterpart is

    dbloss split --table TRAIN.csv --test TEST.csv --distribution as-is --out SPLIT
    dbloss run experiments/voc07.toml --set split_folder=SPLIT --set model.weights=WEIGHTS.safetensors

Runs of different seeds differ by about a point; the two programs draw different random numbers.
"""

import argparse
import csv
import os
import random
import time

import cv2
import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
BATCH, EPOCHS, REPEAT, REDUCE = 32, 8, 3, 4


def read(path):
    with open(path) as file:
        rows = list(csv.DictReader(file))
    folder = os.path.dirname(path)
    return [(os.path.join(folder, r["image"]), r["labels"].split("|") if r["labels"] else []) for r in rows]


def distort(image, rng):
    if rng.random() < 0.5:
        image = image + np.float32(rng.uniform(-32, 32))
    contrast_first = rng.random() < 0.5
    if contrast_first and rng.random() < 0.5:
        image = image * np.float32(rng.uniform(0.5, 1.5))
    image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    if rng.random() < 0.5:
        image[..., 1] *= np.float32(rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        hue = image[..., 0] + np.float32(rng.uniform(-18, 18))
        hue[hue > 360] -= 360
        hue[hue < 0] += 360
        image[..., 0] = hue
    image = cv2.cvtColor(image, cv2.COLOR_HSV2RGB)
    if not contrast_first and rng.random() < 0.5:
        image = image * np.float32(rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        image = image[..., rng.sample(range(3), 3)]
    return image


def crop(image, rng):
    height, width = image.shape[:2]
    for _ in range(50):
        w, h = rng.uniform(0.8 * width, width), rng.uniform(0.8 * height, height)
        if 0.5 <= h / w <= 2:
            left, top = int(rng.uniform(0, width - w)), int(rng.uniform(0, height - h))
            return image[top : top + int(h), left : left + int(w)]
    return image


def picture(path, size, rng=None):
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB).astype(np.float32)
    if rng:
        image = crop(distort(image, rng), rng)
    image = (cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR) - MEAN) / STD
    if rng and rng.random() < 0.5:
        image = image[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class Pictures(torch.utils.data.Dataset):
    def __init__(self, rows, order, size, seed=None):
        self.rows, self.order, self.size, self.seed = rows, order, size, seed

    def __len__(self):
        return len(self.order)

    def __getitem__(self, place):
        index = self.order[place]
        rng = None if self.seed is None else random.Random(self.seed * 1_000_003 + place)
        return picture(self.rows[index][0], self.size, rng), index


def class_aware(labels, length, rng):
    """A shuffled cycle over classes; three in a row out of the class's own shuffled cycle."""
    members = [[i for i, row in enumerate(labels) if row[c]] for c in range(labels.shape[1])]

    def cycle(items):
        while True:
            rng.shuffle(items)
            yield from items

    classes, images, order = cycle(list(range(len(members)))), [cycle(m) for m in members], []
    while len(order) < length:
        c = next(classes)
        order += [next(images[c]) for _ in range(REPEAT)]
    return order[:length]


def db_focal(count, total):
    """Distribution-balanced loss with the focal factor, VOC settings, the released code's shift."""
    inverse = 1 / count
    shift = -torch.log(total / count - 1) * 0.05 / 5

    def loss(logits, y):
        share = inverse / (y * inverse).sum(1, keepdim=True)
        weight = 0.1 + torch.sigmoid(10 * (share - 0.3))
        z = (logits + shift) * torch.where(y > 0, 1.0, 5.0)
        plain = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
        plain = plain / torch.where(y > 0, 1.0, 5.0)
        p = torch.where(y > 0, torch.sigmoid(z), torch.sigmoid(-z))
        return (2 * (1 - p) ** 2 * weight * plain).mean()

    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("weights")
    parser.add_argument("--method", choices=["erm", "db-focal"], default="db-focal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)

    train, test = read(arguments.train), read(arguments.test)
    names = sorted({name for _, row in train for name in row})
    table = lambda rows: np.array([[n in row for n in names] for _, row in rows], np.float32)
    labels, truth = table(train), table(test)
    count = torch.from_numpy(labels.sum(0))

    backbone = torchvision.models.mobilenet_v2(weights=None)
    missing, _ = backbone.load_state_dict(load_file(arguments.weights), strict=False)
    assert all(name.startswith("classifier") or name.endswith("num_batches_tracked") for name in missing), missing
    backbone = backbone.features
    neck = torch.nn.Sequential(torch.nn.Linear(1280, 256), torch.nn.BatchNorm1d(256), torch.nn.Dropout(0.5))
    head = torch.nn.Linear(256, len(names))
    torch.nn.init.kaiming_normal_(neck[0].weight, mode="fan_out")
    torch.nn.init.normal_(head.weight, std=0.01)
    for layer in (neck[0], head):
        torch.nn.init.zeros_(layer.bias)
    for module in [backbone[i] for i in range(4)]:
        module.requires_grad_(False)
    backbone = backbone.to(memory_format=torch.channels_last)
    model = torch.nn.ModuleList([backbone, neck, head])
    parameters = [p for p in model.parameters() if p.requires_grad]
    sgd = torch.optim.SGD(parameters, 0.02, momentum=0.9, weight_decay=1e-4)
    forward = lambda x: head(neck(backbone(x).mean((2, 3))))
    if arguments.method == "db-focal":
        loss_of = db_focal(count, len(train))
    else:
        loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    length = int(count.max().item() * len(names) // REDUCE)
    step, start = 0, time.perf_counter()
    for epoch in range(EPOCHS):
        if arguments.method == "erm":
            order = []
            while len(order) < length:
                order += rng.sample(range(len(train)), len(train))
            order = order[:length]
        else:
            order = class_aware(labels, length, rng)
        neck.train()
        backbone.eval()
        loader = torch.utils.data.DataLoader(
            Pictures(train, order, arguments.size, arguments.seed * 100 + epoch),
            BATCH, drop_last=True, num_workers=arguments.workers)
        for images, indices in loader:
            fall = 0.1 ** ((epoch >= 5) + (epoch >= 7))
            rate = 0.02 * fall
            if step < 500:
                rate *= 1 - (1 - step / 500) * (2 / 3)
            sgd.param_groups[0]["lr"] = rate
            sgd.zero_grad()
            y = torch.from_numpy(labels[indices])
            loss = loss_of(forward(images.to(memory_format=torch.channels_last)), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 35)
            sgd.step()
            step += 1
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, {step} steps, "
              f"{step * BATCH / (time.perf_counter() - start):.1f} img/s", flush=True)

    model.eval()
    scores = []
    loader = torch.utils.data.DataLoader(
        Pictures(test, range(len(test)), arguments.size), 64, num_workers=arguments.workers)
    with torch.inference_mode():
        for images, _ in loader:
            scores.append(forward(images.to(memory_format=torch.channels_last)))
    scores = torch.cat(scores).numpy()
    precision = np.array([average_precision_score(truth[:, c], scores[:, c]) for c in range(len(names))])
    groups = {"total": count > 0, "head": count >= 100, "medium": (count >= 20) & (count < 100), "tail": count < 20}
    means = " / ".join(f"{name} {100 * precision[mask.numpy()].mean():.2f}" for name, mask in groups.items())
    print(f"{arguments.method} seed {arguments.seed}: mAP {means}")


if __name__ == "__main__":
    main()
