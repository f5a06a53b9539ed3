"""Makes golden.json: what OpenCV, Pillow and numpy give for the steps of the input pipeline.

    python tests/input/make_golden.py > tests/input/golden.json

The picture follows from a formula, so that it need not be stored: byte i is the top byte of
(i + 1) * 2654435761 * (i // 7 + 3) modulo 2^32, darkened in its upper half.
"""

import json

import cv2
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 19, 14
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


def picture():
    count = WIDTH * HEIGHT * 3
    values = [((i + 1) * 2654435761 * (i // 7 + 3) % 2**32) >> 24 for i in range(count)]
    values = [v // 6 if i < count // 2 else v for i, v in enumerate(values)]
    return np.array(values, np.uint8).reshape(HEIGHT, WIDTH, 3)


def distort(image, brightness, contrast, contrast_last, saturation, hue, permutation):
    image = image.astype(np.float32)
    image += np.float32(brightness)
    if not contrast_last:
        image *= np.float32(contrast)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] *= np.float32(saturation)
    hsv[..., 0] += np.float32(hue)
    hsv[..., 0][hsv[..., 0] > 360] -= 360
    hsv[..., 0][hsv[..., 0] < 0] += 360
    image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if contrast_last:
        image *= np.float32(contrast)
    return image[..., permutation]


def values(array):
    return [round(float(v), 4) for v in np.asarray(array).ravel()]


def main():
    image = picture()
    distortions = [
        dict(brightness=0, contrast=1, contrast_last=True, saturation=1, hue=0, permutation=[0, 1, 2]),
        dict(brightness=21.5, contrast=0.7, contrast_last=False, saturation=1.4, hue=-13.25, permutation=[2, 0, 1]),
        dict(brightness=-29.75, contrast=1.3, contrast_last=True, saturation=0.6, hue=17.5, permutation=[0, 2, 1]),
        dict(brightness=-31, contrast=1, contrast_last=True, saturation=1, hue=0, permutation=[0, 1, 2]),
        dict(brightness=-8, contrast=1.45, contrast_last=False, saturation=1.5, hue=0, permutation=[1, 2, 0]),
        dict(brightness=0, contrast=0.5, contrast_last=True, saturation=1, hue=18, permutation=[2, 1, 0]),
    ]
    pipelines = [
        dict(distortion=1, crop=[2, 1, 16, 12], flip=True, size=8),
        dict(distortion=2, crop=[0, 0, 19, 14], flip=False, size=9),
        dict(distortion=4, crop=[3, 2, 15, 11], flip=False, size=24),
        dict(distortion=0, crop=[18, 4, 1, 10], flip=True, size=8),
    ]
    result = {
        "width": WIDTH,
        "height": HEIGHT,
        "distort": [dict(d, values=values(distort(image, **d))) for d in distortions],
        "resize": [],
        "pipeline": [],
    }
    for width, height in [(8, 8), (19, 7), (40, 33), (5, 28)]:
        opencv = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        pillow = Image.fromarray(image).resize((width, height), Image.BILINEAR)
        result["resize"].append(
            dict(
                width=width,
                height=height,
                opencv=np.asarray(opencv).ravel().tolist(),
                antialias=np.asarray(pillow).ravel().tolist(),
            )
        )
    for case in pipelines:
        left, top, width, height = case["crop"]
        floats = distort(image, **distortions[case["distortion"]])
        floats = np.ascontiguousarray(floats[top : top + height, left : left + width])
        size = case["size"]
        floats = cv2.resize(floats, (size, size), interpolation=cv2.INTER_LINEAR)
        floats = (floats - MEAN) / STD
        if case["flip"]:
            floats = floats[:, ::-1]
        result["pipeline"].append(dict(case, values=values(floats)))
    result["test"] = dict(
        size=10,
        values=values((cv2.resize(image, (10, 10)).astype(np.float32) - MEAN) / STD),
    )
    print(json.dumps(result))


main()
