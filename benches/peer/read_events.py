"""Reads a run's TensorBoard event files with TensorBoard's own package and compares every value
with steps.csv and epochs.csv.

    pip install tensorboard
    dbloss train --config experiments/shapes.toml --method erm --tensorboard
    python benches/peer/read_events.py runs/shapes/erm-s0

Both readers of the package are asked: the accumulator, which the web page uses, and the loader,
which checks the checksums and gives what is in the files, record by record, duplicates included.
"""

import csv
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog


def single(value):
    """The number as the event files hold it."""
    return struct.unpack("f", struct.pack("f", value))[0]


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def expected(run):
    """(tag, step) -> value, from the CSV files."""
    values = {}
    steps = table(run / "steps.csv")
    for row in steps:
        for column in ("loss", "learning_rate", "gradient_norm"):
            values["train/" + column, int(row["step"])] = float(row[column])
    last_step = {int(row["epoch"]): int(row["step"]) for row in steps}
    for row in table(run / "epochs.csv"):
        for column in ("loss", "validation_map", "images_per_second"):
            if row[column]:
                key = "epoch/" + column, last_step[int(row["epoch"])]
                values[key] = float(row[column])
    return values


def check(found, values, reader):
    assert found.keys() == values.keys(), (
        f"{reader}: only in one of both: {sorted(found.keys() ^ values.keys())[:5]}"
    )
    for key, value in values.items():
        # epochs.csv rounds the speed to two decimals; everything else has all digits.
        near = math.isclose(found[key], value, abs_tol=0.005001, rel_tol=1e-6)
        exact = found[key] == single(value)
        rounded = key[0] == "epoch/images_per_second"
        assert (near if rounded else exact), f"{reader}: {key}: {found[key]} for {value}"


def main():
    run = pathlib.Path(sys.argv[1])
    values = expected(run)
    files = sorted((run / "tensorboard").iterdir())

    records, starts, versions = {}, [], 0
    for file in files:
        for record in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(record)
            if event.file_version:
                assert event.file_version == "brain.Event:2", event
                versions += 1
            if event.session_log.status == SessionLog.START:
                starts.append(event.step)
            for value in event.summary.value:
                key = value.tag, event.step
                assert key not in records, f"twice in the files: {key}"
                records[key] = value.simple_value
    assert versions == len(files)
    check(records, values, "loader")

    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    shown = {}
    for tag in accumulator.Tags()["scalars"]:
        for scalar in accumulator.Scalars(tag):
            assert (tag, scalar.step) not in shown, f"shown twice: {tag} {scalar.step}"
            shown[tag, scalar.step] = scalar.value
    check(shown, values, "accumulator")
    print(
        f"{len(files)} files, resumed at {starts or 'no'} steps: "
        f"{len(values)} values agree with steps.csv and epochs.csv"
    )


if __name__ == "__main__":
    main()
