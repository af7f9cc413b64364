/* Rows of codes, for AVX2: 32 numbers an instruction. */
#include "index/kernels.h"
#include "index/memory.h"

#include <immintrin.h>
#include <stdbool.h>

enum {
    AHEAD = 8,         /* rows prefetched before they are summed */
    COARSE_AHEAD = 24, /* of their upper halves: less of each, and a core waits for as many lines */
    LINE = 64,         /* bytes of a cache line */
};

static inline int32_t sum_lanes(__m256i x) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    return _mm_cvtsi128_si32(half);
}

static inline __m256i load(const uint8_t *bytes) {
    return _mm256_load_si256((const __m256i *)bytes);
}

/* 32 products in eight sums. _mm256_maddubs_epi16 wants one unsigned side: |row|, with the sign
 * moved to the query; 2 * 128 * 127 stays below the 16 bits at which it would saturate. */
static inline __m256i dot_block(__m256i sum, __m256i row, const int8_t *codes) {
    __m256i a = _mm256_xor_si256(row, _mm256_set1_epi8(-128));
    __m256i b = _mm256_load_si256((const __m256i *)codes);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* 32 halves of each of the two blocks of a pair, of which each is a number from 0 to 15. */
struct halves {
    __m256i first, second;
};

static inline struct halves halves_of(__m256i bytes) {
    const __m256i low = _mm256_set1_epi8(0x0f);
    return (struct halves){.first = _mm256_and_si256(low, _mm256_srli_epi16(bytes, 4)),
                           .second = _mm256_and_si256(low, bytes)};
}

/* 64 products in 16 sums, of four each: at most 4 * 15 * 127, so that four such sums fit 16 bits.
 */
static inline __m256i dot_halves(struct halves halves, const int8_t *codes) {
    __m256i first = _mm256_load_si256((const __m256i *)codes);
    __m256i second = _mm256_load_si256((const __m256i *)(codes + KERNELS_BLOCK));
    return _mm256_add_epi16(_mm256_maddubs_epi16(halves.first, first),
                            _mm256_maddubs_epi16(halves.second, second));
}

/* The same of a block of halves, each `times` over, in eight sums that are added to `sum`. */
static inline __m256i dot_half_block(__m256i sum, const uint8_t *row, const int8_t *codes,
                                     int16_t times) {
    __m256i sums = _mm256_add_epi16(dot_halves(halves_of(load(row)), codes),
                                    dot_halves(halves_of(load(row + 32)), codes + 32));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(sums, _mm256_set1_epi16(times)));
}

static inline __attribute__((always_inline)) int32_t
dot_row(bool is_coarse, const struct kernel_query *query, const uint8_t *row) {
    size_t at = kernels_split_at(query->bytes, query->pairs), below = query->pairs * KERNELS_BLOCK;
    __m256i a = _mm256_setzero_si256(), b = a;
    for (size_t i = 0; i < at; i += KERNELS_BLOCK) {
        a = dot_block(a, load(row + i), query->codes + i);
        b = dot_block(b, load(row + i + 32), query->codes + i + 32);
    }
    const int8_t *codes = query->codes + at;
    for (size_t i = at; i < at + below; i += KERNELS_BLOCK, codes += 2 * KERNELS_BLOCK) {
        a = dot_half_block(a, row + i, codes, 16);
        if (!is_coarse)
            b = dot_half_block(b, row + i + below, codes, 1);
    }
    return sum_lanes(_mm256_add_epi32(a, b)) - 128 * query->pairs_sum;
}

static inline __attribute__((always_inline)) void sum_rows(bool is_coarse,
                                                           const struct kernel_query *query,
                                                           const uint8_t *const *rows, size_t count,
                                                           int32_t *dots) {
    size_t bytes = query->bytes - (is_coarse ? query->pairs * KERNELS_BLOCK : 0);
    size_t ahead = is_coarse ? COARSE_AHEAD : AHEAD;
    int32_t middle = is_coarse ? kernels_middle(query) : 0;
    for (size_t i = 0; i < count && i < ahead; i++)
        memory_prefetch(rows[i], bytes);
    for (size_t i = 0; i < count; i++) {
        if (i + ahead < count)
            memory_prefetch(rows[i + ahead], bytes);
        dots[i] = dot_row(is_coarse, query, rows[i]) + middle;
    }
}

void kernels_avx2_dot_rows(const struct kernel_query *query, const uint8_t *const *rows,
                           size_t count, int32_t *dots) {
    sum_rows(false, query, rows, count, dots);
}

void kernels_avx2_coarse_rows(const struct kernel_query *query, const uint8_t *const *rows,
                              size_t count, int32_t *dots) {
    sum_rows(true, query, rows, count, dots);
}

/* Multiplies 32 numbers of a row with those of `count` queries that begin at code `at`: what is
 * made of the row serves all. */
