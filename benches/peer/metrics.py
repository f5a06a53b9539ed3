"""AP at 100,000 x 80 of dbloss and of scikit-learn, in turns in one run.

    pip install numpy scikit-learn
    cargo bench --bench metrics --no-run      (prints the path of the benchmark's program)
    python benches/peer/metrics.py PROGRAM [IMAGES]

scikit-learn is called once a class, one process a core, which is the faster way to use it; the
time of a single process is printed too. Processes are started and hold the data before the clock.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import numpy
import sklearn
from sklearn.metrics import average_precision_score

ROUNDS = 5
CLASSES = 80


def columns(classes):
    return [average_precision_score(TARGETS[:, c], SCORES[:, c]) for c in classes]


def ready(_):
    time.sleep(0.2)


program = sys.argv[1]
images = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
generator = numpy.random.default_rng(0)
TARGETS = (generator.random((images, CLASSES)) < 0.036).astype(numpy.uint8)
SCORES = (generator.standard_normal((images, CLASSES)) + TARGETS).astype(numpy.float32)

with tempfile.TemporaryDirectory() as folder:
    scores, targets = os.path.join(folder, "scores"), os.path.join(folder, "targets")
    SCORES.tofile(scores)
    TARGETS.tofile(targets)
    server = subprocess.Popen(
        [program, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(request):
        server.stdin.write(request + "\n")
        server.stdin.flush()
        return server.stdout.readline().split()

    assert int(ask(f"load {scores} {targets} {CLASSES}")[0]) == images

cores = os.cpu_count()
times = {"dbloss": [], "scikit-learn, one process": [], "scikit-learn, a process a core": []}
with ProcessPoolExecutor(cores) as pool:
    list(pool.map(ready, range(cores)))
    for _ in range(ROUNDS):
        seconds, own = map(float, ask("ap"))
        times["dbloss"].append(seconds)

        start = time.perf_counter()
        one = columns(range(CLASSES))
        times["scikit-learn, one process"].append(time.perf_counter() - start)

        start = time.perf_counter()
        parts = [range(first, CLASSES, cores) for first in range(cores)]
        many = [ap for part in pool.map(columns, parts) for ap in part]
        times["scikit-learn, a process a core"].append(time.perf_counter() - start)

        for other in (one, many):
            assert abs(own - sum(other) / CLASSES) < 1e-9, (own, sum(other) / CLASSES)

server.stdin.close()
server.wait()
print(f"AP at {images:,} x {CLASSES}, {cores} cores, scikit-learn {sklearn.__version__}, {ROUNDS} rounds in turns")
base = statistics.median(times["dbloss"])
for name, seconds in times.items():
    median = statistics.median(seconds)
    print(f"{name:32} best {min(seconds):.3f} s, median {median:.3f} s, {median / base:.1f} x")
