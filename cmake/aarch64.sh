#!/usr/bin/env bash
# What the preset `aarch64` needs, on Debian 12: the cross compiler and the emulator as packages, and the libraries to link
# with unpacked in build/aarch64-root. They are not installed, so the machine's own packages stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source cmake/packages.sh
install_packages g++-aarch64-linux-gnu qemu-user
[[ -e build/aarch64-root ]] && exit
mkdir -p build
root=$PWD/build/aarch64-root state=$(mktemp -d)
trap 'rm -r "$state"' EXIT
mkdir -p "$state"/{lists,archives}/partial "$root.part"
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
  -o Dir::State="$state" -o Dir::State::status=/dev/null -o Dir::Cache="$state" -o APT::Sandbox::User="$(id -un)")
cd "$state"
"${apt[@]}" update
"${apt[@]}" download libdnnl{2,-dev} libjpeg62-turbo{,-dev} libpng{16-16,-dev} zlib1g{,-dev}
for package in *.deb; do
  dpkg-deb -x "$package" "$root.part"
done
find "$root.part" -type l -lname '/*' | while IFS= read -r link; do
  ln -sfr "$root.part$(readlink "$link")" "$link"
done
mv "$root.part" "$root"
