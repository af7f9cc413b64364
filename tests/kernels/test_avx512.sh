#!/usr/bin/env bash
# The AVX-512 kernels on any x86 machine with AVX2, by functions that stand in for the instructions
# (avx512/immintrin.h): they must agree with the plain C, and pass the tests of kernels.
# nigh-test: seconds=120
set -eu
cd "$(dirname "$0")/../.."
if ! grep -q '\bavx2\b' /proc/cpuinfo; then
    echo "skip avx512: needs an x86 machine with AVX2"
    exit 0
elif [ ! -e /usr/include/simde/x86/avx512.h ]; then
    echo "skip avx512: needs SIMD Everywhere (libsimde-dev)"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
options=(-std=c11 -O1 -D_GNU_SOURCE -I.)

# compile FILE [OPTION...]
compile() {
    local source=$1
    shift
    "${CC:-cc}" "${options[@]}" "$@" -c "$source" -o "$folder/$(basename "$source" .c).o"
}

# link PROGRAM FILE...
link() {
    local program=$1
    shift
    # shellcheck disable=SC2046 # several words are wanted
    "${CC:-cc}" "${options[@]}" "$@" "$folder"/*.o -o "$folder/$program" $(pkg-config --cflags --libs check) \
        -lm -lpthread
}

# expect NAME COMMAND...
expect() {
    local name=$1
    shift
    if "$@" >"$folder/output" 2>&1; then
        echo "ok $name"
    else
        cat "$folder/output"
        echo "FAIL $name"
    fi
}

takes() {
    test "$(NIGH__INDEX__ISA=$1 "$folder/kernels_probe")" = "$1"
}

for source in index/kernels_avx512*.c; do
    compile "$source" -mavx2 -mfma -mf16c -mbmi2 -w -Wno-psabi -isystem tests/kernels/avx512
done
for source in index/kernels_avx2*.c; do
    compile "$source" -mavx2 -mfma -mf16c -mbmi2
done
compile index/kernels.c '-D__builtin_cpu_supports(feature)=1'
compile index/kernels_scalar.c
compile index/kernels_scalar_text.c
link kernels_probe tests/kernels/kernels_probe.c
link test_kernels tests/index/test_kernels.c tests/support/run_suite.c
link test_kernel_edges tests/index/test_kernel_edges.c tests/support/run_suite.c
expect avx512_agrees_with_plain_c takes avx512
expect avx2_agrees_with_plain_c takes avx2
expect kernels "$folder/test_kernels"
expect kernel_edges "$folder/test_kernel_edges"
