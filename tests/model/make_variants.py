#!/usr/bin/env python3
"""Counts the networks of the paper from its rules and writes variants.inc beside this file.

Shares no code with the library: Table 1 and Sec. 3 are written down here a second time on purpose, as closed loops over
stages instead of a layer table. A row is VARIANT(image edge, parameters, multiply-adds, activations, keys, network).
"""
import pathlib


class Count:
    """Sums over layers; an activation is one output of a convolution or of the classifier."""

    def __init__(self):
        self.parameters = self.macs = self.activations = self.keys = 0

    def conv_bn(self, inputs, outputs, kernel, edge, groups=1):
        """A convolution onto an edge x edge map, without bias, and its batch norm of five entries."""
        weights = inputs // groups * outputs * kernel**2
        self.parameters += weights + 2 * outputs
        self.macs += weights * edge**2
        self.activations += outputs * edge**2
        self.keys += 1 + 5

    def linear(self, inputs, outputs):
        self.parameters += (inputs + 1) * outputs
        self.macs += inputs * outputs
        self.activations += outputs
        self.keys += 2


def half(edge):
    """Edge after a window of odd size with stride 2 and padding of half the window."""
    return (edge + 1) // 2


def network(depths, cardinality, width, classes, edge, imagenet, bottleneck=True):
    count = Count()
    if imagenet:
        edge = half(edge)
        count.conv_bn(3, 64, 7, edge)
        edge = half(edge)
    else:
        count.conv_bn(3, 64, 3, edge)
    channels = 64
    for stage, depth in enumerate(depths):
        inner = cardinality * width * 2**stage
        outputs = (256 if bottleneck else 64) * 2**stage
        for block in range(depth):
            before = edge
            if stage > 0 and block == 0:
                edge = half(edge)
            if bottleneck:
                count.conv_bn(channels, inner, 1, before)
                count.conv_bn(inner, inner, 3, edge, cardinality)
                count.conv_bn(inner, outputs, 1, edge)
            else:
                count.conv_bn(channels, inner, 3, edge)
                count.conv_bn(inner, outputs, 3, edge)
            if channels != outputs:
                count.conv_bn(channels, outputs, 1, edge)
            channels = outputs
    count.linear(channels, classes)
    return count


# Equal-cost rows of Tables 3 and 4, torchvision's, wider ones, and widths that no vector register divides.
IMAGENET = [(1, 64), (2, 40), (4, 24), (8, 14), (32, 4), (1, 100), (2, 64), (64, 4), (16, 8), (32, 8), (32, 16),
            (32, 32), (32, 48), (5, 12), (3, 22), (12, 10), (48, 3)]
CIFAR = [(1, 64), (2, 64), (4, 64), (8, 64), (16, 64), (1, 128), (1, 192), (1, 256), (32, 4), (4, 8)]
DEPTHS = {"ResNeXt50": (3, 4, 6, 3), "ResNeXt101": (3, 4, 23, 3), "ResNeXt152": (3, 8, 36, 3)}

rows = []
for name, depths in DEPTHS.items():
    for c, d in IMAGENET:
        for edge in (224, 320) if d == 4 else (224,):
            rows.append((f"{name}<{c}, {d}>", edge, network(depths, c, d, 1000, edge, True)))
for name, depths in {"ResNet18": (2, 2, 2, 2), "ResNet34": (3, 4, 6, 3)}.items():
    rows.append((name, 224, network(depths, 1, 64, 1000, 224, True, bottleneck=False)))
for c, d in CIFAR:
    for classes in (10, 100):
        rows.append((f"ResNeXt29<{c}, {d}, {classes}>", 32, network((3, 3, 3), c, d, classes, 32, False)))

with open(pathlib.Path(__file__).with_name("variants.inc"), "w", encoding="utf-8") as out:
    out.write("// Written by make_variants.py.\n")
    for name, edge, n in rows:
        out.write(f"VARIANT({edge}, {n.parameters}, {n.macs}, {n.activations}, {n.keys}, {name})\n")
