"""Reads instances JSON with dbloss and with pycocotools, side by side, and compares the labels.

Each reader runs in a process of its own, in turn, `--rounds` times; wall time, processor time and
the largest resident memory are those of the process, medians of all rounds. On a machine with other
work to do, the processor time is the fairer of the two. pycocotools gets the same label rules.

    cargo build --release
    python benches/peer/make_instances.py instances.json
    python benches/peer/read_instances.py instances.json target/release/dbloss
"""

import argparse
import csv
import os
import statistics
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
    """Wall seconds, processor seconds and peak resident MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def rows(path):
    with open(path, newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("dbloss")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        split, peer = os.path.join(folder, "split"), os.path.join(folder, "peer.csv")
        ours = [arguments.dbloss, "-q", "split", "--coco", arguments.file]
        ours += ["--distribution", "as-is", "--empty-classes", "keep", "--out", split, "--force"]
        theirs = [sys.executable, "-c", PEER, arguments.file, peer]
        measured = {"dbloss": [], "pycocotools": []}
        print("reader,round,seconds,processor_seconds,peak_mib")
        for turn in range(arguments.rounds):
            for name, command in [("dbloss", ours), ("pycocotools", theirs)]:
                wall, processor, memory = measure(command)
                print(f"{name},{turn},{wall:.2f},{processor:.2f},{memory:.0f}", flush=True)
                measured[name].append((wall, processor, memory))
        same = rows(os.path.join(split, "train.csv")) == rows(peer)
    medians = {name: [statistics.median(c) for c in zip(*m)] for name, m in measured.items()}
    for name, (wall, processor, memory) in medians.items():
        print(f"{name}: {wall:.2f} s, {processor:.2f} s of processor time, {memory:.0f} MiB")
    wall, processor, memory = (b / a for a, b in zip(*medians.values()))
    print(
        f"pycocotools takes {wall:.1f} times as long, {processor:.1f} times the processor time and "
        f"{memory:.1f} times the memory; ",
        end="",
    )
    print("the labels are the same" if same else "THE LABELS DIFFER")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
