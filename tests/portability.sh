#!/bin/sh
# Restores the golden archives on another processor: portability.sh ARCH FOLDER [NAME]...
#
# Debian's python3-numpy for ARCH (arm64, s390x) is unpacked into FOLDER/ARCH, without being
# installed, and run by qemu-user. Needs debootstrap and qemu-user-static, and to be root.
set -eu
arch=$1 folder=$2
shift 2
root=$folder/$arch
case $arch in
arm64) machine=aarch64 triple=aarch64-linux-gnu ;;
*) machine=$arch triple=$arch-linux-gnu ;;
esac
if [ ! -e "$root/.ready" ]; then
    mkdir -p "$folder"
    debootstrap --foreign --variant=minbase --arch="$arch" --include=python3-numpy \
        "${DEBIAN:-bookworm}" "$root" "${MIRROR:-http://deb.debian.org/debian}"
    for package in "$root"/var/cache/apt/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$root"
    done
    touch "$root/.ready"
fi
libraries=$root/usr/lib/$triple
exec "qemu-$machine-static" -L "$root" \
    -E LD_LIBRARY_PATH="$libraries:$libraries/blas:$libraries/lapack" \
    -E PYTHONHOME="$root/usr" -E PYTHONPATH="$root/usr/lib/python3/dist-packages" \
    -E PYTHONDONTWRITEBYTECODE=1 \
    "$root"/usr/bin/python3.[0-9]* "$(dirname "$0")/portable.py" "$@"
