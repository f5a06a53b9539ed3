#!/usr/bin/env python3
"""Backbones of torchvision and timm, with weights and pictures that follow from a formula.

    python backbones.py FILE [NAME ...]    choose the scales of the weights anew and write all
                                           cases, or those of that name, to FILE

`make.py` computes the cases with the scales that backbones.json states; see README.md.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision

from trajectory import elements, short

# The name of each case, and what builds it.
MODELS = {"resnet10_w16": "torchvision ResNet, one block a layer, 16 channels"} | {
    name: f"torchvision {name}"
    for name in [
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50_v1",
        "resnext50_32x4d", "wide_resnet50_2", "mobilenet_v2", "mobilenet_v3_large",
        "efficientnet_b0", "convnext_tiny", "convnext_small", "regnet_x_400mf",
    ]
} | {
    "resnet50_v1": "torchvision resnet50, strides moved to conv1",
    "efficientnet_lite0": "timm tf_efficientnet_lite0",
    "efficientnet_lite0_symmetric": "timm efficientnet_lite0",
} | {
    name: f"timm {name}, dynamic_img_size"
    for name in [
        "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224",
        "vit_small_patch14_dinov2", "vit_base_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2", "vit_base_patch14_reg4_dinov2",
        "vit_base_patch32_clip_224", "vit_base_patch16_clip_224",
        "vit_base_patch32_clip_quickgelu_224", "vit_base_patch16_clip_quickgelu_224",
    ]
} | {"resnet50_clip": "torchvision resnet50, changed as CLIP's paper says"}
IMAGES = (3, 3, 96, 64)
ODD_IMAGES = (1, 3, 65, 97)
# Vision transformers take whole patches: positions are interpolated for both shapes.
IMAGES_BY_PATCH = {
    "patch14": ((3, 3, 84, 56), (1, 3, 70, 98)),
    "patch16": ((3, 3, 96, 64), (1, 3, 48, 80)),
    "patch32": ((3, 3, 96, 64), (1, 3, 64, 160)),
}
STEPS = 3
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
# Of each image so many features are stored, of each gradient so many entries.
FEATURES, ENTRIES = 64, 4


def published(name):
    """The whole network as it is published, with its classifier."""
    if name == "resnet10_w16":
        return narrow()
    library, model, *_ = MODELS[name].replace(",", "").split()
    if name.startswith("vit_"):
        model = timm.create_model(model, pretrained=False, dynamic_img_size=True, num_classes=0)
        if "clip" in name:
            # The projection to the space that texts share.
            model.head = torch.nn.Linear(model.num_features, 512, bias=False)
        return model
    if library == "timm":
        return timm.create_model(model, pretrained=False)
    model = getattr(torchvision.models, model)(weights=None)
    if name == "resnet50_clip":
        as_clip(model)
    if name == "resnet50_v1":
        for layer in (model.layer2, model.layer3, model.layer4):
            layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return model


class Narrow(torchvision.models.ResNet):
    """A quarter of the channels everywhere."""

    def _make_layer(self, block, planes, *rest, **more):
        return super()._make_layer(block, planes // 4, *rest, **more)


def narrow():
    """A ResNet of one basic block a layer, of 16, 32, 64 and 128 channels behind a stem of 16."""
    block = torchvision.models.resnet.BasicBlock
    model = Narrow(block, [1, 1, 1, 1])
    model.conv1 = torch.nn.Conv2d(3, 16, 7, 2, 3, bias=False)
    model.bn1 = torch.nn.BatchNorm2d(16)
    model.inplanes = 16
    model.layer1 = model._make_layer(block, 64, 1)
    model.fc = torch.nn.Linear(128, 1000)
    return model


def images_of(name):
    """Shapes of the pictures, and of the odd ones."""
    patch = name.split("_")[2] if name.startswith("vit_") else None
    return IMAGES_BY_PATCH.get(patch, (IMAGES, ODD_IMAGES))


def as_clip(model):
    """Three convolutions in the stem, a mean before pixels are dropped, pooling by attention."""
    def norm(number, channels):
        setattr(model, f"bn{number}", torch.nn.BatchNorm2d(channels))

    for number, ins, outs in ((1, 3, 32), (2, 32, 32), (3, 32, 64)):
        stride = 2 if number == 1 else 1
        setattr(model, f"conv{number}", torch.nn.Conv2d(ins, outs, 3, stride, 1, bias=False))
        norm(number, outs)
    model.maxpool = torch.nn.AvgPool2d(2)
    for layer in (model.layer2, model.layer3, model.layer4):
        first = layer[0]
        first.conv2.stride = (1, 1)
        # No parameters: the pooling follows the activation, which a mean does not commute with.
        first.conv3.register_forward_pre_hook(lambda _, inputs: (halved(inputs[0]),))
        first.downsample[0].stride = (1, 1)
        first.downsample.register_forward_pre_hook(lambda _, inputs: (halved(inputs[0]),))
    model.attnpool = AttentionPool(2048, 32, 1024)
    model.fc = torch.nn.Identity()


def halved(images):
    return torch.nn.functional.avg_pool2d(images, 2)


class AttentionPool(torch.nn.Module):
    def __init__(self, channels, heads, width):
        super().__init__()
        self.heads = heads
        self.positional_embedding = torch.nn.Parameter(torch.empty(50, channels))
        self.k_proj, self.q_proj, self.v_proj = (torch.nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = torch.nn.Linear(channels, width)

    def forward(self, images):
        places = self.positional_embedding[1:].reshape(1, 7, 7, -1).permute(0, 3, 1, 2)
        if images.shape[2:] != (7, 7):
            places = torch.nn.functional.interpolate(
                places, images.shape[2:], mode="bicubic", antialias=True)
        images = images + places
        mean = (images - places).mean((2, 3)) + self.positional_embedding[0]
        tokens = torch.cat([mean[:, None], images.flatten(2).transpose(1, 2)], 1)
        split = lambda x: x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        found = torch.nn.functional.scaled_dot_product_attention(
            split(self.q_proj(tokens[:, :1])), split(self.k_proj(tokens)), split(self.v_proj(tokens)))
        return self.c_proj(found.transpose(1, 2).flatten(1))


class Tokens(torch.nn.Module):
    """The stem of a vision transformer."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model.norm_pre(self.model._pos_embed(self.model.patch_embed(images)))


