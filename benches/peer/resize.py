"""Real pictures, decoded by OpenCV and resized by OpenCV and by Pillow, for tests/resize_real.rs.

    python benches/peer/resize.py LABELS.csv PICTURES_FOLDER OUTPUT_FOLDER [COUNT]
    DBLOSS_RESIZED=OUTPUT_FOLDER cargo test --release --test resize_real

Writes NAME.jpg (the picture as it is), NAME.png (decoded), NAME.opencv.png and NAME.pillow.png
(224 x 224 pixels, bilinear), losslessly.
"""

import csv
import os
import shutil
import sys

import cv2
from PIL import Image

table, folder, output = sys.argv[1:4]
count = int(sys.argv[4]) if len(sys.argv) > 4 else 100
os.makedirs(output, exist_ok=True)
with open(table, newline="") as file:
    names = [row["image"] for row in csv.DictReader(file)]
for i, name in enumerate(names[:: max(1, len(names) // count)][:count]):
    source = os.path.join(folder, name)
    target = os.path.join(output, f"{i:04}")
    shutil.copyfile(source, target + ".jpg")
    picture = cv2.imread(source)
    cv2.imwrite(target + ".png", picture)
    cv2.imwrite(target + ".opencv.png", cv2.resize(picture, (224, 224)))
    rgb = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    rgb.resize((224, 224), Image.BILINEAR).save(target + ".pillow.png")
