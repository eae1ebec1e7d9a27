#!/usr/bin/env bash
# The names that `using namespace resnext` brings are those of names.txt and no others: a new one is looked at before it
# joins the list, since one of general meaning would make a user's own ambiguous. Headers are in clang-format's form, so
# what is declared at namespace scope begins at the start of a line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
names() {
  find ../include -name '*.hpp' -exec cat {} + | awk '
    /^namespace resnext \{/ { inside = 1; next }
    /^inline namespace / { next }
    /^namespace .*\{$/ { hidden = 1; next }
    /^\}  \/\/ namespace resnext$/ { inside = hidden = 0; next }
    /^\}  \/\/ namespace/ { hidden = 0; next }
    !inside || hidden || /^[ }\/#)]/ || /^(template|requires|friend|RESNEXT_|static_assert|extern|namespace|$)/ && !/^template <[^<>]*> [a-z]/ { next }
    {
      line = $0
      sub(/\/\/.*/, "", line)
      sub(/^template <[^<>]*> /, "", line)
      if (match(line, /^(enum class|struct|class|concept|using|enum) +/)) {
        line = substr(line, RLENGTH + 1)
        if (!match(line, /^[A-Za-z_][A-Za-z0-9_]*/) || line ~ /^[A-Za-z_0-9]+::/) next
        print substr(line, 1, RLENGTH)
        next
      }
      if (line !~ /\(/ && line !~ /=|;|\{/) next
      sub(/ (=|\{).*/, "", line)     # a variable
      sub(/[;(].*/, "", line)        # a function
      if (line ~ /::[A-Za-z_0-9]+$/ || line ~ /operator/) next  # a member, defined outside its class
      if (match(line, /[A-Za-z_][A-Za-z0-9_]*(<[^<>]*>)?$/)) {
        line = substr(line, RSTART)
        sub(/<.*/, "", line)
        print line
      }
    }' | LC_ALL=C sort -u
}
if [[ ${1:-} == --write ]]; then
  names >names.txt
else
  diff -u --label 'names.txt (reviewed)' --label 'include/' names.txt <(names)
fi
