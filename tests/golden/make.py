#!/usr/bin/env python3
"""Makes the golden vectors of this folder anew, or checks that they say what is computed here.

    python make.py --check            recompute every vector, compare with the files, print a table
    python make.py --check losses     only losses.json
    python make.py --write FOLDER     the same cases as files in another folder, for DBLOSS_GOLDEN

The inputs of a case (logits, labels, parameters, sizes, scales) are read from the files here, or
stand in optimisers.py; losses, gradients, metrics, counts, features and trajectories are computed
from them by the packages of requirements.txt. Nothing is downloaded; no graphics card is used. See README.md.
"""

import argparse
import importlib.metadata
import json
import math
import sys
from pathlib import Path

import numpy as np
import scipy.stats
import sklearn.metrics
import torch

import adapters
import backbones
import heads
import losses
import optimisers
import trajectory

HERE = Path(__file__).resolve().parent
PACKAGES = ["torch", "torchvision", "numpy", "scipy", "scikit-learn", "timm"]


def stored(name):
    return json.loads((HERE / f"{name}.json").read_text())


def tensors(case, dtype):
    z = torch.tensor(case["logits"], dtype=dtype, requires_grad=True)
    y = torch.zeros_like(z, requires_grad=False)
    for row, classes in enumerate(case["labels"]):
        y[row, classes] = 1
    return z, y


def with_gradient(case, loss, z):
    loss.backward()
    return case | {"loss": loss.item(), "grad": z.grad.tolist()}


def make_losses():
    made = []
    for case in stored("losses"):
        z, y = tensors(case, torch.float64)
        n = torch.tensor(case["class_freq"], dtype=torch.float64)
        loss = losses.published(z, y, n, case["num_images"], case["params"])
        made.append(with_gradient(case, loss, z))
    return made


def make_losses_more():
    made = []
    for case in stored("losses_more"):
        # In single precision, as their authors train: 1 - p is 0 from a logit of 17 on, and the
        # floor under the logarithm is what counts.
        z, y = tensors(case, torch.float32)
        made.append(with_gradient(case, losses.NEWER[case["kind"]](z, y, case["params"]), z))
    return made


def make_metrics():
    made = []
    for case in stored("metrics")["cases"]:
        scores = np.array(case["scores"])
        truth = np.zeros(scores.shape, dtype=int)
        for row, classes in enumerate(case["labels"]):
            truth[row, classes] = 1
        there = truth.any(0)
        precision = [
            sklearn.metrics.average_precision_score(truth[:, c], scores[:, c]) if there[c] else None
            for c in range(scores.shape[1])
        ]
        positive = (scores > 0).astype(int)
        f1 = {
            f"{average}_f1": sklearn.metrics.f1_score(
                truth, positive, average=average, zero_division=0
            )
            for average in ("micro", "macro")
        }
        made.append(
            case
            | {
                "average_precision": precision,
                "map_over_classes_with_positives": np.mean([p for p in precision if p is not None]),
                "accuracy": (truth == positive).mean(),
            }
            | f1
        )
    return {"source": "scikit-learn average_precision_score / f1_score at score > 0", "cases": made}


def make_pareto():
    made = []
    for case in stored("pareto")["cases"]:
        curve = scipy.stats.pareto(case["alpha"])
        x = np.linspace(curve.ppf(0), curve.ppf(case["tail"]), case["num_classes"])
        height = (case["max"] - case["min"]) / case["alpha"]
        counts = (curve.pdf(x) * height + case["min"]).astype(int).tolist()
        made.append(case | {"counts": counts})
    return {"source": "scipy.stats.pareto; counts truncated toward zero", "cases": made}


def make_model():
    cases = stored("model")["models"]
    models = [trajectory.run(case, len(case["trajectory"])) for case in cases]
    return {"source": "PyTorch, torchvision ResNet, the DB-Focal loss of losses.py", "models": models}


def make_backbones():
    return backbones.make(backbones.stored_scales(stored("backbones")))


def make_adapters():
    return adapters.make(stored("backbones"))


class Agreement:
    """The worst deviation of each kind of number, in units of what is allowed."""

    def __init__(self, file):
        self.file, self.rows, self.bad = file, {}, 0

    def see(self, what, found, expected, allowed):
        """Deviations, each in the unit that `allowed` gives for it."""
        found, expected = (np.atleast_1d(np.array(v, dtype=float)) for v in (found, expected))
        assert found.shape == expected.shape, f"{self.file}, {what}: shapes differ"
        unequal = np.isnan(found) != np.isnan(expected)
        share = np.nan_to_num(np.abs(found - expected) / allowed)
        share[unequal] = math.inf
        worst = share.max(initial=0)
        count, before = self.rows.get(what, (0, 0.0))
        self.rows[what] = (count + found.size, max(before, worst))

    def print(self):
        for what, (count, worst) in self.rows.items():
            good = worst <= 1
            self.bad += not good
            verdict = "agrees" if good else "DIFFERS"
            print(f"{self.file:12} {what:46} {count:7} numbers  {worst:9.2e} of the bound  {verdict}")
        return self.bad


