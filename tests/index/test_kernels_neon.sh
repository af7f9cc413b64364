#!/bin/sh
# The NEON kernels, built by a cross compiler and run by qemu: they must agree with the plain C.
# Needs gcc-aarch64-linux-gnu and qemu-user-static. Exit status 0: they agree; 77: tools missing.
set -eu
cd "$(dirname "$0")/../.."
compiler=aarch64-linux-gnu-gcc
emulator=qemu-aarch64-static
command -v $compiler >/dev/null && command -v $emulator >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
$compiler -std=c11 -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I. -D_GNU_SOURCE \
    -static tests/index/neon_probe.c index/kernels.c index/kernels_scalar.c index/kernels_scalar_text.c index/kernels_neon.c \
    -o "$folder/probe" -lm -lpthread
test "$($emulator "$folder/probe")" = neon
test "$(NIGH__INDEX__ISA=scalar $emulator "$folder/probe")" = scalar
