# The Debian and Ubuntu packages of this repository, for tests/run.sh and examples/demo.sh to source.
# `a|b` means that either will do.
library_packages=(g++ cmake make libdnnl-dev libeigen3-dev 'libjpeg62-turbo-dev|libjpeg-dev' libpng-dev zlib1g-dev)
program_packages=(libcli11-dev nlohmann-json3-dev)
test_packages=(doctest-dev libbenchmark-dev dataset-fashion-mnist gnuplot-nox 'pkgconf|pkg-config')
demo_packages=(dataset-fashion-mnist gnuplot-nox)

# install_packages NAME...: installs those that are missing, as root or through sudo. Where neither works it only says
# what is missing: the same things may have come another way, and CMake has the last word.
install_packages() {
  command -v dpkg-query >/dev/null || return 0
  local wanted name missing=() found=() as_root=()
  for wanted in "$@"; do
    for name in ${wanted//|/ }; do
      [[ $(dpkg-query -W -f='${Status}' "$name" 2>/dev/null) == *' installed' ]] && continue 2
    done
    missing+=("$wanted")
  done
  ((${#missing[@]})) || return 0
  echo "Missing packages: ${missing[*]}"
  if ((EUID != 0)); then
    as_root=(sudo)
    command -v sudo >/dev/null || { echo 'Not root and no sudo: going on without them.'; return 0; }
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
  "${as_root[@]}" apt-get update -qq || echo 'apt-get update failed: going on with the old lists.'
  for wanted in "${missing[@]}"; do
    for name in ${wanted//|/ }; do
      apt-cache show "$name" >/dev/null 2>&1 && break
    done
    found+=("$name")
  done
  "${as_root[@]}" apt-get install -qq -y --no-install-recommends "${found[@]}" ||
    echo "Could not install ${found[*]}: going on without them."
}
