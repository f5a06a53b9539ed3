#!/usr/bin/env python3
"""Vision transformers with adapters, of which nothing else learns.

    python adapters.py FILE      write all cases to FILE

The published weights are those of backbones.json; see README.md.
"""

import json
import math
import sys
from pathlib import Path

import torch

from backbones import Backbone, computed, images_of, rounding
from trajectory import short

NAME = "vit_tiny_patch16_224"
# The keys of `[model.adapter]`.
ADAPTERS = [
    {"kind": "lora", "rank": 8, "alpha": 8.0, "layers": ["qkv"]},
    {"kind": "lora", "rank": 4, "alpha": 12.0, "layers": ["qkv", "proj", "fc1", "fc2"]},
    {"kind": "lora", "blocks": 2, "rank": 8, "alpha": 8.0, "layers": ["proj", "fc2"]},
    {"kind": "adaptformer", "width": 64, "scale": 0.1},
    {"kind": "adaptformer", "blocks": 2, "width": 10, "scale": 1.0},
]
SGD = {"lr": 1.0, "momentum": 0.9, "weight_decay": 1e-4}


class Lora(torch.nn.Module):
    """A linear layer with weights W + alpha / rank * B A, as two paths (Hu et al., section 4.1)."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        settings = {"bias": False, "device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_A = torch.nn.Linear(linear.in_features, rank, **settings)
        self.lora_B = torch.nn.Linear(rank, linear.out_features, **settings)
        self.factor = alpha / rank

    def forward(self, x):
        own = torch.nn.functional.linear(x, self.weight, self.bias)
        return own + self.factor * self.lora_B(self.lora_A(x))


class AdaptMlp(torch.nn.Module):
    """The branch of Chen et al., section 3."""

    def __init__(self, channels, width, scale, **settings):
        super().__init__()
        self.down_proj = torch.nn.Linear(channels, width, **settings)
        self.up_proj = torch.nn.Linear(width, channels, **settings)
        self.scale = scale

    def forward(self, x):
        return self.scale * self.up_proj(torch.relu(self.down_proj(x)))


def beside(block):
    """A block's forward pass with the branch beside its linear layers."""

    def forward(x):
        x = x + block.attn(block.norm1(x))
        normed = block.norm2(x)
        return x + block.mlp(normed) + block.adaptmlp(normed)

    return forward


def adapt(block, kind, **keys):
    weight = block.mlp.fc1.weight
    if kind == "adaptformer":
        settings = {"device": weight.device, "dtype": weight.dtype}
        block.adaptmlp = AdaptMlp(weight.shape[1], keys["width"], keys["scale"], **settings)
        block.forward = beside(block)
        return
    for name in keys["layers"]:
        part = block.attn if name in ("qkv", "proj") else block.mlp
        setattr(part, name, Lora(getattr(part, name), keys["rank"], keys["alpha"]))


class Adapted(Backbone):
    """A network whose adapter alone learns."""

    def __init__(self, adapter, dtype=torch.float64):
        super().__init__(NAME, dtype)
        keys = dict(adapter)
        blocks = list(self.model.blocks)[-keys.pop("blocks", 12):]
        self.model.requires_grad_(False)
        for block in blocks:
            adapt(block, **keys)


def scale(name):
    """Offset and factor of an adapter's tensor: what it adds is a fair part of what is there."""
    if name.endswith("bias"):
        return 0, 0.05
    if "up_proj" in name:
        return 0, 0.4
    return 0, 0.2 if "lora_B" in name else 0.1


def case(adapter, published):
    build = lambda _, dtype: Adapted(adapter, dtype)
    network = Adapted(adapter)
    chosen = {k: published[k] if k in published else scale(k) for k in network.tensors()}
    weights = network.weights(chosen)
    double = computed(NAME, weights, build=build, sgd=SGD)
    single = computed(NAME, weights, torch.float32, build, SGD)
    learning = [p for p in network.parameters() if p.requires_grad]
    images, odd_images = images_of(NAME)
    made = {
        "name": NAME,
        "adapter": adapter,
        "parameters": {"learning": sum(math.prod(p.shape) for p in learning)},
        "images": list(images),
        "odd_images": list(odd_images),
        "tensors": [[k, list(v.shape), *chosen[k]] for k, v in network.tensors().items()],
    }
    return short(made | double) | {"single_precision_is_off_by": rounding(single, double)}


def make(backbones):
    """All cases on the weights that backbones.json states."""
    (model,) = (model for model in backbones["models"] if model["name"] == NAME)
    published = {name: scale for name, _, *scale in model["tensors"]}
    return {
        "source": "PyTorch, timm; double precision",
        "sgd": SGD,
        "models": [case(adapter, published) for adapter in ADAPTERS],
    }


if __name__ == "__main__":
    backbones = json.loads(Path(__file__).with_name("backbones.json").read_text())
    Path(sys.argv[1]).write_text(json.dumps(make(backbones), separators=(",", ":")))
