#!/usr/bin/env bash
# run.sh PREFIX COMPILER: builds and runs a program with nothing but what pkg-config says.
set -euo pipefail
export PKG_CONFIG_PATH=$1/share/pkgconfig
program=$(mktemp)
trap 'rm "$program"' EXIT
read -ra flags < <(pkg-config --cflags --libs resnext)
"$2" -std=c++20 "$(dirname "${BASH_SOURCE[0]}")/resnext.cpp" "${flags[@]}" -o "$program"
[[ $("$program") == "$(pkg-config --modversion resnext)" ]]