def split(model):
    """The modules of the stages, one list each, and those between pooling and the classifier."""
    if hasattr(model, "cls_token"):
        first, last = list(model.blocks)[:-1], model.blocks[-1]
        return [[Tokens(model)], *([block] for block in first), [last, model.norm]], [model.head]
    if hasattr(model, "layer1"):
        stem = [model.conv1, model.bn1, model.relu]
        for number in (2, 3) if hasattr(model, "attnpool") else ():
            stem += [getattr(model, f"conv{number}"), getattr(model, f"bn{number}"), model.relu]
        stem.append(model.maxpool)
        after = [model.attnpool] if hasattr(model, "attnpool") else []
        return [stem, *([layer] for layer in (model.layer1, model.layer2, model.layer3, model.layer4))], after
    if hasattr(model, "trunk_output"):
        return [[model.stem], *([block] for block in model.trunk_output)], []
    if hasattr(model, "conv_stem"):
        b = model.blocks
        last = [b[5], b[6], model.conv_head, model.bn2]
        return [[model.conv_stem, model.bn1], [b[0], b[1]], [b[2]], [b[3], b[4]], last], []
    # The first index of stages 1 to 4 in `features`.
    starts = {
        torchvision.models.MobileNetV2: (1, 4, 7, 14),
        torchvision.models.MobileNetV3: (1, 4, 7, 13),
        torchvision.models.EfficientNet: (1, 3, 4, 6),
        torchvision.models.ConvNeXt: (1, 2, 4, 6),
    }[type(model)]
    f = list(model.features)
    stages = [f[a:b] for a, b in zip((0, *starts), (*starts, len(f)))]
    # ConvNeXt's last norm is a part of its classifier, and reads what is pooled.
    return stages, [model.classifier[0]] if isinstance(model, torchvision.models.ConvNeXt) else []


