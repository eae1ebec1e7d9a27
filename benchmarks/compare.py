#!/usr/bin/env python3
"""This library and its peers on one network, taking turns in one run: milliseconds an image and ratios.

    compare.py build/cpu/benchmarks/network --network resnext50_32x4d --mode inference --batch 8

Every round gives each program one turn; a turn repeats the batch and counts the quickest, and the quickest turn counts in
the end. The peers (PyTorch eager, channels_last, compiled, frozen; ONNX Runtime; OpenVINO) are those of the Python that
runs this script: `pip install torch torchvision onnx onnxruntime openvino`. A turn is rejected, and repeated, when another
program was busy: when calibration loops before and after it, one a thread, ran slower than their best by a fifth, or one of
them stood still for a slice of the scheduler's time (4 ms).
"""
import argparse, copy, datetime, json, os, pathlib, platform, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", help="the compiled benchmarks/network.cpp")
parser.add_argument("--network", default="resnext50_32x4d", help="resnext50_CxDd, resnet50, resnext101_64x4d or cifar29_8x64d")
parser.add_argument("--mode", default="inference", choices=["inference", "training"])
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--repeat", type=int, default=3, help="batches in a turn")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--peers", default="", help="comma-separated names; default all of the mode")
parser.add_argument("--json", type=pathlib.Path, help="also write the result there, and as a table beside it (.md)")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import numpy as np
import torch
import torchvision
from torch import nn

torch.set_num_threads(args.threads)
torch.manual_seed(0)


class Bottleneck(nn.Module):
    def __init__(self, channels, inner, out, groups, stride):
        super().__init__()
        norm = nn.BatchNorm2d
        self.branch = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False), norm(inner), nn.ReLU(True),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False), norm(inner), nn.ReLU(True),
            nn.Conv2d(inner, out, 1, bias=False), norm(out))
        project = stride != 1 or channels != out
        self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), norm(out)) if project else nn.Identity()

    def forward(self, x):
        return torch.relu(self.branch(x) + self.shortcut(x))


def cifar29(groups, width):
    layers, channels = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)], 64
    for stage in range(3):
        for block in range(3):
            out = 256 << stage
            layers.append(Bottleneck(channels, groups * width << stage, out, groups, 2 if stage and not block else 1))
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def build(name):
    """The network and its image size and classes."""
    family, _, form = name.partition("_")
    if not form:
        return getattr(torchvision.models, name)(weights=None), 224, 1000
    groups, width = (int(part) for part in form.rstrip("d").split("x"))
    if family == "cifar29":
        return cifar29(groups, width), 32, 10
    blocks = {"resnext50": [3, 4, 6, 3], "resnext101": [3, 4, 23, 3]}[family]
    return torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, blocks, groups=groups, width_per_group=width), 224, 1000


network, size, classes = build(args.network)
images, labels = torch.randn(args.batch, 3, size, size), torch.randint(0, classes, (args.batch,))
channels_last = dict(memory_format=torch.channels_last)


def inference_peers():
    net = network.eval()

    def torch_peer(compiled, last):
        model = copy.deepcopy(net)
        x = images
        if last:
            model, x = model.to(**channels_last), x.contiguous(**channels_last)
        if compiled:
            from torch._inductor import config

            config.freezing = True
            model = torch.compile(model)

        def run():
            with torch.no_grad():
                return model(x).numpy()

        return run

    def frozen():
        with torch.no_grad():
            model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(copy.deepcopy(net), images)))

        def run():
            with torch.no_grad():
                return model(images).numpy()

        return run

    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "network.onnx")

    def exported():
        if not os.path.exists(path):
            torch.onnx.export(copy.deepcopy(net), (images,), path, dynamo=False, input_names=["x"], output_names=["y"])
        return path

    def onnxruntime_peer():
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(exported(), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"x": images.numpy()})[0]

    def openvino_peer():
        import openvino

        settings = {"INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        request = openvino.Core().compile_model(exported(), "CPU", settings).create_infer_request()
        return lambda: request.infer({0: images.numpy()})[0].copy()

    return {
        "openvino": openvino_peer,
        "onnxruntime": onnxruntime_peer,
        "torch eager": lambda: torch_peer(False, False),
        "torch channels_last": lambda: torch_peer(False, True),
        "torch frozen": frozen,
        "torch compiled": lambda: torch_peer(True, False),
        "torch compiled channels_last": lambda: torch_peer(True, True),
    }


def training_peers():
    def torch_peer(compiled, last):
        model = copy.deepcopy(network).train()
        x = images
        if last:
            model, x = model.to(**channels_last), x.contiguous(**channels_last)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=1e-4)
        forward = torch.compile(model) if compiled else model

        def run():
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(forward(x), labels).backward()
            optimizer.step()

        return run

    return {
        "torch eager": lambda: torch_peer(False, False),
        "torch channels_last": lambda: torch_peer(False, True),
        "torch compiled": lambda: torch_peer(True, False),
        "torch compiled channels_last": lambda: torch_peer(True, True),
    }


