#!/usr/bin/env bash
# demo_test.sh TRAIN CLASSIFY: examples/demo.sh works any number of times. It goes on with a run that was ended, and takes
# a fresh folder after one that is finished.
set -uo pipefail
train=$(realpath "$1") classify=$(realpath "$2")
demo=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../examples/demo.sh")
work=$(mktemp -d "${TMPDIR:-/tmp}/resnext-demo-XXXXXX")
trap 'rm -rf "$work"' EXIT
source "$(dirname "${BASH_SOURCE[0]}")/dataset.sh"
mkdir "$work/data" "$work/programs"
dataset train 20 28 "$train"
dataset t10k 10 28 "$train"
for program in train classify; do
  printf '#!/bin/sh\necho $$ >"%s/%s.pid"\nexec "%s" --folder "%s" "$@"\n' \
    "$work" "$program" "${!program}" "$work/data" >"$work/programs/$program"
  chmod +x "$work/programs/$program"
done
export RESNEXT_DEMO_PROGRAMS=$work/programs RESNEXT_DEMO_DIR=$work/demo
run() { "$demo" --threads 1 "$@" >"$work/said" 2>&1; }
says() { grep -qF -- "$1" "$work/said" || failed "expected '$1', found '$(cat "$work/said")'"; }

# Ended after its first epoch.
"$demo" --threads 1 --epochs 12 --rate 0.001 >"$work/said" 2>&1 &
program=$!
until compgen -G "$work/demo/checkpoint-*[1-9].safetensors" >/dev/null || ! kill -0 "$program" 2>/dev/null; do sleep 0.02; done
kill -TERM "$(cat "$work/train.pid")"
wait "$program"
status=$?
((status == 143)) || failed "ended: expected exit status 143, found $status: $(cat "$work/said")"
[[ -e $work/demo/finished ]] && failed 'a run that was ended counts as finished'

run --epochs 12 --rate 0.001 || failed "the second call: $(cat "$work/said")"
says "resumed from $work/demo/checkpoint-"
for file in finished predictions.png checkpoint-0000000012.safetensors; do
  [[ -e $work/demo/$file ]] || failed "the second call: there is no $file"
done
before=$(cd "$work/demo" && sha256sum -- *)
for folder in demo-2 demo-3; do
  run --epochs 1 || failed "a call after a finished one: $(cat "$work/said")"
  [[ -e $work/$folder/finished && -e $work/$folder/checkpoint-0000000001.safetensors ]] || failed "nothing in $folder"
done
[[ $(cd "$work/demo" && sha256sum -- *) == "$before" ]] || failed 'a later call has changed what was finished'
exit $failures
