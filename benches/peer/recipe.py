"""The published recipe in PyTorch, on the tables that dbloss reads: the mAP to compare with.

    python benches/peer/recipe.py TRAIN.csv TEST.csv WEIGHTS.safetensors --method erm|rs|db-focal

MobileNetV2 (stem and first stage frozen, running batch-norm statistics), OpenCV's decoder and
augmentation, every step of the recipe written out here once more from the paper and the published
settings for VOC-MLT. The counterpart is

    dbloss split --table TRAIN.csv --test TEST.csv --distribution as-is --out SPLIT
    dbloss run experiments/voc07.toml --set split_folder=SPLIT --set model.weights=WEIGHTS.safetensors

With `--backbone vit_tiny_patch16_224` the backbone is timm's and frozen, and its features of `--views`
augmented versions of each picture are computed once for all `--seed`s; the counterpart is a final run of
`dbloss tune experiments/tune/voc07-features.toml`, whose rates stand
behind the methods here, and whose warm-up is a tenth of the steps:

    python benches/peer/recipe.py runs/voc07-features/final/subset-0/split/{train,test}.csv \\
        vit_tiny_patch16_224.f16.safetensors --images VOCdevkit --backbone vit_tiny_patch16_224 \\
        --views 4 --warmup 0.1 --seed 0 1 2 --method erm:2.0 rs:1.0 db-focal:0.01

`--features TRAIN.npy TEST.npy` takes the features that dbloss computed (`dbloss features RUN/config.toml
--on train --views 12 --out TRAIN.npy`, and `--on test`): what differs then is the training alone.

Runs of different seeds differ by about a point; the two programs draw different random numbers.
"""

import argparse
import csv
import os
import random
import sys
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


def read(path, folder=None):
    with open(path) as file:
        rows = list(csv.DictReader(file))
    folder = os.path.dirname(path) if folder is None else folder
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


