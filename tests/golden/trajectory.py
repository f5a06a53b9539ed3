"""Training steps of a ResNet with neck and head, whose weights and pictures follow from a formula."""

import numpy as np
import torch
import torchvision

from losses import published

DB_FOCAL = {
    "kind": "rs",
    "reweight_func": "rebalance",
    "map_param": {"alpha": 0.1, "beta": 10.0, "gamma": 0.3},
    "logit_reg": {"init_bias": 0.05, "neg_scale": 5.0},
    "focal": {"focal": True, "gamma": 2, "balance_param": 2.0},
}
# What a case states; everything else of it is computed.
INPUTS = [
    "arch", "batch", "size", "frozen_stages", "norm_eval", "input", "input_scale", "labels",
    "class_freq", "num_images",
]


def elements(name, count):
    """The first elements of a tensor's formula, in [-1, 1): SplitMix64 from the FNV-1a hash of the
    name; see README.md."""
    hash = 0xCBF29CE484222325
    for byte in name.encode():
        hash = (hash ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        step = np.uint64(0x9E3779B97F4A7C15)
        z = np.uint64(hash) + step * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def values(name, shape):
    u = elements(name, int(np.prod(shape)))
    if name.endswith("running_mean"):
        u = 0.1 * u
    elif name.endswith("running_var"):
        u = 1 + 0.25 * u
    elif len(shape) > 1:
        u = u * np.sqrt(6 / np.prod(shape[1:]))
    elif name.endswith("weight"):
        u = 1 + 0.1 * u
    else:
        u = 0.05 * u
    return torch.from_numpy(u.reshape(shape))


def short(value):
    """Nine significant digits."""
    if isinstance(value, dict):
        return {k: short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [short(v) for v in value]
    return float(f"{value:.8e}") if isinstance(value, float) else value


class Network(torch.nn.Module):
    def __init__(self, case):
        super().__init__()
        self.backbone = getattr(torchvision.models, case["arch"])(weights=None)
        features = self.backbone.fc.in_features
        self.backbone.fc = torch.nn.Identity()
        self.neck = torch.nn.ModuleDict(
            {"fc": torch.nn.Linear(features, 256), "bn": torch.nn.BatchNorm1d(256)}
        )
        self.head = torch.nn.Linear(256, len(case["class_freq"]))
        with torch.no_grad():
            for name, tensor in self.state_dict().items():
                if not name.endswith("num_batches_tracked"):
                    tensor.copy_(values(name, tuple(tensor.shape)))
        frozen = ["conv1", "bn1"] if case["frozen_stages"] >= 0 else []
        frozen += [f"layer{stage}" for stage in range(1, case["frozen_stages"] + 1)]
        for part in frozen:
            for parameter in getattr(self.backbone, part).parameters():
                parameter.requires_grad = False
        self.norm_eval = case["norm_eval"]

    def train(self, mode=True):
        super().train(mode)
        if self.norm_eval:
            for module in self.backbone.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images):
        return self.head(self.neck["bn"](self.neck["fc"](self.backbone(images))))


def run(case, steps, wiggle=1.0):
    """What a case of model.json tells of its training, in single precision; with pictures
    multiplied by `wiggle`."""
    network = Network(case)
    shape = (case["batch"], 3, case["size"], case["size"])
    images = torch.from_numpy(elements(case["input"], int(np.prod(shape))).reshape(shape))
    images = images.float() * (case["input_scale"] * wiggle)
    y = torch.zeros(case["batch"], len(case["class_freq"]))
    for row, classes in enumerate(case["labels"]):
        y[row, classes] = 1
    n = torch.tensor(case["class_freq"], dtype=torch.float32)
    learning = {k: p for k, p in network.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(learning.values(), lr=0.02, momentum=0.9, weight_decay=1e-4)

    found = {key: case[key] for key in INPUTS}
    with torch.no_grad():
        network.eval()
        found["eval_features_first_image"] = network.backbone(images)[0].tolist()
        found["eval_logits"] = network(images).tolist()
    found["trajectory"] = []
    network.train()
    for step in range(steps):
        rate = 0.02 * (1 - (1 - step / 500) * (1 - 1 / 3))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = published(network(images), y, n, case["num_images"], DB_FOCAL)
        loss.backward()
        if step == 0:
            found["first_step_gradients"] = {
                name: {
                    "norm": parameter.grad.double().norm().item(),
                    "first": parameter.grad.flatten()[:4].tolist(),
                }
                for name, parameter in learning.items()
            }
        norm = torch.nn.utils.clip_grad_norm_(learning.values(), 35).item()
        optimizer.step()
        found["trajectory"].append({"lr": rate, "loss": loss.item(), "grad_norm": norm})
    with torch.no_grad():
        network.eval()
        found["logits_after"] = network(images).tolist()
    return found
