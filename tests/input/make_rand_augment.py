"""Makes rand_augment.json: torchvision's RandAugment operations on the picture of make_golden.py.

    python tests/input/make_rand_augment.py > tests/input/rand_augment.json
"""

import json
import math

import numpy as np
import torch
from torchvision.transforms import functional as F

WIDTH, HEIGHT = 19, 14


def picture():
    count = WIDTH * HEIGHT * 3
    values = [((i + 1) * 2654435761 * (i // 7 + 3) % 2**32) >> 24 for i in range(count)]
    values = [v // 6 if i < count // 2 else v for i, v in enumerate(values)]
    return np.array(values, np.uint8).reshape(HEIGHT, WIDTH, 3)


def shear(image, x, y):
    degrees = [math.degrees(math.atan(v)) for v in (x, y)]
    return F.affine(image, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


def main():
    image = torch.from_numpy(picture()).permute(2, 0, 1)
    cases = [
        ("ShearX", 0.17, lambda v: shear(image, v, 0.0)),
        ("ShearY", -0.17, lambda v: shear(image, 0.0, v)),
        ("TranslateX", 0.3, lambda v: F.affine(image, 0.0, [int(v * WIDTH), 0], 1.0, [0.0, 0.0])),
        ("TranslateY", -0.3, lambda v: F.affine(image, 0.0, [0, int(v * HEIGHT)], 1.0, [0.0, 0.0])),
        ("Rotate", 17.0, lambda v: F.rotate(image, v)),
        ("Brightness", 1.3, lambda v: F.adjust_brightness(image, v)),
        ("Color", 0.4, lambda v: F.adjust_saturation(image, v)),
        ("Contrast", 1.6, lambda v: F.adjust_contrast(image, v)),
        ("Sharpness", 1.7, lambda v: F.adjust_sharpness(image, v)),
        ("Posterize", 5, lambda v: F.posterize(image, v)),
        ("Solarize", 90.0, lambda v: F.solarize(image, v)),
        ("AutoContrast", 0, lambda v: F.autocontrast(image // 3 + 40)),
        ("Equalize", 0, lambda v: F.equalize(image)),
    ]
    result = [
        dict(name=name, strength=value, values=run(value).permute(1, 2, 0).reshape(-1).tolist())
        for name, value, run in cases
    ]
    print(json.dumps(result))


main()