class Backbone(torch.nn.Module):
    """A published network up to its pooled features, in the precision `dtype`; `empty` of values,
    for shapes alone."""

    def __init__(self, name, dtype=torch.float64, empty=False):
        super().__init__()
        # Without values at first: drawing them takes long, and `fill` sets every one.
        # A RegNet reckons its widths with tensors.
        with torch.device("cpu" if name.startswith("regnet") else "meta"):
            model = published(name)
        self.published = count(model)
        stages, after = split(model)
        # Names stay those of the published network.
        self.tokens = hasattr(model, "cls_token")
        if self.tokens:
            pass
        elif hasattr(model, "fc"):
            model.fc = torch.nn.Identity()
        elif after:
            model.classifier = torch.nn.ModuleList(after)
        else:
            model.classifier = torch.nn.Identity()
        for module in model.modules():
            if isinstance(module, torchvision.ops.StochasticDepth):
                module.p = 0.0
        self.model = model.to(dtype).to("meta") if empty else model.to(dtype).to_empty(device="cpu")
        self.stages, self.after = stages, after

    def tensors(self):
        """Parameters, and the running statistics of the norms, by name."""
        tensors = self.model.state_dict()
        return {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}

    def mode(self, norms):
        """Training, with batch norms on statistics of the batch or of the running ones; or neither
        (None)."""
        self.train(norms is not None)
        if norms == "running":
            for module in self.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()

    def fill(self, weights):
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(weights[name])

    def weights(self, scales):
        """What `fill` takes."""
        return {k: values(k, tuple(v.shape), scales[k]) for k, v in self.tensors().items()}

    def outputs(self, images):
        """Each stage's feature map."""
        found = []
        for stage in self.stages:
            for module in stage:
                images = module(images)
            found.append(images)
        return found

    def forward(self, images):
        return self.pool(self.outputs(images)[-1])

    def pool(self, map):
        attends = hasattr(self.model, "attnpool")
        pooled = map[:, 0] if self.tokens else map if attends else map.mean((2, 3), keepdim=True)
        for module in self.after:
            pooled = module(pooled)
        return pooled.flatten(1)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def tensor(name, shape):
    return torch.from_numpy(elements(name, math.prod(shape)).reshape(shape))


def values(name, shape, scale):
    """offset + factor * u, rounded to single precision: what a program in single precision holds."""
    offset, factor = scale
    return (offset + factor * tensor(f"backbone.{name}", shape)).float()


