#!/usr/bin/env bash
# kill_test.sh TRAIN: the program examples/train is killed again and again, meets a full disk, a folder that cannot be
# written to, damaged checkpoints and a loss that is not finite. Whatever happened, the run that is resumed ends in the
# bytes of the one that was never stopped.
set -uo pipefail
train=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/resnext-kill-XXXXXX")
mounted=
trap '[[ -n $mounted ]] && umount "$work/small"; rm -rf "$work"' EXIT
source "$(dirname "${BASH_SOURCE[0]}")/dataset.sh"
mkdir "$work/data"
dataset train 80 4 "$train"
dataset t10k 10 4 "$train"

# run FOLDER OPTION...: 60 steps with a checkpoint after each; what it says is in $work/said.
command=("$train" --folder "$work/data" --network small --epochs 6 --batch 8 --pad 0 --rate 0.01 --threads 1 --workers 0
  --quiet --checkpoint-every 1 --id test --checkpoints)
run() { "${command[@]}" "$@" >"$work/said" 2>&1; }
# says WORDS: the last run said them.
says() { grep -qF -- "$1" "$work/said" || failed "expected '$1', found '$(cat "$work/said")'"; }
# refused FOLDER WORDS: a resumed run ends with exit status 1 and these words.
refused() {
  run "$1" --resume
  local status=$?
  ((status == 1)) || failed "expected exit status 1, found $status"
  says "$2"
}
checkpoint() { printf 'checkpoint-%010d.safetensors' "$1"; }
# ends_equal FOLDER WHAT: its last checkpoint is that of the whole run.
ends_equal() { cmp "$work/whole/$(checkpoint 60)" "$1/$(checkpoint 60)" || failed "$2: other bytes than without it"; }

began=${EPOCHREALTIME/./}
run "$work/whole" || failed "the run that nothing happens to: $(cat "$work/said")"
whole=$((${EPOCHREALTIME/./} - began))

# Killed at 50 random moments; a run that comes to its end is compared and begun again. A temporary file that is left says
# that the kill came while a checkpoint was written.
RANDOM=4
kills=0 within=0 ends=0
while ((kills < 50)); do
  "${command[@]}" "$work/killed" --resume >"$work/said" 2>&1 &
  program=$!
  moment=$((whole * RANDOM / 60000))
  sleep "$((moment / 1000000)).$(printf '%06d' $((moment % 1000000)))"
  kill -9 "$program" 2>/dev/null
  wait "$program" 2>/dev/null
  case $? in
    137)
      ((++kills))
      compgen -G "$work/killed/*.tmp" >/dev/null && ((++within))
      ;;
    0)
      ends_equal "$work/killed" 'killed'
      ((++ends))
      rm -r "$work/killed"
      ;;
    *) failed "resumed after a kill: $(cat "$work/said")" && break ;;
  esac
  grep -F 'passed over' "$work/said" && failed 'a kill has left a damaged checkpoint'
done
run "$work/killed" --resume || failed "resumed after the last kill: $(cat "$work/said")"
ends_equal "$work/killed" 'killed'
compgen -G "$work/killed/*.tmp" && failed 'temporary files are left'
echo "$kills kills, $within of them while a checkpoint was written; $((ends + 1)) runs ended in the same bytes"
((within > 0)) || failed 'no kill came while a checkpoint was written'

# A full disk, then room again; a folder that cannot be written to.
size=$(stat -c %s "$work/whole/$(checkpoint 58)")
mkdir "$work/small"
mount -t tmpfs -o "size=$((size * 3 / 2))" resnext-test "$work/small" 2>/dev/null && mounted=yes
cp "$work/whole/$(checkpoint 58)" "$work/small"
if [[ -n $mounted ]]; then
  refused "$work/small" "$(checkpoint 59): could not write: No space left on device"
  compgen -G "$work/small/*.tmp" && failed 'a half-written file takes the room that is missing'
  mount -o remount,ro "$work/small"
  refused "$work/small" "$(checkpoint 59): could not write: Read-only file system"
  mount -o "remount,rw,size=$((size * 10))" "$work/small"
else
  (
    trap '' XFSZ
    ulimit -f $((size / 2048))
    refused "$work/small" "$(checkpoint 59): could not write: File too large"
    exit $failures
  ) || failures=1
  if ((EUID != 0)); then
    chmod a-w "$work/small"
    refused "$work/small" "$(checkpoint 59): could not write: Permission denied"
    chmod u+w "$work/small"
  else
    echo 'skipped: the read-only folder, for root may not mount a file system here and no permission stops it'
  fi
fi
run "$work/small" --resume || failed "resumed with room: $(cat "$work/said")"
says "resumed from $work/small/$(checkpoint 58)"
ends_equal "$work/small" 'a full disk'

# Damaged checkpoints: the one before them is taken, and it is said.
mkdir "$work/damaged"
cp "$work/whole/"*.safetensors "$work/damaged"
truncate -s -5 "$work/damaged/$(checkpoint 60)"
flipped=$work/damaged/$(checkpoint 59)
at=$((size * 2 / 3))
bytes $(($(od -An -tu1 -j $at -N 1 "$flipped") ^ 16)) | dd of="$flipped" bs=1 seek=$at conv=notrunc status=none
run "$work/damaged" --resume || failed "resumed beside damaged checkpoints: $(cat "$work/said")"
says "passed over $work/damaged/$(checkpoint 60): "
says "passed over $flipped: damaged: expected the checksum"
says "resumed from $work/damaged/$(checkpoint 58)"
ends_equal "$work/damaged" 'damaged checkpoints'
for file in "$work/damaged/"*.safetensors; do truncate -s 1000 "$file"; done
refused "$work/damaged" 'none of its 3 checkpoints is intact'

# The folder of another run: nothing in it changes.
before=$(cd "$work/whole" && sha256sum -- *)
for options in '--id other' '--id other --resume' '--id other --log log.csv'; do
  # shellcheck disable=SC2086
  run "$work/whole" $options
  status=$?
  ((status == 1)) || failed "another run in the folder: expected exit status 1, found $status"
  grep -qE 'is of another run: expected id = other|take another folder' "$work/said" ||
    failed "another run in the folder: $(cat "$work/said")"
done
[[ $(cd "$work/whole" && sha256sum -- *) == "$before" ]] || failed 'another run has changed the folder'

# SIGTERM: a checkpoint after the step.
"${command[@]}" "$work/ended" --epochs 100000 >"$work/said" 2>&1 &
program=$!
until compgen -G "$work/ended/checkpoint-*[1-9].safetensors" >/dev/null || ! kill -0 "$program" 2>/dev/null; do sleep 0.05; done
kill -TERM "$program"
wait "$program"
status=$?
((status == 143)) || failed "SIGTERM: expected exit status 143, found $status"
says '; --resume goes on from here'

# A loss that is not finite.
run "$work/bad" --rate 1e30 && failed 'a rate of 1e30 was no error'
says 'at step 2 (epoch 1, learning rate 1e+30), first seen in the output of '
says "the last good checkpoint is $work/bad/$(checkpoint 1)"

exit $failures
