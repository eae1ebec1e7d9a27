#!/usr/bin/env bash
# Includes point one way: a header names only its own folder and those of a lower rank, and file formats no network. No
# header names an umbrella, and none but the kernels of the CPU backend what only x86 has. What programs without templates
# are written against needs no backend.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../include/resnext"
declare -A rank=([.]=0 [model]=1 [tensor]=2 [io]=3 [backend]=4 [nn]=5 [distributed]=6 [data]=6 [eval]=7 [train]=8 [testing]=9)
failures=0
umbrellas='@(resnext|reference|cpu|cuda|mpi|nccl).hpp'
includes() { sed -nE 's|^ *# *include +<resnext/([^>]*)>.*|\1|p' "$1"; }
while read -r file; do
  # shellcheck disable=SC2053  # a pattern
  [[ $file == $umbrellas ]] && continue
  from=${file%%/*}
  [[ $from == "$file" ]] && from=.
  while read -r name; do
    to=${name%%/*}
    [[ $to == "$name" ]] && to=.
    if [[ -z ${rank[$from]:-} || -z ${rank[$to]:-} || ($to != "$from" && ${rank[$to]} -ge ${rank[$from]}) ||
      $from/$to == io/model || $name == $umbrellas ]]; then
      echo "$file must not include <resnext/$name>"
      ((++failures))
    fi
  done < <(includes "$file")
  while IFS= read -r line; do
    echo "$file must say <resnext/...>: $line"
    ((++failures))
  done < <(grep -E '^ *# *include +"' "$file")
done < <(find . -name '*.hpp' -o -name '*.h' | sed 's|^\./||')
declare -A seen=()
reach() {
  local name
  while read -r name; do
    [[ ${seen[$name]:-} ]] && continue
    seen[$name]=1
    reach "$name"
  done < <(includes "$1")
}
reach nn/any_executors.hpp
for name in "${!seen[@]}"; do
  [[ $name == backend/* ]] || continue
  echo "nn/any_executors.hpp must not need <resnext/$name>"
  ((++failures))
done
while IFS= read -r line; do
  echo "only backend/cpu/*-inl.h may use x86: $line"
  ((++failures))
done < <(grep -rnE '<[a-z0-9]*intrin\.h>|<cpuid\.h>|\b_mm[0-9]*_|\b__m[0-9]+' . | grep -v '^\./backend/cpu/[a-z_]*-inl\.h:')
exit $((failures > 0))
