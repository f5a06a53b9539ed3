"""Images per second of dbloss's CPU engine and of PyTorch, in turns on the same machine.

    cargo bench --bench engine --no-run        # prints the program's path
    python benches/peer/engine.py PROGRAM [--backbones resnet18 resnet50 mobilenet_v2]
        [--batch 32] [--size 224] [--rounds 5] [--threads 2]
        [--frozen-stages 1] [--batch-norm running]

Both sides train the same network up to the pooled features (mean of squares as the loss, SGD with
momentum 0.9 and weight decay 1e-4) and infer with it. PyTorch runs in its channels-last layout.
Each round runs one step of either side after the other, so that whatever else the machine does
meets both. Printed are medians and their ratios, wall clock and processor time, and peak memory.
"""

import argparse
import os
import resource
import statistics
import subprocess
import time

import torch
import torchvision


# The networks of timm, under their names there.
TIMM = {"efficientnet_lite0": "tf_efficientnet_lite0"}


def network(name):
    """Without classifier, dropout and stochastic depth."""
    if name in TIMM or name.startswith("vit_"):
        import timm

        name = TIMM.get(name, name)
        return timm.create_model(name, pretrained=False, num_classes=0, drop_path_rate=0)
    model = getattr(torchvision.models, name)(weights=None)
    if isinstance(model, torchvision.models.ResNet):
        model.fc = torch.nn.Identity()
    elif isinstance(model, torchvision.models.ConvNeXt):
        # The norm of the pooled features stands with the classifier there.
        model.classifier = model.classifier[:2]
    else:
        model.classifier = torch.nn.Identity()
    for module in model.modules():
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    return model


def stages(name, model):
    """The modules of each stage: the stem, and from where the resolution falls each time; or the
    blocks of a vision transformer."""
    if isinstance(model, torchvision.models.ResNet):
        stem = [model.conv1, model.bn1]
        return [stem, [model.layer1], [model.layer2], [model.layer3], [model.layer4]]
    if name.startswith("vit_"):
        stem = [model.patch_embed, model.cls_token, model.pos_embed, model.norm_pre]
        blocks = [[block] for block in model.blocks]
        return [stem, *blocks[:-1], [*blocks[-1], model.norm]]
    if name in TIMM:
        b = model.blocks
        last = [b[5], b[6], model.conv_head, model.bn2]
        return [[model.conv_stem, model.bn1], [b[0], b[1]], [b[2]], [b[3], b[4]], last]
    # Where stages 1 to 4 begin in `features`.
    first, second, third, fourth = {
        "MobileNetV2": (1, 4, 7, 14),
        "MobileNetV3": (1, 4, 7, 13),
        "EfficientNet": (1, 3, 4, 6),
        "ConvNeXt": (1, 2, 4, 6),
    }[type(model).__name__]
    f = model.features
    return [f[:first], f[first:second], f[second:third], f[third:fourth],
            [*f[fourth:], model.classifier]]


class Torch:
    def __init__(self, name, arguments):
        torch.set_num_threads(arguments.threads)
        model = network(name)
        self.model = model.to(memory_format=torch.channels_last)
        for index, modules in enumerate(stages(name, model)):
            if index <= arguments.frozen_stages:
                for module in modules:
                    module.requires_grad_(False)
        self.fixed = arguments.batch_norm == "running"
        images = torch.rand(arguments.batch, 3, arguments.size, arguments.size) * 2 - 1
        self.images = images.to(memory_format=torch.channels_last)
        learning = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(learning, 1e-6, momentum=0.9, weight_decay=1e-4)

    def train(self):
        self.model.train()
        if self.fixed:
            for module in self.model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
        start = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        self.model(self.images).square().mean().backward()
        self.optimizer.step()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    def infer(self):
        self.model.eval()
        start = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            self.model(self.images)
        return time.perf_counter() - start[0], time.process_time() - start[1]


class Engine:
    def __init__(self, name, arguments):
        options = {
            "--batch": arguments.batch,
            "--size": arguments.size,
            "--threads": arguments.threads,
            "--frozen-stages": arguments.frozen_stages,
            "--batch-norm": arguments.batch_norm,
        }
        words = [str(word) for pair in options.items() for word in pair]
        self.process = subprocess.Popen(
            [arguments.program, name, "--serve", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def processor_seconds(self):
        try:
            with open(f"/proc/{self.process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, what):
        before = self.processor_seconds()
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        seconds = float(self.process.stdout.readline())
        return seconds, self.processor_seconds() - before

    def peak_megabytes(self):
        try:
            with open(f"/proc/{self.process.pid}/status") as file:
                return next(int(l.split()[1]) / 1024 for l in file if l.startswith("VmHWM"))
        except (OSError, StopIteration):
            return float("nan")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "resnet50", "mobilenet_v2"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--frozen-stages", type=int, default=1)
    parser.add_argument("--batch-norm", choices=["running", "batch"], default="running")
    arguments = parser.parse_args()

    print(f"torch {torch.__version__}, {arguments.threads} threads, batch {arguments.batch}, "
          f"{arguments.size} x {arguments.size}, {arguments.rounds} rounds")
    print("images per second (of wall clock; of processor time), dbloss : PyTorch")
    for name in arguments.backbones:
        torch_side, engine = Torch(name, arguments), Engine(name, arguments)
        times = {}
        for index in range(arguments.rounds + 1):
            for what in ("train", "infer"):
                pair = engine.run(what), getattr(torch_side, what)()
                # The first round warms up.
                if index > 0:
                    times.setdefault(what, []).append(pair)
        for what, pairs in times.items():
            line = f"{name:>18} {what}:"
            for clock in (0, 1):
                ours, theirs = (
                    arguments.batch / max(statistics.median(p[side][clock] for p in pairs), 1e-9)
                    for side in (0, 1)
                )
                line += f"   {ours:7.1f} : {theirs:7.1f} = {ours / theirs:5.2f}"
            print(line, flush=True)
        theirs = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:>18} peak memory: {engine.peak_megabytes():.0f} MB : {theirs:.0f} MB "
              "(PyTorch's over all networks so far)", flush=True)
        engine.close()


if __name__ == "__main__":
    main()
