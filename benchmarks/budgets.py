#!/usr/bin/env python3
"""What this library costs a compiler, beside what it may cost: a Markdown table, and exit status 1 when it is too much.

    budgets.py [--compiler g++] [OPTION...]    options go to the compiler, e.g. -I of oneDNN

Seconds are user time of the processor, the least of several compilations: what is over its budget is compiled again, headers
up to ten times and units up to three times. A processor that is shared or slow makes user time
longer: a small fixed file is compiled just before and after each compilation, and where it takes longer than on the
machine the budgets were set for, the seconds are divided by that much. Diagnostics have a budget too; tests/compile_fail
keeps it.
"""
import argparse, datetime, os, pathlib, platform, re, subprocess, sys, tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--compiler", default=os.environ.get("CXX", "g++"))
args, options = parser.parse_known_args()
include = pathlib.Path(__file__).resolve().parent.parent / "include"
folder = pathlib.Path(tempfile.mkdtemp(prefix="budgets-"))
REFERENCE_SECONDS = 0.33  # the fixed file with g++ 12 on a quiet Zen 5

rows, failed, slowest = [], False, 1.0


def compile_once(source, flags):
    """User seconds and peak MiB of a compilation; the object is beside the source."""
    path = folder / "unit.cpp"
    path.write_text(source)
    command = [args.compiler, "-std=c++20", "-fopenmp", f"-I{include}", *options, *flags, str(path), "-o", str(path) + ".o"]
    _, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return usage.ru_utime, usage.ru_maxrss / 1024


def compile_unit(source, flags, budget, most):
    """Corrected user seconds and peak MiB, the least of some compilations."""
    global slowest
    reference = lambda: compile_once("#include <regex>\n", ["-fsyntax-only"])[0]
    seconds, memory, before = float("inf"), float("inf"), reference()
    for _ in range(most):
        if seconds <= budget:
            break
        took, peak = compile_once(source, flags)
        after = reference()
        slowness = max(1.0, (before + after) / 2 / REFERENCE_SECONDS)
        seconds, memory, before, slowest = min(seconds, took / slowness), min(memory, peak), after, max(slowest, slowness)
    return seconds, memory


def headers(*names, budget=0.0):
    return compile_unit("".join(f"#include <{name}>\n" for name in names), ["-fsyntax-only"], budget, 10)[0]


def unit(*networks, executor="Classifier", budget):
    """Compiles a translation unit that runs these networks: seconds, MiB and the symbols of its object."""
    run = "executor(images)" if executor == "Classifier" else "executor.step(images, labels)"
    source = "#include <resnext/cpu.hpp>\n#include <resnext/resnext.hpp>\nusing namespace resnext;\n"
    for i, network in enumerate(networks):
        source += f"void run{i}(Parameters<{network}>& parameters, const Images& images, std::span<const int> labels) " \
                  f"{{ static_cast<void>(labels); {executor}<{network}> executor(parameters); {run}; }}\n"  # fmt: skip
    seconds, memory = compile_unit(source, ["-O2", "-c"], budget, 3)
    symbols = [line.split()[-1] for line in subprocess.check_output(["nm", folder / "unit.cpp.o"], text=True).splitlines()]
    return seconds, memory, symbols


def row(what, value, budget, spelling="{:.2f} s"):
    global failed
    failed |= not value <= budget
    rows.append((what, spelling.format(value), spelling.format(budget), "" if value <= budget else "**exceeded**"))


def kernel_row(what, symbols, passes, widths):
    """The grouped convolutions of the object are those of the widths and passes, neither more nor fewer."""
    global failed
    text = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True).stdout
    found = set(re.findall(r"GroupedConvolution<(\d+)>::((?:for|back)ward\w*)\(", text))
    inner = set(re.findall(r"(?:avx512|avx2|portable)::(?:row_kernel|row|sums_kernels|strip|gather)<(\d+)", text))
    good = found == {(str(d), name) for d in widths for name in passes} and inner == {str(d) for d in widths}
    failed |= not good
    spell = lambda pairs: ", ".join(sorted({name for _, name in pairs})) + " of " + \
        ", ".join(map(str, sorted({int(d) for d, _ in pairs} | {int(d) for d in inner})))  # fmt: skip
    rows.append((what, spell(found), ", ".join(passes) + " of " + ", ".join(map(str, widths)), "" if good else "**differ**"))


row("include `resnext.hpp`", headers("resnext/resnext.hpp", budget=1.0), 1.0)
onednn = headers("dnnl.hpp")
row("include `resnext.hpp` and `cpu.hpp`, above `dnnl.hpp` alone",
    headers("resnext/resnext.hpp", "resnext/cpu.hpp", budget=1.0 + onednn) - onednn, 1.0)

widths = [4, 8, 16, 32]
classifier, _, symbols = unit("ResNeXt50<32, 4>", budget=15.0)
row("classifier of ResNeXt-50 32x4d, `-O2`", classifier, 15.0)
longest = max(map(len, symbols))
kernel_row("its grouped kernels", symbols, ["forward"], widths)

deeper, _, symbols = unit("ResNeXt101<32, 4>", budget=1.2 * classifier)
row("classifier of ResNeXt-101 32x4d, over ResNeXt-50", deeper / classifier, 1.2, "{:.2f}")
longest = max(longest, *map(len, symbols))

more = [f"ResNeXt50<{C}, 4>" for C in (2, 8, 16, 64)] + [f"ResNeXt101<{C}, 4>" for C in (8, 16, 32, 64)]
more += ["ResNeXt152<32, 4>", "ResNeXt152<64, 4>"]
eleven, _, symbols = unit("ResNeXt50<32, 4>", *more, budget=classifier + 3.0)
row("ten more networks that share its kernels", eleven - classifier, 3.0)
longest = max(longest, *map(len, symbols))
kernel_row("the eleven's grouped kernels", symbols, ["forward"], widths)

trainer, memory, symbols = unit("ResNeXt50<32, 4>", executor="Trainer", budget=40.0)
row("trainer of ResNeXt-50 32x4d, `-O2`", trainer, 40.0)
row("its compiler's memory", memory, 1536, "{:.0f} MiB")
kernel_row("its grouped kernels", symbols, ["backward_data", "backward_weights", "forward"], widths)
row("longest symbol of these units", max(longest, *map(len, symbols)), 400, "{:.0f}")

model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
version = subprocess.check_output([args.compiler, "--version"], text=True).splitlines()[0]
print(f"# What compiling costs\n\n{datetime.date.today().isoformat()}, {version}, {model}. Seconds are user time of the "
      f"processor, divided by how much longer a fixed file took than it should (at most {slowest:.2f} times).\n")  # fmt: skip
print("| | measured | budget | |\n|---|---|---|---|")
for cells in rows:
    print("| " + " | ".join(cells) + " |")
sys.exit(failed)
