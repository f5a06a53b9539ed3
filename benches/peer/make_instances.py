"""Writes a synthetic COCO instances JSON of train2017's size.

118,287 images, 860,000 objects with polygons (some of them crowds with run lengths), 80 categories
with COCO's gaps in the ids: about 450 MB. The same arguments give the same file.

    python benches/peer/make_instances.py instances.json [--images N] [--objects N]
"""

import argparse
import json
import random


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--objects", type=int, default=860_000)
    arguments = parser.parse_args()
    rng = random.Random(0)
    gaps = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    ids = [i for i in range(1, 91) if i not in gaps]
    weights = [1 / (rank + 1) for rank in range(len(ids))]
    rng.shuffle(weights)
    image_ids = sorted(rng.sample(range(1, 600_000), arguments.images))
    rng.shuffle(image_ids)
    with open(arguments.file, "w") as out:
        out.write('{"info": {"description": "synthetic", "year": 2017}, "licenses": [], "images": [')
        for n, i in enumerate(image_ids):
            record = {
                "license": 3,
                "file_name": f"{i:012d}.jpg",
                "coco_url": f"http://images.cocodataset.org/train2017/{i:012d}.jpg",
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": f"http://farm9.staticflickr.com/8186/{i:010d}_abcdef0123_z.jpg",
                "id": i,
            }
            out.write((", " if n else "") + json.dumps(record))
        out.write('], "annotations": [')
        chosen = rng.choices(image_ids, k=arguments.objects)
        categories = rng.choices(ids, weights, k=arguments.objects)
        for n, (image, category) in enumerate(zip(chosen, categories)):
            crowd = n % 86 == 0
            if crowd:
                counts = [rng.randrange(1, 4000) for _ in range(300)]
                segmentation = {"counts": counts, "size": [480, 640]}
            else:
                numbers = rng.choice((20, 30, 44, 60, 90))
                segmentation = [[round(rng.random() * 640, 2) for _ in range(numbers)]]
            width, height = rng.random() * 300, rng.random() * 300
            record = {
                "segmentation": segmentation,
                "area": round(width * height * 0.6, 4),
                "iscrowd": int(crowd),
                "image_id": image,
                "bbox": [rng.randrange(300), rng.randrange(200), round(width, 2), round(height, 2)],
                "category_id": category,
                "id": n + 1,
            }
            out.write((", " if n else "") + json.dumps(record))
        names = [{"supercategory": "thing", "id": i, "name": f"class {i}"} for i in ids]
        out.write(f'], "categories": {json.dumps(names)}}}')


if __name__ == "__main__":
    main()