def scales(name):
    """An offset and a factor for each tensor with which activations neither vanish nor explode: a
    convolution or linear layer yields a mean square near 1 in evaluation mode, a residual branch
    that ends in a batch norm a third of that in magnitude."""
    backbone = Backbone(name)
    ends = set()
    for path, module in backbone.model.named_modules():
        if getattr(module, "use_res_connect", getattr(module, "has_skip", False)):
            last = [p for p, m in module.named_modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
            ends.add(f"{path}.{last}.weight")
        elif type(module).__name__ == "ResBottleneckBlock":
            ends.add(f"{path}.f.c.1.weight")
        elif type(module).__name__ in ("BasicBlock", "Bottleneck"):
            ends.add(f"{path}.{'bn3' if hasattr(module, 'bn3') else 'bn2'}.weight")

    def scale(name, shape):
        if name.endswith("running_mean"):
            return 0, 0.1
        if name.endswith("running_var"):
            return 1, 0.25
        if name.endswith("layer_scale"):
            return 0.75, 0.25
        if name.endswith(".gamma"):
            return 0.5, 0.1
        if name in ends:
            return 0.3, 0.03
        if len(shape) > 1:
            return 0, 1
        return (1, 0.1) if name.endswith("weight") else (0, 0.05)

    chosen = {k: scale(k, tuple(v.shape)) for k, v in backbone.tensors().items()}
    backbone.fill(backbone.weights(chosen))

    def measure(path):
        def hook(module, inputs, output):
            bias = 0 if module.bias is None else module.bias
            if module.bias is not None and output.dim() == 4 and isinstance(module, torch.nn.Conv2d):
                bias = bias[:, None, None]
            factor = float(f"{1 / (output - bias).square().mean().sqrt().item():.3g}")
            chosen[f"{path}.weight"] = (0, factor)
            return (output - bias) * factor + bias

        return hook

    for path, module in backbone.model.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(measure(path))
    backbone.mode(None)
    with torch.no_grad():
        backbone(tensor("input", images_of(name)[0]))
    return chosen


def described(name):
    """The part of a case that no weight has a say in."""
    backbone = Backbone(name, empty=True)
    backbone.mode(None)

    def shapes(height, width):
        images = torch.empty(1, 3, height, width, device="meta", dtype=torch.float64)
        return [list(map.shape)[1:] for map in backbone.outputs(images)]

    sizes = [(224, 224), images_of(name)[1][2:]]
    shapes = {f"{height}x{width}": shapes(height, width) for height, width in sizes}
    norms = {
        (type_, module.eps, getattr(module, "momentum", None))
        for module in backbone.modules()
        for type_ in ("batch", "layer")
        if isinstance(module, {"batch": torch.nn.BatchNorm2d, "layer": torch.nn.LayerNorm}[type_])
    }
    ((kind, eps, momentum),) = norms
    return {
        "parameters": {"published": backbone.published, "features": count(backbone)},
        "norm": {"kind": kind, "eps": eps} | ({"momentum": momentum} if kind == "batch" else {}),
        "stage_shapes": shapes,
    }


def gradients(backbone):
    return {
        name: [p.grad.norm().item(), *p.grad.flatten()[:ENTRIES].tolist()]
        for name, p in backbone.model.named_parameters()
        if p.requires_grad
    }


def total(found):
    """The norm over all parameters."""
    return math.hypot(*(row[0] for row in found))


def computed(name, weights, dtype=torch.float64, build=Backbone, sgd=SGD):
    """The numbers of a case that follow from weights and pictures, in a network that `build` makes."""
    backbone = build(name, dtype)
    shape, odd_shape = images_of(name)
    images = tensor("input", shape).to(dtype)
    found = {}
    backbone.fill(weights)
    backbone.mode(None)
    with torch.no_grad():
        maps = backbone.outputs(images)
        pooled = backbone.pool(maps[-1])
        odd = backbone(tensor("input", odd_shape).to(dtype))
        found["stage_norms"] = [x.norm().item() for x in maps]
        for key, x in (("pooled", pooled), ("odd_pooled", odd)):
            found[key] = [[row.norm().item(), *row[:FEATURES].tolist()] for row in x]
    probe = tensor("probe", tuple(pooled.shape)).to(dtype)
    target = tensor("target", tuple(pooled.shape)).to(dtype)
    has_batch_norms = any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone.modules())
    found["gradients"], found["training"] = {}, {}
    for norms in ("running", "batch") if has_batch_norms else ("running",):
        backbone.fill(weights)
        backbone.mode(norms)
        backbone.zero_grad()
        (backbone(images) * probe).mean().backward()
        found["gradients"][norms] = gradients(backbone)

        backbone.fill(weights)
        learning = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(learning, **sgd)
        steps = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = (backbone(images) - target).square().mean()
            loss.backward()
            steps.append([loss.item(), total(gradients(backbone).values())])
            optimizer.step()
        backbone.mode(None)
        with torch.no_grad():
            after = [row.norm().item() for row in backbone(images)]
        found["training"][norms] = {"loss_and_gradient_norm": steps, "pooled_norms_after": after}
    return found


def apart(found, other):
    """How far apart two lists of numbers are, in units of the largest."""
    largest = max(abs(x) for x in other)
    return max(abs(x - y) for x, y in zip(found, other, strict=True)) / largest


