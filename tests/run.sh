#!/usr/bin/env bash
# Installs what is missing (Debian, Ubuntu), builds everything and runs every test. Arguments go to ctest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source cmake/packages.sh
install_packages "${library_packages[@]}" "${program_packages[@]}" "${test_packages[@]}"
cmake --preset cpu
cmake --build --preset cpu --parallel "$(nproc)"
exec ctest --preset cpu --parallel "$(nproc)" "$@"
