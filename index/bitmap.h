/* bitmap.h -- bits by slot in 64-bit words, plain or atomic.
 *
 * The caller owns the words and knows their number. Setting and clearing atomic bits releases, so
 * that whoever sees the bit sees what was written before it.
 */
#ifndef BITMAP_H
#define BITMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BITMAP_WORD_BITS = 64
};

/* How many words hold `bits` bits. */
static inline size_t bitmap_words(size_t bits) {
    return (bits + BITMAP_WORD_BITS - 1) / BITMAP_WORD_BITS;
}

static inline bool bitmap_test(const uint64_t *words, size_t bit) {
    return words[bit / BITMAP_WORD_BITS] >> (bit % BITMAP_WORD_BITS) & 1;
}

static inline void bitmap_set(uint64_t *words, size_t bit) {
    words[bit / BITMAP_WORD_BITS] |= UINT64_C(1) << (bit % BITMAP_WORD_BITS);
}

static inline bool bitmap_atomic_test(const _Atomic uint64_t *words, size_t bit) {
    uint64_t word = atomic_load_explicit(&words[bit / BITMAP_WORD_BITS], memory_order_acquire);
    return word >> (bit % BITMAP_WORD_BITS) & 1;
}

/* Returns what the bit was before. */
static inline bool bitmap_atomic_set(_Atomic uint64_t *words, size_t bit) {
    uint64_t mask = UINT64_C(1) << (bit % BITMAP_WORD_BITS);
    return atomic_fetch_or_explicit(&words[bit / BITMAP_WORD_BITS], mask, memory_order_acq_rel) &
           mask;
}

static inline bool bitmap_atomic_clear(_Atomic uint64_t *words, size_t bit) {
    uint64_t mask = UINT64_C(1) << (bit % BITMAP_WORD_BITS);
    return atomic_fetch_and_explicit(&words[bit / BITMAP_WORD_BITS], ~mask, memory_order_acq_rel) &
           mask;
}

/* Takes the lowest set bit out of *word (not 0) and returns its number. */
static inline uint32_t bitmap_take_lowest(uint64_t *word) {
    uint32_t bit = (uint32_t)__builtin_ctzll(*word);
    *word &= *word - 1;
    return bit;
}

#endif
