#!/usr/bin/env bash
# check_test.sh COMPILER: check.sh accepts a good case and refuses each kind of bad one, for the reason named.
set -uo pipefail
check="$(dirname "${BASH_SOURCE[0]}")/check.sh"
compiler=$1
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
failures=0

# verdict EXPECTED: runs the case on standard input; EXPECTED is part of the refusal, or empty where it is accepted.
verdict() {
  cat >"$folder/case.cpp"
  local said
  said=$("$check" "$folder/case.cpp" "$compiler" | head -1)
  if [[ ($1 == '' && $said != '') || $said != *"$1"* ]]; then
    echo "expected '$1', check.sh said '$said'"
    ((++failures))
  fi
}

verdict '' <<'CASE'
// expect: width must be positive
#ifdef RESNEXT_TWIN
constexpr int width = 4;
#else
constexpr int width = 0;
#endif
static_assert(width > 0, "width must be positive");
CASE
verdict 'no line' <<'CASE'
static_assert(false, "no expectation");
CASE
verdict 'twin does not compile' <<'CASE'
// expect: never
static_assert(false, "never");
CASE
verdict 'must not' <<'CASE'
// expect: anything
int fine;
CASE
verdict 'does not match' <<'CASE'
// expect: some other words
#ifndef RESNEXT_TWIN
static_assert(false, "these words");
#endif
CASE
verdict 'at most 15' <<'CASE'
// expect: first
#ifndef RESNEXT_TWIN
static_assert(false, "first");
int a = 'a' + nothing;
int b = 'b' + nothing;
int c = 'c' + nothing;
int d = 'd' + nothing;
int e = 'e' + nothing;
int f = 'f' + nothing;
#endif
CASE
exit "$failures"
