#!/usr/bin/env bash
# Installs what is missing (Debian, Ubuntu), builds everything and runs every test. Arguments go to ctest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source cmake/packages.sh
install_packages "${library_packages[@]}" "${program_packages[@]}" "${test_packages[@]}"
cmake --preset cpu
cmake --build --preset cpu --parallel "$(nproc)"
# What was skipped, and why, is said before the summary.
ctest --preset cpu --parallel "$(nproc)" "$@" | while IFS= read -r line; do
  [[ $line == *'tests passed, '* ]] && { grep -hso 'skipped: .*' build/cpu/Testing/Temporary/LastTest.log | sort -u || true; }
  printf '%s\n' "$line"
done
