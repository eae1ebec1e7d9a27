#!/usr/bin/env bash
# run.sh [EXECUTIONS [TARGET...]]: builds the fuzz targets of the readers and runs each EXECUTIONS times, or for 20 seconds
# when none are given. The mutators make their own seeds; what reached new code is kept in build/fuzz/corpus, so that a
# later run goes on from there. FUZZ_SEED chooses other mutations, FUZZ_SECONDS ends each target after that time. Exit
# status 1 when a target found something; the input is then in build/fuzz/findings.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
executions=${1:-}
shift || true
targets=("$@")
((${#targets[@]})) || targets=(safetensors checkpoint torch_archive idx cifar)

cmake --preset fuzz >/dev/null && cmake --build --preset fuzz --parallel "$(nproc)" || exit 1
declare -A longest=([safetensors]=2048 [checkpoint]=8192 [torch_archive]=4096 [idx]=8192 [cifar]=9300)
limit=(-max_total_time="${FUZZ_SECONDS:-20}")
[[ -n $executions ]] && limit=(-runs="$executions" -max_total_time="${FUZZ_SECONDS:-0}")
mkdir -p build/fuzz/findings
status=0
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus"
  log=build/fuzz/$target.log
  # Leaks are looked for after runs that freed less than they allocated. The targets measure their own time; -timeout is
  # for a run that never ends, and counts the time that a machine was suspended.
  if build/fuzz/tests/fuzz/fuzz_"$target" -seed="${FUZZ_SEED:-1}" -max_len="${longest[$target]}" -len_control=0 -entropic=0 -timeout=150 \
    -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 -verbosity=1 -artifact_prefix=build/fuzz/findings/"$target-" \
    "${limit[@]}" "$corpus" >"$log" 2>&1; then
    verdict='nothing found'
  else
    verdict=FOUND status=1
    tail -n 60 "$log"
  fi
  awk -v target="$target" -v verdict="$verdict" '
    /number_of_executed_units/ {runs = $2} /average_exec_per_sec/ {speed = $2} /peak_rss_mb/ {memory = $2}
    /cov: / {for (i = 1; i < NF; ++i) if ($i == "cov:") coverage = $(i + 1)}
    END {printf "%-12s %10d executions  %6d a second  %5d edges  %4d MiB  %s\n", target, runs, speed, coverage, memory, verdict}' "$log"
done
exit $status
