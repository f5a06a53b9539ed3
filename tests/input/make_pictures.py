"""Makes the small pictures of `pictures/` with Pillow: one gradient in every format that is read.

    python tests/input/make_pictures.py tests/input/pictures

Pixel (x, y) of the upright picture is (10 x, 15 y, 255 - 6 x), 24 x 16 pixels.
"""

import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image

y, x = np.mgrid[0:16, 0:24]
upright = Image.fromarray(np.stack([10 * x, 15 * y, 255 - 6 * x], -1).astype(np.uint8))
folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
quality = dict(quality=97, subsampling=0)


def save(image, name, **options):
    image.save(os.path.join(folder, name), **options)


save(upright, "baseline.jpg", **quality)
save(upright, "progressive.jpg", progressive=True, **quality)
save(upright.convert("L"), "grey.jpg", **quality)
save(upright.convert("CMYK"), "cmyk.jpg", **quality)
save(upright, "picture.png")
save(upright.convert("RGBA"), "alpha.png")
save(upright.convert("L"), "grey.png")
save(upright.convert("L").convert("P"), "palette.png")
save(upright, "picture.bmp")
save(upright.convert("RGBA"), "alpha.bmp")
save(upright.convert("L"), "palette.bmp")
save(upright, "lossless.webp", lossless=True)
save(upright, "lossy.webp", quality=97)
# What a viewer does for each orientation, undone.
stored = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
for orientation, operation in stored.items():
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(upright.transpose(operation), f"orientation-{orientation}.jpg", exif=exif, **quality)


def save_deep(values, name):
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    height, width, channels = values.shape
    rows = (values.astype(np.uint16) * 257).astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    colour = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]:
            checksum = zlib.crc32(kind + body)
            file.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum))


save_deep(np.asarray(upright), "deep.png")
save_deep(np.asarray(upright.convert("L"))[..., None], "deep-grey.png")
