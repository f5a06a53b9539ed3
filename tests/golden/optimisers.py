"""Optimisers, schedules of the learning rate, an average of the parameters and label smoothing, as
PyTorch computes them; parameters and gradients follow from a formula."""

import math

import numpy as np
import torch

from trajectory import elements, short, values

STEPS = 20
# Name and shape of each tensor. The gradient of `silent` is zero, that of `faint` so small that
# AdamW's eps shows.
TENSORS = {
    "conv.weight": [2, 3, 2, 2],
    "fc.weight": [5, 3],
    "fc.bias": [5],
    "norm.weight": [7],
    "norm.bias": [7],
    "silent.weight": [3, 2],
    "faint.weight": [3, 2],
}
# What a tensor's own rate is multiplied by in a case with groups; 1-d tensors have no decay there.
RATES = {"conv.weight": 0.1, "norm.weight": 0.1}
OPTIMISERS = [
    ("sgd", {"lr": 0.05}),
    ("sgd", {"lr": 0.05, "momentum": 0.9}),
    ("sgd", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("sgd", {"lr": 0.05, "weight_decay": 0.01}),
    ("sgd", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    ("adamw", {"lr": 0.001}),
    ("adamw", {"lr": 0.01, "betas": [0.8, 0.95]}),
    ("adamw", {"lr": 0.01, "eps": 1e-6}),
    ("adamw", {"lr": 0.01, "weight_decay": 0.05}),
    ("adamw", {"lr": 0.01, "betas": [0.9, 0.99], "eps": 1e-6, "weight_decay": 0.05}),
    ("adamw", {"lr": 0.01, "weight_decay": 0.0}),
]
MAKERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
DTYPES = {"double": torch.float64, "single": torch.float32}


def tensor(name, shape):
    return torch.from_numpy(elements(name, math.prod(shape)).reshape(tuple(shape)))


def gradient(name, parameter, step):
    """0.5 p + noise, so that a wrong parameter shows in what follows; the noise shrinks to a hundredth
    over the steps, so that the memory of the moments shows."""
    if name.startswith("silent"):
        return torch.zeros_like(parameter)
    noise = tensor(f"gradient.{step}.{name}", parameter.shape).to(parameter.dtype)
    if name.startswith("faint"):
        return 1e-6 * noise
    return 0.5 * parameter.detach() + 0.01 ** (step / STEPS) * noise


def groups(learning, settings, grouped):
    if not grouped:
        return learning.values()
    # What a group does not say is the optimiser's.
    return [
        {"params": [p], "lr": settings["lr"] * RATES.get(name, 1)}
        | ({} if p.dim() > 1 else {"weight_decay": 0.0})
        for name, p in learning.items()
    ]


def run(kind, settings, grouped, dtype):
    """The parameters after every step; they start from the formula in single precision."""
    learning = {
        name: torch.nn.Parameter(values(name, tuple(shape)).float().to(dtype))
        for name, shape in TENSORS.items()
    }
    optimiser = MAKERS[kind](groups(learning, settings, grouped), **settings, foreach=False)
    found = []
    for step in range(STEPS):
        for name, p in learning.items():
            p.grad = gradient(name, p, step)
        optimiser.step()
        found.append({name: p.flatten().tolist() for name, p in learning.items()})
    return found


def make_optimisers():
    made = []
    for kind, settings in OPTIMISERS:
        for grouped in (False, True):
            # What a case does not say is PyTorch's default; for AdamW a decay of 0.01 is.
            stated = ({"weight_decay": 0.01} if kind == "adamw" else {}) | settings
            runs = {key: run(kind, settings, grouped, dtype) for key, dtype in DTYPES.items()}
            last = {name: runs["single"][-1][name] for name in TENSORS}
            # The steps in double precision; what single precision makes of the last one.
            made.append({"kind": kind, "settings": stated, "groups": grouped,
                         "steps": runs["double"], "last_in_single_precision": last})
    return made


SCHEDULERS = torch.optim.lr_scheduler
WARMUP = {"lr": 0.02, "start_factor": 1 / 3}
SCHEDULES = [
    ("one-cycle", 100, {"max_lr": 0.01, "pct_start": 0.2, "div_factor": 25.0, "final_div_factor": 1e4}),
    ("one-cycle", 97, {"max_lr": 2e-4, "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}),
    ("one-cycle", 20, {"max_lr": 0.1, "pct_start": 0.5, "div_factor": 10.0, "final_div_factor": 100.0}),
    ("one-cycle", 40, {"max_lr": 0.1, "pct_start": 0.05, "div_factor": 25.0, "final_div_factor": 1e4}),
    ("cosine", 20, {"lr": 0.02, "eta_min": 0.0}),
    ("cosine", 100, {"lr": 0.02, "eta_min": 1e-4}),
    ("warmup-step", 60, WARMUP | {"warmup": 15, "milestones": [30, 45], "gamma": 0.1}),
    ("warmup-step", 30, WARMUP | {"warmup": 10, "milestones": [5, 20], "gamma": 0.1}),
    ("warmup-cosine", 50, WARMUP | {"warmup": 10, "eta_min": 0.0}),
    ("warmup-then-cosine", 50, WARMUP | {"warmup": 10, "eta_min": 0.0}),
]


def scheduler(kind, optimiser, steps, s):
    """A list of schedulers that all step together."""
    if kind == "one-cycle":
        keys = ("max_lr", "pct_start", "div_factor", "final_div_factor")
        return [SCHEDULERS.OneCycleLR(optimiser, total_steps=steps, anneal_strategy="cos",
                                      cycle_momentum=False, **{k: s[k] for k in keys})]
    cosine = lambda length: SCHEDULERS.CosineAnnealingLR(optimiser, T_max=length, eta_min=s["eta_min"])
    if kind == "cosine":
        return [cosine(steps)]
    warmup = SCHEDULERS.LinearLR(optimiser, start_factor=s["start_factor"], total_iters=s["warmup"])
    if kind == "warmup-step":
        # Both factors at every step: the milestones count from the beginning of the training.
        return [warmup, SCHEDULERS.MultiStepLR(optimiser, s["milestones"], s["gamma"])]
    if kind == "warmup-cosine":
        return [warmup, cosine(steps)]
    return [SCHEDULERS.SequentialLR(optimiser, [warmup, cosine(steps - s["warmup"])], [s["warmup"]])]


def make_schedules():
    made = []
    for kind, steps, settings in SCHEDULES:
        p = torch.nn.Parameter(torch.zeros(1))
        optimiser = torch.optim.SGD([p], lr=settings.get("lr", 1.0))
        together = scheduler(kind, optimiser, steps, settings)
        rates = []
        for step in range(steps):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            if step + 1 < steps:
                for one in together:
                    one.step()
        made.append({"kind": kind, "steps": steps, "settings": settings, "rates": rates})
    return made


def make_average():
    """AveragedModel, whose first update copies: it is given the parameters before any step. The update
    after step t (from 1) has the decay min(decay, (1 + t) / (10 + t))."""
    made = []
    for decay in (0.999, 0.5):
        used = lambda count: min(decay, (1 + int(count)) / (10 + int(count)))
        network = torch.nn.Linear(3, 5).double()
        with torch.no_grad():
            for name, p in network.named_parameters():
                p.copy_(values(f"fc.{name}", tuple(p.shape)))
        average = torch.optim.swa_utils.AveragedModel(
            network, avg_fn=lambda old, p, count: used(count) * old + (1 - used(count)) * p
        )
        average.update_parameters(network)
        steps = []
        for step in range(STEPS):
            with torch.no_grad():
                for name, p in network.named_parameters():
                    p -= 0.1 * tensor(f"gradient.{step}.fc.{name}", p.shape)
            average.update_parameters(network)
            flat = lambda module: {f"fc.{k}": p.flatten().tolist() for k, p in module.named_parameters()}
            steps.append({"decay": used(step + 1), "parameters": flat(network),
                          "average": flat(average.module)})
        made.append({"decay": decay, "steps": steps})
    return made


def make_smoothing():
    """Binary cross-entropy of smoothed targets: two classes, absent and present, of which each has
    half of the smoothing."""
    made = []
    for smoothing in (0.0, 0.05, 0.1, 0.2):
        z = (4 * tensor("smoothing.logits", (4, 7))).requires_grad_()
        y = (tensor("smoothing.labels", (4, 7)) > 0.4).double()
        # Class probabilities of softmax over (0, z) are 1 - sigmoid(z) and sigmoid(z).
        two = torch.stack([torch.zeros_like(z), z], 1)
        loss = torch.nn.functional.cross_entropy(two, y.long(), label_smoothing=smoothing)
        loss.backward()
        made.append({"smoothing": smoothing, "labels": y.int().tolist(), "logits": z.tolist(),
                     "targets": (y * (1 - smoothing) + smoothing / 2).tolist(),
                     "loss": loss.item(), "grad": z.grad.tolist()})
    return made


def make():
    return {
        "source": "PyTorch torch.optim, torch.optim.lr_scheduler, torch.optim.swa_utils, cross_entropy",
        "tensors": TENSORS,
        "rates_of_groups": RATES,
        "optimisers": short(make_optimisers()),
        "schedules": make_schedules(),
        "averages": short(make_average()),
        "label_smoothing": make_smoothing(),
    }


def leaves(value, path=()):
    """Every list of numbers or number of a tree, with the keys that lead to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    elif not isinstance(value, str):
        yield path, value


def check(stored, made, agreement):
    for (path, expected), (own, found) in zip(leaves(stored), leaves(made), strict=True):
        assert path == own, f"{path} is in one of the two only"
        allowed = 1e-5 if "last_in_single_precision" in path else 1e-8
        size = np.abs(np.array(expected, dtype=float)).max(initial=0)
        agreement.see(path[0], found, expected, allowed * max(size, 1e-30))