def check_losses(made, agreement):
    for case, own in zip(stored("losses"), made, strict=True):
        for key in ("loss", "grad"):
            expected = np.array(case[key])
            allowed = 1e-5 * np.maximum(1, np.abs(expected))
            agreement.see(key, own[key], expected, allowed)


def check_losses_more(made, agreement):
    for case, own in zip(stored("losses_more"), made, strict=True):
        largest = np.abs(case["grad"]).max()
        agreement.see("loss", own["loss"], case["loss"], 1e-5 * max(largest, abs(case["loss"])))
        agreement.see("grad", own["grad"], case["grad"], 1e-5 * largest)


def check_metrics(made, agreement):
    for case, own in zip(stored("metrics")["cases"], made["cases"], strict=True):
        for key in set(case) - {"scores", "labels", "name", "num_classes"}:
            agreement.see(key, own[key], case[key], 1e-9)


def check_pareto(made, agreement):
    for case, own in zip(stored("pareto")["cases"], made["cases"], strict=True):
        agreement.see("counts", own["counts"], case["counts"], 0.5)


# Rounding grows from step to step in these runs, differently on every machine. So much of a number
# is certain as runs agree whose pictures differ by what some hundred roundings amount to.
WIGGLES = [1e-5, -1e-5, 3e-6]


def check_model(made, agreement):
    for case, own in zip(stored("model")["models"], made["models"], strict=True):
        steps = len(case["trajectory"])
        wiggled = [trajectory.run(case, steps, 1 + wiggle) for wiggle in WIGGLES]

        def see(what, of, allowed, exact=False):
            found, expected = (np.array(of(x), dtype=float) for x in (own, case))
            scale = max(np.abs(expected).max(), 1e-12)
            spread = max(np.abs(np.array(of(x)) - found).max() / scale for x in wiggled)
            agreement.see(what, found, expected, (allowed if exact else max(allowed, 4 * spread)) * scale)

        # Nothing has grown yet.
        see("features in evaluation mode", lambda x: x["eval_features_first_image"], 1e-4, True)
        see("logits in evaluation mode", lambda x: x["eval_logits"], 1e-4, True)
        see("loss of the first step", lambda x: x["trajectory"][0]["loss"], 1e-4, True)
        see("learning rates", lambda x: [step["lr"] for step in x["trajectory"]], 1e-12, True)
        # A batch norm over two pictures gives -1 and 1 whatever it reads: what comes before it
        # has a gradient of rounding alone, and later steps follow from that.
        degenerate = case["batch"] == 2
        total = case["trajectory"][0]["grad_norm"]
        assert set(own["first_step_gradients"]) == set(case["first_step_gradients"])
        for name, gradient in case["first_step_gradients"].items():
            if degenerate and not name.startswith(("head.", "neck.bn.")):
                continue
            # So has what comes right before any batch norm over the pictures: no direction.
            if gradient["norm"] < 1e-5 * total:
                see("gradients that are rounding", lambda x: x["first_step_gradients"][name]["norm"],
                    1e-4 * total / gradient["norm"], True)
                continue
            # In the deep network much cancels, and each version of PyTorch adds in its own order.
            allowed = 5e-3 if case["arch"] == "resnet50" else 1e-3
            see("norms of first gradients", lambda x: x["first_step_gradients"][name]["norm"], allowed)
        if degenerate:
            continue
        for step in range(steps):
            see("gradient norms", lambda x: x["trajectory"][step]["grad_norm"], 1e-3)
            if step > 0:
                see("later losses", lambda x: x["trajectory"][step]["loss"], 1e-3)
        see("logits after the last step", lambda x: x["logits_after"], 1e-3)


FILES = {
    "losses": (make_losses, check_losses),
    "losses_more": (make_losses_more, check_losses_more),
    "metrics": (make_metrics, check_metrics),
    "pareto": (make_pareto, check_pareto),
    "model": (make_model, check_model),
    "backbones": (make_backbones, lambda *found: backbones.check(stored("backbones"), *found)),
    "adapters": (make_adapters, lambda *found: backbones.check(stored("adapters"), *found)),
    "heads": (heads.make, lambda *found: heads.check(stored("heads"), *found)),
    "optimisers": (optimisers.make, lambda *found: optimisers.check(stored("optimisers"), *found)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--check", action="store_true", help="compare with the files here")
    group.add_argument("--write", metavar="FOLDER", type=Path, help="write the vectors there")
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(FILES)}; default all")
    arguments = parser.parse_args()
    unknown = set(arguments.files) - set(FILES)
    if unknown:
        parser.error(f"no such file: {', '.join(sorted(unknown))}")
    if arguments.write and arguments.write.resolve() == HERE:
        parser.error("the vectors here stay as they are; name another folder")
    print(*(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES), sep=", ")
    bad = 0
    for name in arguments.files or FILES:
        make, check = FILES[name]
        made = make()
        if arguments.write:
            arguments.write.mkdir(parents=True, exist_ok=True)
            path = arguments.write / f"{name}.json"
            path.write_text(json.dumps(made, separators=(",", ":")))
            print(path)
        else:
            agreement = Agreement(name)
            check(made, agreement)
            bad += agreement.print()
    if bad:
        sys.exit(f"{bad} kinds of numbers differ")


if __name__ == "__main__":
    main()
