#!/usr/bin/env python3
"""CLIP's features of a text for each class of a split, for `model.head.init`.

    python clip_text_features.py SPLIT/classes.csv clip-text.csv
    python clip_text_features.py SPLIT/classes.csv clip-text.csv --template "a photo of a {}." \
        --template "a picture of many {}." --names names.csv

Needs `pip install open_clip_torch`, which fetches the weights once. The model must be the one whose
image tower `model.backbone` is: `ViT-B-16-quickgelu` of `openai` for
`vit_base_patch16_clip_quickgelu_224`, `ViT-B-16` of `laion2b_s34b_b88k` for
`vit_base_patch16_clip_224`, `RN50-quickgelu` of `openai` for `resnet50_clip`.

A class's features are the mean over the templates of texts' features of length 1, brought to length
1 again, as in section 3.1.4 of CLIP's paper. Underscores in a class's name become spaces.
"""

import argparse
import csv
import sys


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", help="a CSV file with a column `class`, such as a split's classes.csv")
    parser.add_argument("out", help="the file to write: a class and its numbers a row")
    parser.add_argument("--model", default="ViT-B-16-quickgelu", help="OpenCLIP's name (%(default)s)")
    parser.add_argument("--pretrained", default="openai", help="OpenCLIP's tag, or a file (%(default)s)")
    parser.add_argument(
        "--template", action="append", help="a text with {} for the class, several times if wanted "
        "(\"a photo of a {}.\")")
    parser.add_argument(
        "--names", help="a CSV file with the columns `class` and `name`: what a class is called in texts")
    return parser.parse_args()


def column(path, name):
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or name not in rows[0]:
        sys.exit(f"{path}: expected a column `{name}`")
    return [row[name] for row in rows]


def features(model, tokenizer, texts):
    """[texts, width], each of length 1."""
    import torch

    with torch.no_grad():
        found = model.encode_text(tokenizer(texts)).float()
    return found / found.norm(dim=1, keepdim=True)


def main():
    arguments = parse()
    templates = arguments.template or ["a photo of a {}."]
    for template in templates:
        if "{}" not in template:
            sys.exit(f"--template {template!r}: expected {{}} where the class stands")
    classes = column(arguments.classes, "class")
    called = {name: name.replace("_", " ") for name in classes}
    if arguments.names:
        given = dict(zip(column(arguments.names, "class"), column(arguments.names, "name")))
        unknown = sorted(set(given) - set(classes))
        if unknown:
            sys.exit(f"{arguments.names}: no such class: {', '.join(unknown)}")
        called |= given

    import open_clip

    model = open_clip.create_model(arguments.model, pretrained=arguments.pretrained).eval()
    tokenizer = open_clip.get_tokenizer(arguments.model)
    with open(arguments.out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for name in classes:
            texts = [template.replace("{}", called[name]) for template in templates]
            mean = features(model, tokenizer, texts).mean(0)
            mean = mean / mean.norm()
            writer.writerow([name, *(f"{value:.9g}" for value in mean.tolist())])
    print(f"{arguments.out}: {len(classes)} classes, {len(mean)} numbers each", file=sys.stderr)


if __name__ == "__main__":
    main()