CALIBRATION = """
import sys, time

def piece():
    start, total = time.perf_counter(), 0
    for i in range(20_000):
        total += i
    return time.perf_counter() - start

for _ in sys.stdin:
    pieces = [piece() for _ in range(20)]
    print(min(pieces), max(pieces) - min(pieces), flush=True)
"""
calibrators = [subprocess.Popen([sys.executable, "-c", CALIBRATION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for _ in range(args.threads)]  # fmt: skip


def calibrate():
    """Seconds of a fixed piece of work on every thread at once, and the longest interruption."""
    time.sleep(0.3)  # the threads of whoever had the last turn go to sleep
    for process in calibrators:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [[float(number) for number in process.stdout.readline().split()] for process in calibrators]
    return max(piece for piece, _ in answers), max(gap for _, gap in answers)


def timed(run):
    def turn():
        best = 1e9
        for _ in range(args.repeat):
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
        return best * 1e3 / args.batch

    return turn


command = [args.program, "--serve", "--network", args.network, "--mode", args.mode,
           "--batch", str(args.batch), "--repeat", str(args.repeat)]  # fmt: skip
ours = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
ready, _, library = ours.stdout.readline().strip().partition(": ")
if ready != "ready":
    sys.exit("the library's program did not start")


def our_turn():
    ours.stdin.write("\n")
    ours.stdin.flush()
    return float(ours.stdout.readline())


turns = {"resnext": our_turn}
wanted = [name for name in args.peers.split(",") if name]
for name, make in (inference_peers() if args.mode == "inference" else training_peers()).items():
    if wanted and name not in wanted:
        continue
    try:
        run = make()
        run()
        turns[name] = timed(run)
    except Exception as error:  # a peer that is not installed or refuses the network is left out, visibly
        print(f"{name}: left out: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)

best = dict.fromkeys(turns, 1e9)
quiet, rejected = min(calibrate()[0] for _ in range(5)), 0


def is_quiet():
    global quiet
    piece, gap = calibrate()
    quiet = min(quiet, piece)
    return piece < 1.2 * quiet and gap < 3.5e-3


was_quiet = is_quiet()
for _ in range(args.rounds):
    for name, turn in turns.items():
        for _ in range(4):
            result, before, was_quiet = turn(), was_quiet, is_quiet()
            if before and was_quiet:
                best[name] = min(best[name], result)
                break
            rejected += 1
for process in [ours, *calibrators]:
    process.stdin.close()
if best["resnext"] == 1e9:
    sys.exit(f"none of the {rejected} turns was quiet: another program keeps the machine busy")


def version(module):
    return sys.modules[module].__version__ if module in sys.modules else None


model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
result = {
    "date": datetime.date.today().isoformat(), "network": args.network, "mode": args.mode, "batch": args.batch,
    "threads": args.threads, "cpu": model, "library": library,
    "versions": {name: version(name) for name in ("torch", "torchvision", "onnxruntime", "openvino")},
    "milliseconds_an_image": {name: round(value, 3) for name, value in best.items() if value < 1e9},
    "ours_over_theirs": {name: round(best["resnext"] / value, 3) for name, value in best.items() if name != "resnext" and value < 1e9},
    "rejected_turns": rejected,
}  # fmt: skip
table = f"""# {args.network}, {args.mode}, N = {args.batch}

{result["date"]}, {model}, {args.threads} threads, {library}, {", ".join(f"{name} {number}" for name, number in result["versions"].items() if number)}.
The quickest of {args.rounds} turns each; {rejected} turns were rejected because the machine was busy.

| | ms an image | ours / theirs |
|---|---|---|
"""
for name, value in sorted(best.items(), key=lambda item: item[1]):
    ratio = "" if name == "resnext" else f"{best['resnext'] / value:.3f}"
    table += f"| {name} | {value:.2f} | {ratio} |\n" if value < 1e9 else f"| {name} | no quiet turn | |\n"
print(table, end="")
if args.json:
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    args.json.with_suffix(".md").write_text(table)
