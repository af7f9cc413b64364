#!/usr/bin/env bash
# The NEON kernels, built by a cross compiler and run by qemu: they must agree with the plain C.
# (Debian: gcc-aarch64-linux-gnu and qemu-user-static.)
# nigh-test: needs=aarch64-linux-gnu-gcc,qemu-aarch64-static
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
aarch64-linux-gnu-gcc -std=c11 -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I. -D_GNU_SOURCE \
    -static tests/kernels/kernels_probe.c index/kernels.c index/kernels_scalar.c index/kernels_scalar_text.c \
    index/kernels_neon.c -o "$folder/probe" -lm -lpthread

# expect NAME KERNELS [VARIABLE=VALUE]
expect() {
    name=$1 wanted=$2
    shift 2
    taken=$(env "$@" qemu-aarch64-static "$folder/probe")
    if [ "$taken" = "$wanted" ]; then echo "ok $name"; else echo "FAIL $name: took $taken"; fi
}

expect neon_agrees_with_plain_c neon
expect a_choice_is_taken scalar NIGH__INDEX__ISA=scalar
