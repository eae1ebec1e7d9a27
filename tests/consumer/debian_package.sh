#!/usr/bin/env bash
# debian_package.sh BUILD FOLDER: packs BUILD with cpack and checks the package, which is left unpacked in FOLDER/root.
set -euo pipefail
build=$1 folder=$2
sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
rm -rf "$folder"
cpack -G DEB --config "$build/CPackConfig.cmake" -B "$folder"
packages=("$folder"/*.deb)

# expect WHAT EXPECTED FOUND
expect() {
  [[ $2 == "$3" ]] || { printf '%s: expected\n%s\nfound\n%s\n' "$1" "$2" "$3"; exit 1; }
}
expect 'number of packages' 1 "${#packages[@]}"
version=$(sed -nE 's/.*string_view library_version = "(.*)".*/\1/p' "$sources/include/resnext/version.hpp")
expect 'name of the package' "libresnext-dev_${version}_all.deb" "$(basename "${packages[0]}")"
expect 'control fields' "Package: libresnext-dev
Version: $version
Architecture: all
Section: libdevel
Recommends: libdnnl-dev, libeigen3-dev, libjpeg62-turbo-dev | libjpeg-dev, libpng-dev, zlib1g-dev" \
  "$(dpkg-deb --field "${packages[0]}" Package Version Architecture Section Depends Recommends)"

dpkg-deb --extract "${packages[0]}" "$folder/root"
diff -r "$sources/include" "$folder/root/usr/include"
cmp "$sources/LICENSE" "$folder/root/usr/share/doc/libresnext-dev/copyright"
expect 'folders' 'usr/include usr/share usr/share/cmake usr/share/doc usr/share/pkgconfig' \
  "$(cd "$folder/root" && echo usr/* usr/share/*)"
! grep -rF -e "$build" -e "$sources" "$folder/root" || { echo 'the package names folders of its build'; exit 1; }
