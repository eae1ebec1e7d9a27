#!/usr/bin/env python3
"""What this library costs a compiler, beside what it may cost: a Markdown table, and exit status 1 when it is too much.

    budgets.py build/cpu/benchmarks/compile_cost

The compiled benchmarks/compile_cost.cpp measures, and says what its seconds are and how CXX chooses the compiler. What is over
its budget is measured again, headers up to ten times and executors up to three times, and the quickest counts. Diagnostics
have a budget too; tests/compile_fail keeps it.
"""
import argparse, datetime, json, platform, subprocess, sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", help="the compiled benchmarks/compile_cost.cpp")
args = parser.parse_args()
rows, failed, slowest, compiler = [], False, 1.0, ""


def measure(what, networks, budget, most):
    """The quickest of some measurements of a benchmark."""
    global slowest, compiler
    best = None
    for _ in range(most):
        command = [args.program, *networks, f"--benchmark_filter=^{what}/", "--benchmark_format=json"]
        report = json.loads(subprocess.check_output(command))
        result, compiler = report["benchmarks"][0], report["context"]["compiler"]
        if result.get("error_occurred"):
            sys.exit(f"{what} of {', '.join(networks)}: {result['error_message']}")
        if best is None or result["real_time"] < best["real_time"]:
            best = result
        slowest = max(slowest, result["slowness"])
        if best["real_time"] <= budget:
            break
    return best


def headers(what, budget=0.0):
    return measure(f"headers/{what}", [], budget, 10)["real_time"]


def row(what, value, budget, spelling="{:.2f} s"):
    global failed
    failed |= not value <= budget
    rows.append((what, spelling.format(value), spelling.format(budget), "" if value <= budget else "**exceeded**"))


def kernel_row(what, found, passes):
    """The object has the grouped convolutions of the network, of widths 4 to 32, and no others."""
    global failed
    wanted = ", ".join(f"{name} 4 8 16 32" for name in passes)
    failed |= found != wanted
    rows.append((what, found, wanted, "" if found == wanted else "**differ**"))


row("include `resnext.hpp`", headers("resnext", budget=0.95), 0.95)
onednn = headers("dnnl")
both = headers("resnext_and_cpu", budget=1.0 + onednn)
row("include `resnext.hpp` and `cpu.hpp`, above `dnnl.hpp` alone", both - onednn, 1.0)

one = ["ResNeXt50<32, 4>"]
classifier = measure("classifier", one, 10.0, 3)
row("classifier of ResNeXt-50 32x4d, `-O2`", classifier["real_time"], 10.0)
kernel_row("its grouped kernels", classifier["label"], ["forward", "loops"])

deeper = measure("classifier", ["ResNeXt101<32, 4>"], 1.1 * classifier["real_time"], 3)
row("classifier of ResNeXt-101 32x4d, over ResNeXt-50", deeper["real_time"] / classifier["real_time"], 1.1, "{:.2f}")

more = [f"ResNeXt50<{C}, 4>" for C in (2, 8, 16, 64)] + [f"ResNeXt101<{C}, 4>" for C in (8, 16, 32, 64)]
more += ["ResNeXt152<32, 4>", "ResNeXt152<64, 4>"]
eleven = measure("classifier", one + more, classifier["real_time"] + 3.0, 3)
row("ten more networks that share its kernels", eleven["real_time"] - classifier["real_time"], 3.0)
kernel_row("the eleven's grouped kernels", eleven["label"], ["forward", "loops"])

trainer = measure("trainer", one, 16.0, 3)
row("trainer of ResNeXt-50 32x4d, `-O2`", trainer["real_time"], 16.0)
row("its compiler's memory", trainer["MiB"], 700, "{:.0f} MiB")
kernel_row("its grouped kernels", trainer["label"], ["backward_data", "backward_weights", "forward", "loops"])
longest = max(unit["longest_symbol"] for unit in (classifier, deeper, eleven, trainer))
row("longest symbol of these units", longest, 400, "{:.0f}")

model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
print(f"# What compiling costs\n\n{datetime.date.today().isoformat()}, {compiler}, {model}. Seconds are user time of the "
      f"processor, divided by how much longer a fixed file took than it should (at most {slowest:.2f} times).\n")  # fmt: skip
print("| | measured | budget | |\n|---|---|---|---|")
for cells in rows:
    print("| " + " | ".join(cells) + " |")
sys.exit(failed)
