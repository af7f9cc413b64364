/* Numbers out of text for AVX2.
 *
 * Where numbers end is looked for first, in 64 bytes at once: if each had to be read to find the
 * next, the processor would wait for one after the other. Sixteen digits then become a number in
 * four steps, each of which joins neighbours (Mula, "SIMD-ized parsing of integers"): ones to
 * pairs, to fours, to eights, to sixteen.
 */
#include "index/kernels.h"

#include <immintrin.h>

enum {
    WINDOW = 64,
    DIGITS = 16,     /* of a register */
    DIGITS_MAX = 19, /* any 19 digits fit in a u64 */
};

static inline uint64_t find_commas(const char *at) {
    const __m256i comma = _mm256_set1_epi8(',');
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(at + WINDOW / 2));
    uint32_t lows = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, comma));
    uint32_t highs = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, comma));
    return (uint64_t)highs << 32 | lows;
}

/* The first count of sixteen bytes as a number; false if one of them is no digit. */
static inline bool read_digits(const char *at, unsigned count, uint64_t *value) {
    /* From entry `count` on: what moves so many bytes to the end and puts zeros before them. */
    static const int8_t moves[2 * DIGITS] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                             -1, -1, -1, -1, -1, 0,  1,  2,  3,  4,  5,
                                             6,  7,  8,  9,  10, 11, 12, 13, 14, 15};
    __m128i bytes =
        _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)at), _mm_set1_epi8('0'));
    __m128i are_digits = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(9)), bytes);
    uint32_t others = ~(uint32_t)_mm_movemask_epi8(are_digits);
    if (_bzhi_u32(others, count) != 0)
        return false;
    __m128i move = _mm_loadu_si128((const __m128i *)(const void *)(moves + count));
    __m128i ones = _mm_shuffle_epi8(bytes, move);
    __m128i pairs = _mm_maddubs_epi16(ones, _mm_set1_epi16(1 << 8 | 10));
    __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 << 16 | 100));
    __m128i eights =
        _mm_madd_epi16(_mm_packus_epi32(fours, fours), _mm_set1_epi32(1 << 16 | 10000));
    __m128i sixteen = _mm_add_epi64(_mm_mul_epu32(eights, _mm_set1_epi64x(100000000)),
                                    _mm_srli_epi64(eights, 32));
    *value = (uint64_t)_mm_cvtsi128_si64(sixteen);
    return true;
}

/* What lies before `stop`; false if it has another form. */
static inline bool read_decimal(const char *at, const char *stop, struct kernel_decimal *decimal) {
    static const uint64_t powers[DIGITS + 1] = {
        UINT64_C(1),
        UINT64_C(10),
        UINT64_C(100),
        UINT64_C(1000),
        UINT64_C(10000),
        UINT64_C(100000),
        UINT64_C(1000000),
        UINT64_C(10000000),
        UINT64_C(100000000),
        UINT64_C(1000000000),
        UINT64_C(10000000000),
        UINT64_C(100000000000),
        UINT64_C(1000000000000),
        UINT64_C(10000000000000),
        UINT64_C(100000000000000),
        UINT64_C(1000000000000000),
        UINT64_C(10000000000000000),
    };
    bool is_negative = *at == '-';
    at += is_negative;
    uint64_t first = (unsigned char)(at[0] - '0'), more;
    size_t places = (size_t)(stop - at) - 2; /* of less than three bytes it is huge, or 0 */
    if (first > 9 || at[1] != '.' || places - 1 >= (size_t)DIGITS_MAX - (first > 0))
        return false;
    unsigned count = places < DIGITS ? (unsigned)places : DIGITS;
    uint64_t digits;
    if (!read_digits(at + 2, count, &digits))
        return false;
    digits += first * powers[count];
    if (places > DIGITS) {
        unsigned rest = (unsigned)places - DIGITS;
        if (!read_digits(at + 2 + DIGITS, rest, &more))
            return false;
        digits = digits * powers[rest] + more;
    }
    decimal->digits = digits;
    decimal->places = (uint8_t)places;
    decimal->is_negative = is_negative;
    return true;
}

size_t kernels_avx2_decimals(const char *text, const char *end, struct kernel_decimal *decimals,
                             size_t max, const char **behind) {
    const char *at = text;
    size_t count = 0;
    while (count < max && end - at > KERNELS_DECIMAL_MARGIN) {
        const char *window = at;
        uint64_t commas = find_commas(window);
        if (commas == 0)
            break; /* no number is so long */
        for (; commas != 0 && count < max && end - at > KERNELS_DECIMAL_MARGIN;
             commas &= commas - 1, count++) {
            const char *begin = at + (*at == ' '), *stop = window + __builtin_ctzll(commas);
            if (!read_decimal(begin, stop, &decimals[count])) {
                *behind = at;
                return count;
            }
            decimals[count].begin = (uint32_t)(begin - text);
            at = stop + 1;
        }
    }
    *behind = at;
    return count;
}
