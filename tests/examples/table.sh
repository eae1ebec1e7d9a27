#!/usr/bin/env bash
# table.sh PROGRAM: examples/table prints what is in table.txt, and refuses what it does not know.
set -uo pipefail
table=$1
failures=0

printed=$("$table" && "$table" resnet34 resnext29_8x64d --size 33 && "$table" --equal-cost) || failures=1
diff "$(dirname "${BASH_SOURCE[0]}")/table.txt" <(printf '%s\n\n' "$printed") || failures=1
if ! "$table" --list | grep -q '^resnext101_64x4d .* 83,455,272 .* 15.460$'; then
  echo "--list lacks resnext101_64x4d"
  failures=1
fi

# refuses ARGUMENTS... -- WORDS: exits with an error that has these words.
refuses() {
  local words=${*: -1} said
  said=$("$table" "${@:1:$#-2}" 2>&1) && { echo "$1 was accepted"; failures=1; }
  [[ $said == *"$words"* ]] || { echo "'$words' expected, table said '$said'"; failures=1; }
}
refuses resnext51 -- 'no network resnext51'
refuses --size 0 -- 'not in range'
refuses --sizes 3 -- 'not expected'
exit $failures
