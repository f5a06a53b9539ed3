"""Pictures per second of decode + augmentation + resize on one core: dbloss, OpenCV and torchvision.

    python benches/peer/input.py PROGRAM SPLIT [--count 500] [--rounds 5]

PROGRAM is dbloss, SPLIT a split folder. The OpenCV row does what dbloss's default does, step by step
in float32; the torchvision row does its nearest relatives (ColorJitter, RandomResizedCrop, flip) on
Pillow pictures. Every round takes the same number of the split's training pictures through each of
them in turn; printed are medians over the rounds, and the ratio to OpenCV round by round.
"""

import argparse
import csv
import os
import random
import statistics
import subprocess
import sys
import time
import tomllib

import cv2
import numpy as np

cv2.setNumThreads(1)
SIZE = 224
MEAN = np.array([103.53, 116.28, 123.675], np.float32)
STD = np.array([57.375, 57.12, 58.395], np.float32)


def distort(image):
    image = image.astype(np.float32)
    if random.random() < 0.5:
        image += np.float32(random.uniform(-32, 32))
    contrast_last = random.random() < 0.5
    contrast = random.uniform(0.5, 1.5) if random.random() < 0.5 else None
    if contrast is not None and not contrast_last:
        image *= np.float32(contrast)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    if random.random() < 0.5:
        hsv[..., 1] *= np.float32(random.uniform(0.5, 1.5))
    if random.random() < 0.5:
        hue = hsv[..., 0]
        hue += np.float32(random.uniform(-18, 18))
        hue[hue > 360] -= 360
        hue[hue < 0] += 360
    image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if contrast is not None and contrast_last:
        image *= np.float32(contrast)
    if random.random() < 0.5:
        image = image[..., np.random.permutation(3)]
    return image


def crop(image):
    height, width = image.shape[:2]
    for _ in range(50):
        w, h = random.uniform(0.8 * width, width), random.uniform(0.8 * height, height)
        if 0.5 <= h / w <= 2:
            left, top = random.uniform(0, width - w), random.uniform(0, height - h)
            return image[int(top) : int(top + h), int(left) : int(left + w)]
    return image


def with_opencv(path):
    """Seconds of decoding and of the rest."""
    start = time.process_time()
    image = cv2.imread(path)
    decoded = time.process_time()
    image = crop(distort(image))
    image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    image = (cv2.cvtColor(image, cv2.COLOR_BGR2RGB) - MEAN[::-1]) * (1 / STD[::-1])
    if random.random() < 0.5:
        image = image[:, ::-1]
    np.ascontiguousarray(image)
    return decoded - start, time.process_time() - decoded


def make_torchvision():
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    transform = v2.Compose(
        [
            v2.ColorJitter(32 / 255, 0.5, 0.5, 18 / 360),
            v2.RandomResizedCrop(SIZE, scale=(0.64, 1.0), ratio=(0.75, 1.34)),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )

    def with_torchvision(path):
        start = time.process_time()
        image = Image.open(path).convert("RGB")
        decoded = time.process_time()
        transform(image)
        return decoded - start, time.process_time() - decoded

    return with_torchvision


def make_dbloss(program, split):
    def with_dbloss(count):
        """Milliseconds a picture of reading and decoding, and of the rest."""
        command = [program, "bench", "input", "--split", split, "--count", str(count), "--csv"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows = {r["stage"]: r for r in csv.DictReader(done.stdout.splitlines())}
        ms = lambda stage: 1000 * float(rows[stage]["seconds_per_picture"])
        return ms("read") + ms("decode"), ms("augment and resize")

    return with_dbloss


def over(way, paths):
    def of(count):
        times = np.array([way(path) for path in random.sample(paths, min(count, len(paths)))])
        return tuple(times.mean(axis=0) * 1000)

    way(paths[0])
    return of


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("split")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with open(os.path.join(arguments.split, "split.toml"), "rb") as file:
        root = os.path.join(arguments.split, tomllib.load(file)["images"]["train"]["path"])
    with open(os.path.join(arguments.split, "train.csv"), newline="") as file:
        paths = [os.path.join(root, row["image"]) for row in csv.DictReader(file)]
    for path in paths:
        with open(path, "rb") as file:
            file.read()
    ways = {
        "dbloss": make_dbloss(arguments.program, arguments.split),
        "opencv": over(with_opencv, paths),
    }
    try:
        ways["torchvision"] = over(make_torchvision(), paths)
    except ImportError as error:
        print(f"torchvision left out: {error}", file=sys.stderr)
    rounds = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            rounds[name].append(way(arguments.count))
    print("library,decode_ms,augment_ms,pictures_per_second_per_core,ratio_to_opencv")
    for name, times in rounds.items():
        decode, rest = (statistics.median(stage) for stage in zip(*times))
        rate = statistics.median(1000 / sum(time) for time in times)
        ratio = statistics.median(
            sum(opencv) / sum(time) for opencv, time in zip(rounds["opencv"], times)
        )
        print(f"{name},{decode:.3f},{rest:.3f},{rate:.1f},{ratio:.2f}")


main()
