#!/usr/bin/env bash
# usage: debian_packages.sh PACKAGE...
# Installs the Debian packages that are missing; without root it names them and stops.
set -eu
missing=()
for package in "$@"; do
  case "$package" in
    # A compiler or a Python that did not come from Debian's packages serves as well.
    g++) command -v g++ > /dev/null && continue ;;
    # Whatever version of Clang is here has to bring its own runtime; a compile of nothing tells.
    clang | libclang-rt-dev)
      echo 'int main() {}' | clang++ -fsanitize=address,undefined -x c++ -o /dev/null - 2> /dev/null && continue ;;
    llvm) command -v llvm-symbolizer > /dev/null && continue ;;
    chromium) command -v chromium > /dev/null && continue ;;
    python3-venv) "${PYTHON:-python3}" -c 'import venv, ensurepip' 2> /dev/null && continue ;;
  esac
  dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "These Debian packages are missing: ${missing[*]}" >&2
  echo "Install them with: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "Installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends "${missing[@]}"
