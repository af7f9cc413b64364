/* fuzz_target.h -- what a fuzzer defines; libFuzzer brings main(). */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert() it also says which property broke when NDEBUG is set. */
#define MUST_HOLD(condition) \
    do {                     \
        if (!(condition))    \
            abort();         \
    } while (0)

#endif
