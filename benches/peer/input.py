"""Pictures per second of decode + augmentation + resize on one core, with OpenCV and with torchvision.

    python benches/peer/input.py LABELS.csv PICTURES_FOLDER [LIMIT]

The OpenCV column does what dbloss's default does, step by step in float32; the torchvision column
does its nearest relatives (ColorJitter, RandomResizedCrop, flip) on Pillow pictures. Compare with
`dbloss bench input` on the same table. Needs opencv-python-headless, numpy, and for the second
column torch, torchvision and Pillow.
"""

import csv
import os
import random
import sys
import time

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


def main():
    table, folder = sys.argv[1:3]
    limit = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    with open(table, newline="") as file:
        paths = [os.path.join(folder, row["image"]) for row in csv.DictReader(file)][:limit]
    ways = {"opencv": with_opencv}
    try:
        ways["torchvision"] = make_torchvision()
    except ImportError as error:
        print(f"torchvision left out: {error}", file=sys.stderr)
    for path in paths:
        with open(path, "rb") as file:
            file.read()
    print("library,decode_ms,augment_ms,pictures_per_second_per_core")
    for name, way in ways.items():
        way(paths[0])
        times = np.array([way(path) for path in paths]).sum(axis=0)
        decode, rest = times * 1000 / len(paths)
        print(f"{name},{decode:.3f},{rest:.3f},{len(paths) / times.sum():.1f}")


main()
