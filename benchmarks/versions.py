#!/usr/bin/env python3
"""Two builds of benchmarks/network.cpp taking turns: is this version slower than another one?

    versions.py build/bench/benchmarks/network ../older/build/bench/benchmarks/network --rounds 20

A round gives each program one turn in each case; a turn repeats the batch, and its quickest counts. The order changes from
round to round. The ratio is that of the quickest turns, first program over second. Exit status 1: above --most.
"""
import argparse, datetime, os, pathlib, platform, subprocess, sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("programs", nargs=2, help="the new build, then the old one")
parser.add_argument("--network", default="resnext50_32x4d")
parser.add_argument("--cases", default="inference:1,inference:8,training:16", help="mode:batch, separated by commas")
parser.add_argument("--rounds", type=int, default=20)
parser.add_argument("--repeat", type=int, default=3, help="batches in a turn")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--most", type=float, default=1.02, help="the largest ratio that passes")
args = parser.parse_args()
environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}


def started(program, mode, batch):
    command = [program, "--serve", "--network", args.network, "--mode", mode, "--batch", batch, "--repeat", str(args.repeat)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    return process, process.stdout.readline().strip().removeprefix("ready: ")


def turn(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")), platform.machine())  # fmt: skip
print(f"{datetime.date.today().isoformat()}, {args.network}, {args.threads} threads, {model}, {args.rounds} rounds\n")
print("| case | new, ms an image | old | ratio |\n|---|---|---|---|")
slower = False
for case in args.cases.split(","):
    mode, batch = case.split(":")
    pairs = [started(program, mode, batch) for program in args.programs]
    turns = [[], []]
    for number in range(args.rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            turns[which].append(turn(pairs[which][0]))
    for process, _ in pairs:
        process.stdin.close()
        process.wait()
    new, old = (min(times) for times in turns)
    slower |= new / old > args.most
    print(f"| {mode}, N = {batch} | {new:.2f} | {old:.2f} | {new / old:.3f} |", flush=True)
print("\n" + "; ".join(f"{name}: {words}" for name, (_, words) in zip(("new", "old"), pairs)))
sys.exit(slower)
