#!/usr/bin/env bash
# check.sh CASE.cpp COMPILER [FLAGS...]: the case must not compile, its first error must match the regular expression of
# its `// expect:` line, and the compiler must say it in at most 15 lines. With -DRESNEXT_TWIN, which corrects the one
# mistake, it must compile: so the mistake alone is the cause.
set -uo pipefail
export LC_ALL=C
case=$1
compile=("${@:2}" -std=c++20 -fsyntax-only "$case")

refuse() {
  printf '%s: %s\n%s\n' "$case" "$1" "$2"
  exit 1
}

expected=$(sed -n 's|^// expect: ||p' "$case")
[[ -n $expected ]] || refuse 'no line "// expect: REGEX"' ''
output=$("${compile[@]}" -DRESNEXT_TWIN 2>&1) || refuse 'the corrected twin does not compile' "$output"
output=$("${compile[@]}" 2>&1) && refuse 'compiles, and must not' "$output"
first=$(grep -m1 'error:' <<<"$output")
grep -qE -- "$expected" <<<"$first" || refuse "the first error does not match: $expected" "$output"
lines=$(wc -l <<<"$output")
((lines <= 15)) || refuse "$lines lines of diagnostics, at most 15" "$output"