static inline __attribute__((always_inline)) void add_block(const struct kernel_scan *scan,
                                                            size_t count, size_t at, __m256i row,
                                                            __m256i sums[KERNELS_QUERIES]) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i a = _mm256_xor_si256(row, _mm256_set1_epi8(-128)), size = _mm256_abs_epi8(a);
    for (size_t q = 0; q < count; q++) {
        __m256i b = _mm256_load_si256((const __m256i *)(scan->queries[q]->codes + at));
        __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(b, a));
        sums[q] = _mm256_add_epi32(sums[q], _mm256_madd_epi16(pairs, one));
    }
}

/* The same for a block of upper or lower halves, each `times` over. */
static inline __attribute__((always_inline)) void add_halves(const struct kernel_scan *scan,
                                                             size_t count, size_t at,
                                                             const uint8_t *row, int16_t times,
                                                             __m256i sums[KERNELS_QUERIES]) {
    struct halves a = halves_of(load(row)), b = halves_of(load(row + 32));
    for (size_t q = 0; q < count; q++) {
        const int8_t *codes = scan->queries[q]->codes + at;
        __m256i products = _mm256_add_epi16(dot_halves(a, codes), dot_halves(b, codes + 32));
        sums[q] = _mm256_add_epi32(sums[q], _mm256_madd_epi16(products, _mm256_set1_epi16(times)));
    }
}

/* A row with `count` queries, a number that is known when this is compiled. Asks for `ahead` a line
 * at a time. */
static inline __attribute__((always_inline)) void
scan_row(const struct kernel_scan *scan, size_t row, const uint8_t *ahead, size_t count) {
    const uint8_t *bytes = scan->rows[row];
    size_t pairs = scan->queries[0]->pairs, below = pairs * KERNELS_BLOCK;
    size_t at = kernels_split_at(scan->queries[0]->bytes, pairs);
    __m256i sums[KERNELS_QUERIES];
    for (size_t q = 0; q < count; q++)
        sums[q] = _mm256_setzero_si256();
    for (size_t byte = 0; byte < at; byte += 32) {
        if (byte % LINE == 0)
            _mm_prefetch((const char *)ahead + byte, _MM_HINT_T0);
        add_block(scan, count, byte, load(bytes + byte), sums);
    }
    for (size_t byte = at; byte < at + below; byte += LINE) {
        _mm_prefetch((const char *)ahead + byte, _MM_HINT_T0);
        _mm_prefetch((const char *)ahead + byte + below, _MM_HINT_T0);
        add_halves(scan, count, 2 * byte - at, bytes + byte, 16, sums);
        add_halves(scan, count, 2 * byte - at, bytes + byte + below, 1, sums);
    }
    for (size_t q = 0; q < count; q++)
        scan->dots[q * scan->stride + row] = sum_lanes(sums[q]) - 128 * scan->queries[q]->pairs_sum;
}

void kernels_avx2_scan_rows(const struct kernel_scan *scan) {
    for (size_t i = 0; i < scan->count; i++) {
        const uint8_t *ahead = scan->rows[i + AHEAD < scan->count ? i + AHEAD : i];
        if (scan->queries_count == 1)
            scan_row(scan, i, ahead, 1);
        else
            scan_row(scan, i, ahead, KERNELS_QUERIES);
    }
}

/* 32 numbers of each of the two blocks of a pair. */
struct pair {
    __m256i first, second;
};

static inline struct pair join(__m256i upper, __m256i lower) {
    struct halves high = halves_of(upper), low = halves_of(lower);
    return (struct pair){.first = _mm256_or_si256(_mm256_slli_epi16(high.first, 4), low.first),
                         .second = _mm256_or_si256(_mm256_slli_epi16(high.second, 4), low.second)};
}

/* 32 numbers of a row; returns their sum, added to `sum`. */
static inline __m256i decode_block(__m256i row, int8_t *codes, __m256i sum) {
    __m256i x = _mm256_xor_si256(row, _mm256_set1_epi8(-128));
    _mm256_store_si256((__m256i *)codes, x);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

int32_t kernels_avx2_decode(const uint8_t *row, size_t pairs, int8_t *codes, size_t bytes) {
    size_t at = kernels_split_at(bytes, pairs), below = pairs * KERNELS_BLOCK;
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < at; i += 32)
        sum = decode_block(load(row + i), codes + i, sum);
    codes += at;
    for (size_t i = at; i < at + below; i += KERNELS_BLOCK, codes += 2 * KERNELS_BLOCK) {
        for (size_t half = 0; half < KERNELS_BLOCK; half += 32) {
            struct pair pair = join(load(row + i + half), load(row + i + below + half));
            sum = decode_block(pair.first, codes + half, sum);
            sum = decode_block(pair.second, codes + KERNELS_BLOCK + half, sum);
        }
    }
    return sum_lanes(sum);
}
