#!/usr/bin/env bash
# Includes point one way: a header names only its own folder and those of a lower rank. No header names an umbrella, and none but the kernels of the CPU backend what only x86 has.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../include/resnext"
declare -A rank=([.]=0 [model]=1 [tensor]=2 [io]=3 [backend]=4 [nn]=5 [distributed]=6 [data]=6 [eval]=7 [train]=8 [testing]=9)
failures=0
for file in */*.hpp */*/*.hpp */*.h */*/*.h; do
  [[ -e $file ]] || continue
  from=${file%%/*}
  while read -r name; do
    to=${name%%/*}
    [[ $to == "$name" ]] && to=.
    if [[ -z ${rank[$from]:-} || -z ${rank[$to]:-} || ($to != "$from" && ${rank[$to]} -ge ${rank[$from]}) ||
      $name == @(resnext|reference|cpu|cuda|mpi|nccl).hpp ]]; then
      echo "$file must not include <resnext/$name>"
      ((++failures))
    fi
  done < <(sed -nE 's|^ *# *include +<resnext/([^>]*)>.*|\1|p' "$file")
done
while IFS= read -r line; do
  echo "only backend/cpu/*-inl.h may use x86: $line"
  ((++failures))
done < <(grep -rnE '<[a-z0-9]*intrin\.h>|<cpuid\.h>|\b_mm[0-9]*_|\b__m[0-9]+' . | grep -v '^\./backend/cpu/[a-z_]*-inl\.h:')
exit $((failures > 0))
