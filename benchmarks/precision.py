#!/usr/bin/env python3
"""What numbers of 16 bits cost in accuracy, beside PyTorch's autocast: relative L2 distance of logits from those in double.

    precision.py build/cpu/benchmarks/precision --network resnext50_32x4d

The network has random weights, batch norms' statistics included, drawn so that maps stay near 1. All programs get the same
weights and images; the truth is PyTorch in double. Needs torch, torchvision and numpy. Prints a Markdown table.
"""
import argparse, math, pathlib, platform, subprocess, tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", help="the compiled benchmarks/precision.cpp")
parser.add_argument("--network", default="resnext50_32x4d", choices=["resnext50_32x4d", "resnext101_32x4d"])
parser.add_argument("--images", type=int, default=2)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

import numpy as np
import torch
import torchvision

torch.manual_seed(args.seed)
blocks = {"resnext50_32x4d": [3, 4, 6, 3], "resnext101_32x4d": [3, 4, 23, 3]}[args.network]
network = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, blocks, groups=32, width_per_group=4).eval()
with torch.no_grad():
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            reach = math.sqrt(6 / (module.weight[0].numel()))
            module.weight.uniform_(-reach, reach)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(0.75, 1.25).mul_(0.25 if name.endswith("bn3") else 1)
            module.running_var.uniform_(0.75, 1.25)
            module.bias.uniform_(-0.1, 0.1)
            module.running_mean.uniform_(-0.1, 0.1)
images = torch.rand(args.images, 3, args.size, args.size) * 2 - 1


def autocast(dtype):
    with torch.autocast("cpu", dtype=dtype):
        return network(images)


with torch.no_grad():
    found = {"PyTorch, float": network(images)}
    for name, dtype in [("bfloat16", torch.bfloat16), ("float16", torch.float16)]:
        try:
            found[f"PyTorch, autocast to {name}"] = autocast(dtype)
        except RuntimeError as error:
            print(f"PyTorch has no autocast to {name} here: {error}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        torch.save(network.state_dict(), folder / "weights.pth")
        np.save(folder / "images.npy", images.permute(0, 2, 3, 1).contiguous().numpy())
        subprocess.run([args.program, "logits", folder / "weights.pth", folder / "images.npy", folder / "logits", "--network", args.network], check=True)
        for name in ["double", "float", "bfloat16", "float16"]:
            found[f"Reference<{name}>"] = torch.from_numpy(np.load(folder / f"logits.{name}.npy"))
    truth = network.double()(images.double())

print(f"{args.network}, {args.images} images of {args.size} x {args.size}, torch {torch.__version__}, {platform.machine()}\n")
print("| numbers | relative L2 distance of the logits from those in double |\n|---|---|")
for name, logits in found.items():
    print(f"| {name} | {float((logits.double() - truth).norm() / truth.norm()):.1e} |")
