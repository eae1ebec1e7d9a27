#!/usr/bin/env bash
# Trains a small ResNeXt on Fashion-MNIST (Debian, Ubuntu) from a bare machine to more than 91 % in a few minutes on two
# cores. CTRL-C leaves a checkpoint, and the next call goes on from it. Results go to build/demo, to build/demo-2 when
# that is finished, and so on; RESNEXT_DEMO_DIR says otherwise. Arguments go to train. RESNEXT_DEMO_PROGRAMS is a folder
# with train and classify; without it they are built, after what is missing was installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
programs=${RESNEXT_DEMO_PROGRAMS:-}
if [[ -z $programs ]]; then
  source cmake/packages.sh
  install_packages "${library_packages[@]}" "${program_packages[@]}" "${demo_packages[@]}"
  cmake -S . -B build/examples -DCMAKE_BUILD_TYPE=Release -DRESNEXT_TESTS=OFF -DRESNEXT_BENCHMARKS=OFF \
    -DRESNEXT_REFERENCE=OFF -DRESNEXT_INSTALL=OFF
  cmake --build build/examples --parallel "$(nproc)" --target train classify
  programs=build/examples/examples
fi

first=${RESNEXT_DEMO_DIR:-build/demo}
results=$first
for ((run = 2; ; ++run)); do
  [[ -e $results/finished ]] || break
  results=$first-$run
done
mkdir -p "$results"
status=0
"$programs/train" --data fashion-mnist --network small --epochs 7 --batch 64 --schedule cosine --rate 0.1 \
  --warmup 0.3 --pad 0 --checkpoints "$results" --resume --curve "$results/curve.png" "$@" || status=$?
((status)) && exit "$status"
"$programs/classify" "$results" --test --sheet "$results/predictions.png"
touch "$results/finished"
