"""Reads instances JSON with dbloss and with pycocotools, side by side, and compares the labels.

Each reader runs in a process of its own, in turn, `--rounds` times; wall time and the largest
resident memory are those of the process. pycocotools gets the same label rules.

    cargo build --release
    python benches/peer/make_instances.py instances.json
    python benches/peer/read_instances.py instances.json target/release/dbloss
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time

PEER = """
import csv, sys
from pycocotools.coco import COCO
coco = COCO(sys.argv[1])
names = {c: coco.cats[c]["name"] for c in sorted(coco.getCatIds())}
with open(sys.argv[2], "w", newline="") as out:
    writer = csv.writer(out, lineterminator="\\n")
    writer.writerow(["image", "labels"])
    for i in coco.getImgIds():
        held = set()
        for a in coco.imgToAnns[i]:
            x, y, w, h = a["bbox"]
            if not a.get("ignore") and a["area"] > 0 and w >= 1 and h >= 1:
                held.add(a["category_id"])
        writer.writerow([coco.imgs[i]["file_name"], "|".join(names[c] for c in sorted(held))])
"""


def measure(command):
    """Wall seconds and peak resident MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def rows(path):
    with open(path, newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("dbloss")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        split, peer = os.path.join(folder, "split"), os.path.join(folder, "peer.csv")
        ours = [arguments.dbloss, "-q", "split", "--coco", arguments.file]
        ours += ["--distribution", "as-is", "--empty-classes", "keep", "--out", split, "--force"]
        theirs = [sys.executable, "-c", PEER, arguments.file, peer]
        best = {}
        print("reader,round,seconds,peak_mib")
        for turn in range(arguments.rounds):
            for name, command in [("dbloss", ours), ("pycocotools", theirs)]:
                seconds, memory = measure(command)
                print(f"{name},{turn},{seconds:.2f},{memory:.0f}", flush=True)
                old = best.get(name, (seconds, 0))
                best[name] = (min(seconds, old[0]), max(memory, old[1]))
        same = rows(os.path.join(split, "train.csv")) == rows(peer)
    (a, b), (c, d) = best["dbloss"], best["pycocotools"]
    print(f"dbloss is {c / a:.1f} times quicker with {100 * b / d:.0f}% of the memory; ", end="")
    print("the labels are the same" if same else "THE LABELS DIFFER")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