def rounding(single, double):
    """How far PyTorch is from itself where it computes in single precision. Gradients that rounding
    alone makes are left out."""
    flat = lambda rows: [x for row in rows for x in row]
    far = {"pooled": apart(flat(single["pooled"]), flat(double["pooled"]))}
    for norms, expected in double["gradients"].items():
        least = 1e-6 * total(expected.values())
        found = single["gradients"][norms]
        rows = [(found[k], row) for k, row in expected.items() if row[0] > least]
        far[f"gradient_norms_{norms}"] = max(abs(f[0] - e[0]) / e[0] for f, e in rows)
    for norms, expected in double["training"].items():
        found = single["training"][norms]
        steps = (flat(x["loss_and_gradient_norm"][1:]) for x in (found, expected))
        far[f"later_steps_{norms}"] = max(abs(f - e) / abs(e) for f, e in zip(*steps))
        after = (x["pooled_norms_after"] for x in (found, expected))
        far[f"pooled_norms_after_{norms}"] = apart(*after)
    return {k: float(f"{v:.1e}") for k, v in far.items()}


def case(name, chosen):
    backbone = Backbone(name)
    weights = backbone.weights(chosen)
    double = computed(name, weights)
    far = rounding(computed(name, weights, torch.float32), double)
    for found in double["gradients"].values():
        # What the norm of a later layer takes away has no gradient, whatever rounding leaves of it.
        least = 1e-11 * total(found.values())
        for row in found.values():
            if row[0] < least:
                row[:] = [0.0]
    tensors = [[k, list(v.shape), *chosen[k]] for k, v in backbone.tensors().items()]
    made = {"name": name, "built_from": MODELS[name]} | described(name)
    if images_of(name) != (IMAGES, ODD_IMAGES):
        made |= dict(zip(("images", "odd_images"), map(list, images_of(name))))
    return short(made | {"tensors": tensors} | double) | {"single_precision_is_off_by": far}


def make(models):
    """All cases; `models` gives name and scales of each."""
    return {
        "source": "PyTorch, torchvision, timm; double precision",
        "images": list(IMAGES),
        "odd_images": list(ODD_IMAGES),
        "sgd": SGD,
        "models": [case(name, chosen) for name, chosen in models],
    }


def stored_scales(stored):
    for model in stored["models"]:
        yield model["name"], {name: scale for name, _, *scale in model["tensors"]}


def check(stored, made, agreement):
    for case, own in zip(stored["models"], made["models"], strict=True):
        numbers = {"stage_norms", "pooled", "odd_pooled", "gradients", "training"}
        numbers.add("single_precision_is_off_by")
        same = set(case) - numbers
        assert all(own[key] == case[key] for key in same), f"{case['name']}: another network"

        def see(what, found, expected, scale):
            agreement.see(what, found, expected, 1e-7 * scale)

        for found, expected in zip(own["stage_norms"], case["stage_norms"], strict=True):
            see("stage_norms", found, expected, expected)
        for key in ("pooled", "odd_pooled"):
            for found, expected in zip(own[key], case[key], strict=True):
                see(key, found, expected, max(abs(x) for x in expected))
        for norms, expected in case["gradients"].items():
            found = own["gradients"][norms]
            assert list(found) == list(expected)
            least = 1e-6 * total(expected.values())
            for name, row in expected.items():
                see(f"gradients, {norms} statistics", found[name], row, max(row[0], least))
        for norms, expected in case["training"].items():
            for key in expected:
                found = own["training"][norms][key]
                see(f"training, {norms} statistics", found, expected[key], np.abs(expected[key]))


if __name__ == "__main__":
    file, names = Path(sys.argv[1]), sys.argv[2:] or list(MODELS)
    made = make((name, scales(name)) for name in names)
    if names != list(MODELS):
        known = {case["name"]: case for case in json.loads(file.read_text())["models"]}
        known |= {case["name"]: case for case in made["models"]}
        made["models"] = [known[name] for name in MODELS]
    file.write_text(json.dumps(made, separators=(",", ":")))
