#!/usr/bin/env bash
# fresh_machine.sh [COMMAND...]: runs the README's two commands, or COMMANDs, each in a clone of HEAD in a bare Debian 12:
# as root, then as an ordinary user without a network, with the packages already there. The Debian comes from this
# machine's own mirror. Needs root and debootstrap. Writes benchmarks/results/fresh_machine.md; the whole output
# is in build/fresh_machine.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($#)) || set -- examples/demo.sh tests/run.sh
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' |
  awk '$1 == "bookworm" && $2 == "main" && !found++ { print $3 }')
[[ $mirror ]] || { echo 'The package sources of this machine have no Debian 12 (bookworm).'; exit 1; }

mkdir -p build
log=$PWD/build/fresh_machine.log
report=benchmarks/results/fresh_machine.md
root=$(mktemp -d "$PWD/build/fresh_machine.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
chmod 755 "$root"
debootstrap --variant=minbase bookworm "$root" "$mirror" >"$log"
cp /etc/resolv.conf "$root/etc/"
chroot "$root" useradd --create-home someone

status=0
results=()
# run WHO USER [UNSHARE OPTION]: every command in a fresh clone that USER owns. Mounts end with their namespace.
run() {
  local command code began
  for command in "${commands[@]}"; do
    rm -rf "$root/src"
    git clone --quiet --no-hardlinks . "$root/src/resnext"
    chroot "$root" chown -R "$2" /src
    echo "=== $1: $command" | tee -a "$log"
    code=0 began=$SECONDS
    unshare --mount --pid --fork "${@:3}" bash -c '
      mount -t proc proc "$1/proc"
      mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
      home=$(chroot "$1" getent passwd "$2" | cut -d: -f6)
      exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" \
        chroot --userspec="$2" "$1" bash -c "cd /src/resnext && $3"' \
      bash "$root" "$2" "$command" >"$root.out" 2>&1 </dev/null || code=$?
    cat "$root.out" >>"$log"
    results+=("| $1 | \`$command\` | $code | $((SECONDS - began)) | $(grep . "$root.out" | tail -n 1 | tr '|' ' ') |")
    rm "$root.out"
    ((code == 0)) || status=1
  done
}
commands=("$@")
run 'root, bare' root
run 'ordinary user, packages there, no network' someone --net

{
  echo '# A fresh machine'
  echo
  echo "Made by \`tests/fresh_machine.sh\` on $(date +%F) from commit $(git rev-parse --short HEAD): Debian" \
    "$(<"$root/etc/debian_version") as debootstrap leaves it, $(nproc) cores of $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)."
  echo
  echo '| as | command | exit status | seconds | last line |'
  echo '|---|---|---|---|---|'
  printf '%s\n' "${results[@]}"
} >"$report"
cat "$report"
exit "$status"