def picture(path, size, mean, std, rng=None):
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB).astype(np.float32)
    if rng:
        image = crop(distort(image, rng), rng)
    image = (cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR) - mean) / std
    if rng and rng.random() < 0.5:
        image = image[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class Pictures(torch.utils.data.Dataset):
    def __init__(self, rows, order, backbone, size, seed=None):
        self.rows, self.order, self.size, self.seed = rows, order, size, seed
        self.mean, self.std = backbone.mean, backbone.std

    def __len__(self):
        return len(self.order)

    def __getitem__(self, place):
        index = self.order[place]
        rng = None if self.seed is None else random.Random(self.seed * 1_000_003 + place)
        return picture(self.rows[index][0], self.size, self.mean, self.std, rng), index


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


class Head(torch.nn.Module):
    """The published neck and a linear head on features of a backbone."""

    def __init__(self, features, classes):
        super().__init__()
        self.fc = torch.nn.Linear(features, 256)
        self.bn = torch.nn.BatchNorm1d(256)
        self.dropout = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(256, classes)
        torch.nn.init.kaiming_normal_(self.fc.weight, mode="fan_out")
        torch.nn.init.normal_(self.head.weight, std=0.01)
        for layer in (self.fc, self.head):
            torch.nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.head(self.dropout(self.bn(self.fc(x))))


class MobileNet(torch.nn.Module):
    """Stem and first stage frozen, batch norms as in evaluation."""

    mean, std, width, frozen = MEAN, STD, 1280, False

    def __init__(self, weights):
        super().__init__()
        network = torchvision.models.mobilenet_v2(weights=None)
        missing, _ = network.load_state_dict(load_file(weights), strict=False)
        assert all(n.startswith("classifier") or n.endswith("num_batches_tracked") for n in missing), missing
        self.layers = network.features.to(memory_format=torch.channels_last)
        for module in [self.layers[i] for i in range(4)]:
            module.requires_grad_(False)

    def train(self, mode=True):
        return super().train(False)

    def forward(self, x):
        return self.layers(x.to(memory_format=torch.channels_last)).mean((2, 3))


class ViTTiny(torch.nn.Module):
    """timm's, frozen: the class token after the last norm."""

    mean, std, width, frozen = np.full(3, 127.5, np.float32), np.full(3, 127.5, np.float32), 192, True

    def __init__(self, weights):
        super().__init__()
        import timm

        self.network = timm.create_model("vit_tiny_patch16_224", num_classes=0)
        state = {n: t.float() for n, t in load_file(weights).items() if not n.startswith("head.")}
        self.network.load_state_dict(state)
        self.eval().requires_grad_(False)

    def forward(self, x):
        return self.network(x)


BACKBONES = {"mobilenet_v2": MobileNet, "vit_tiny_patch16_224": ViTTiny}


def outputs(backbone, pictures, workers):
    """What the backbone makes of pictures, in their order."""
    loader = torch.utils.data.DataLoader(pictures, 64, num_workers=workers)
    with torch.inference_mode():
        parts = [backbone(images) for images, _ in loader]
    return torch.cat(parts).clone()


def kept(path, rows):
    """Features that `dbloss features --out` wrote, [versions, pictures, features] in the order of rows."""
    with open(os.path.splitext(path)[0] + ".csv") as file:
        listed = [(row["image"], int(row["version"])) for row in csv.DictReader(file)]
    place = {image: index for index, (image, _) in enumerate(rows)}
    values = np.load(path)
    of = np.zeros((max(version for _, version in listed) + 1, len(rows), values.shape[-1]), np.float32)
    for value, (image, version) in zip(values, listed):
        of[version, place[image]] = value
    return torch.from_numpy(of)


def order_of(method, labels, length, rng):
    if method != "erm":
        return class_aware(labels, length, rng)
    order = []
    while len(order) < length:
        order += rng.sample(range(len(labels)), len(labels))
    return order[:length]


def factor(step, epoch, warmup):
    """Of the rate: by a tenth after epochs 5 and 7, from a third upwards during the warm-up."""
    fall = 0.1 ** ((epoch >= 5) + (epoch >= 7))
    return fall * (1 - (1 - step / warmup) * (2 / 3)) if step < warmup else fall


def batches(order, rows, backbone, views, seed, epoch, rng, arguments):
    """Batches of an epoch: the backbone's input or, of kept views, its output."""
    if views is None:
        pictures = Pictures(rows, order, backbone, arguments.size, seed * 100 + epoch)
        yield from torch.utils.data.DataLoader(pictures, BATCH, drop_last=True, num_workers=arguments.workers)
        return
    for start in range(0, len(order) - BATCH + 1, BATCH):
        indices = torch.tensor(order[start : start + BATCH])
        yield views[torch.tensor([rng.randrange(len(views)) for _ in indices]), indices], indices


def train(method, rate, seed, rows, labels, views, arguments):
    """Backbone and head after the published training."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    count = torch.from_numpy(labels.sum(0))
    backbone = BACKBONES[arguments.backbone](arguments.weights)
    head = Head(backbone.width, labels.shape[1])
    parameters = [p for m in (backbone, head) for p in m.parameters() if p.requires_grad]
    sgd = torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=1e-4)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    if method == "db-focal":
        loss_of = db_focal(count, len(rows))

    length = int(count.max().item() * labels.shape[1] // REDUCE)
    warmup = arguments.warmup if arguments.warmup >= 1 else arguments.warmup * EPOCHS * (length // BATCH)
    step, start = 0, time.perf_counter()
    head.train()
    for epoch in range(EPOCHS):
        order = order_of(method, labels, length, rng)
        for x, indices in batches(order, rows, backbone, views, seed, epoch, rng, arguments):
            sgd.param_groups[0]["lr"] = rate * factor(step, epoch, warmup)
            sgd.zero_grad()
            logits = head(x if views is not None else backbone(x))
            loss = loss_of(logits, torch.from_numpy(labels[indices]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 35)
            sgd.step()
            step += 1
        speed = step * BATCH / (time.perf_counter() - start)
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, {step} steps, {speed:.1f} img/s", file=sys.stderr)
    return backbone, head.eval()


def show(method, rate, seed, truth, scores, count):
    precision = np.array([average_precision_score(truth[:, c], scores[:, c]) for c in range(truth.shape[1])])
    groups = {"total": count > 0, "head": count >= 100, "medium": (count >= 20) & (count < 100), "tail": count < 20}
    means = ",".join(f"{100 * precision[mask].mean():.2f}" for mask in groups.values())
    print(f"{method},{rate},{seed},{means}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("weights")
    parser.add_argument("--method", nargs="+", default=["db-focal"], help="erm, rs, db-focal; with :RATE [0.02]")
    parser.add_argument("--backbone", choices=BACKBONES, default="mobilenet_v2")
    parser.add_argument("--images", help="the folder that the tables' paths begin in [that of the table]")
    parser.add_argument("--views", type=int, default=4, help="of a frozen backbone")
    parser.add_argument("--first-view", type=int, default=0, help="other views: 4, 8, ...")
    parser.add_argument("--features", nargs=2, metavar=("TRAIN", "TEST"), help="computed by dbloss, .npy")
    parser.add_argument("--warmup", type=float, default=500, help="steps, or a fraction of all")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    rows, test = read(arguments.train, arguments.images), read(arguments.test, arguments.images)
    names = sorted({name for _, row in rows for name in row})
    labels, truth = (np.array([[n in row for n in names] for _, row in r], np.float32) for r in (rows, test))
    everyone = lambda of, backbone, seed=None: Pictures(of, range(len(of)), backbone, arguments.size, seed)
    views = tested = None
    if arguments.features:
        plain = (read(path, "") for path in (arguments.train, arguments.test))
        views, tested = (kept(path, rows) for path, rows in zip(arguments.features, plain))
        views, tested = views[arguments.first_view :][: arguments.views], tested[0]
    elif BACKBONES[arguments.backbone].frozen:
        backbone = BACKBONES[arguments.backbone](arguments.weights)
        views = torch.stack([
            outputs(backbone, everyone(rows, backbone, arguments.first_view + view), arguments.workers)
            for view in range(arguments.views)
        ])
        tested = outputs(backbone, everyone(test, backbone), arguments.workers)

    print("method,rate,seed,total,head,medium,tail", flush=True)
    for named in arguments.method:
        method, _, rate = named.partition(":")
        assert method in ("erm", "rs", "db-focal"), f"unknown method {method}"
        rate = float(rate or 0.02)
        for seed in arguments.seed:
            backbone, head = train(method, rate, seed, rows, labels, views, arguments)
            x = outputs(backbone, everyone(test, backbone), arguments.workers) if tested is None else tested
            with torch.inference_mode():
                scores = head(x).numpy()
            show(method, rate, seed, truth, scores, labels.sum(0))


if __name__ == "__main__":
    main()
