/* Rows of codes, for AVX-512 with VNNI: 64 numbers an instruction. */
#include "index/kernels.h"
#include "index/memory.h"

#include <immintrin.h>
#include <stdbool.h>

enum {
    GROUP = 4,         /* rows summed together: the query is loaded once for them */
    AHEAD = 8,         /* rows prefetched before they are summed */
    COARSE_AHEAD = 24, /* of their upper halves: less of each, and a core waits for as many lines */
};

/* Two blocks of a split row. */
struct pair {
    __m512i first, second;
};

static inline struct pair join(__m512i upper, __m512i lower) {
    const __m512i mask = _mm512_set1_epi8((char)0xf0);
    /* 0xCA: mask ? a : b */
    return (struct pair){
        .first = _mm512_ternarylogic_epi32(mask, upper, _mm512_srli_epi16(lower, 4), 0xCA),
        .second = _mm512_ternarylogic_epi32(mask, _mm512_slli_epi16(upper, 4), lower, 0xCA)};
}

/* The sums of four registers of sixteen numbers each. */
static inline __m128i sum_lanes(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* How sums of rows are taken; known when this is compiled. */
struct dot_way {
    size_t rows;    /* 1 .. GROUP, together */
    bool is_coarse; /* lower halves are not read */
};

static inline __attribute__((always_inline)) void dot_group(struct dot_way way,
                                                            const struct kernel_query *query,
                                                            const uint8_t *const *rows,
                                                            __m512i sums[GROUP]) {
    const size_t at = kernels_split_at(query->bytes, query->pairs);
    const size_t below = query->pairs * KERNELS_BLOCK;
    for (size_t i = 0; i < at; i += KERNELS_BLOCK) {
        __m512i codes = _mm512_load_si512(query->codes + i);
        for (size_t r = 0; r < way.rows; r++)
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_load_si512(rows[r] + i), codes);
    }
    const int8_t *codes = query->codes + at;
    for (size_t i = at; i < at + below; i += KERNELS_BLOCK, codes += 2 * KERNELS_BLOCK) {
        __m512i first = _mm512_load_si512(codes), second = _mm512_load_si512(codes + KERNELS_BLOCK);
        for (size_t r = 0; r < way.rows; r++) {
            __m512i lower =
                way.is_coarse ? _mm512_setzero_si512() : _mm512_load_si512(rows[r] + i + below);
            struct pair pair = join(_mm512_load_si512(rows[r] + i), lower);
            sums[r] = _mm512_dpbusd_epi32(sums[r], pair.first, first);
            sums[r] = _mm512_dpbusd_epi32(sums[r], pair.second, second);
        }
    }
}

static inline __attribute__((always_inline)) void sum_rows(bool is_coarse,
                                                           const struct kernel_query *query,
                                                           const uint8_t *const *rows, size_t count,
                                                           int32_t *dots) {
    size_t bytes = query->bytes - (is_coarse ? query->pairs * KERNELS_BLOCK : 0);
    size_t ahead = is_coarse ? COARSE_AHEAD : AHEAD;
    int32_t offset = query->offset - (is_coarse ? kernels_middle(query) : 0);
    for (size_t i = 0; i < count && i < ahead; i++)
        memory_prefetch(rows[i], bytes);
    size_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        __m512i sums[GROUP] = {_mm512_setzero_si512(), _mm512_setzero_si512(),
                               _mm512_setzero_si512(), _mm512_setzero_si512()};
        for (size_t next = i + ahead; next < i + ahead + GROUP && next < count; next++)
            memory_prefetch(rows[next], bytes);
        dot_group((struct dot_way){GROUP, is_coarse}, query, rows + i, sums);
        __m128i total = sum_lanes(sums[0], sums[1], sums[2], sums[3]);
        _mm_storeu_si128((__m128i *)(dots + i), _mm_sub_epi32(total, _mm_set1_epi32(offset)));
    }
    for (; i < count; i++) {
        __m512i sums[GROUP] = {_mm512_setzero_si512()};
        dot_group((struct dot_way){1, is_coarse}, query, rows + i, sums);
        dots[i] = _mm512_reduce_add_epi32(sums[0]) - offset;
    }
}

void kernels_avx512_dot_rows(const struct kernel_query *query, const uint8_t *const *rows,
                             size_t count, int32_t *dots) {
    sum_rows(false, query, rows, count, dots);
}

void kernels_avx512_coarse_rows(const struct kernel_query *query, const uint8_t *const *rows,
                                size_t count, int32_t *dots) {
    sum_rows(true, query, rows, count, dots);
}

/* Into the first level: each row is read soon, and once from memory. */
static inline void prefetch_group(const uint8_t *const *rows, size_t byte) {
    for (size_t i = 0; i < GROUP; i++)
        _mm_prefetch((const char *)rows[i] + byte, _MM_HINT_T0);
}

/* Multiplies a block of each of GROUP rows with those of `count` queries that begin at code `at`.
 */
static inline __attribute__((always_inline)) void add_blocks(const struct kernel_scan *scan,
                                                             size_t count, size_t at,
                                                             const __m512i blocks[GROUP],
                                                             __m512i sums[KERNELS_QUERIES][GROUP]) {
    for (size_t q = 0; q < count; q++) {
        __m512i codes = _mm512_load_si512(scan->queries[q]->codes + at);
        for (size_t i = 0; i < GROUP; i++)
            sums[q][i] = _mm512_dpbusd_epi32(sums[q][i], blocks[i], codes);
    }
}

/* GROUP rows with `count` queries, a number that is known when this is compiled. Asks for `ahead` a
 * line at a time, between the lines that are summed. */
static inline __attribute__((always_inline)) void scan_group(const struct kernel_scan *scan,
                                                             size_t first,
                                                             const uint8_t *const *ahead,
                                                             size_t count) {
    const uint8_t *const *rows = scan->rows + first;
    size_t pairs = scan->queries[0]->pairs, below = pairs * KERNELS_BLOCK;
    size_t at = kernels_split_at(scan->queries[0]->bytes, pairs);
    __m512i sums[KERNELS_QUERIES][GROUP], blocks[GROUP], seconds[GROUP];
    for (size_t q = 0; q < count; q++)
        for (size_t i = 0; i < GROUP; i++)
            sums[q][i] = _mm512_setzero_si512();
    for (size_t byte = 0; byte < at; byte += KERNELS_BLOCK) {
        prefetch_group(ahead, byte);
        for (size_t i = 0; i < GROUP; i++)
            blocks[i] = _mm512_load_si512(rows[i] + byte);
        add_blocks(scan, count, byte, blocks, sums);
    }
    for (size_t byte = at; byte < at + below; byte += KERNELS_BLOCK) {
        prefetch_group(ahead, byte);
        prefetch_group(ahead, byte + below);
        for (size_t i = 0; i < GROUP; i++) {
            struct pair pair =
                join(_mm512_load_si512(rows[i] + byte), _mm512_load_si512(rows[i] + byte + below));
            blocks[i] = pair.first;
            seconds[i] = pair.second;
        }
        add_blocks(scan, count, 2 * byte - at, blocks, sums);
        add_blocks(scan, count, 2 * byte - at + KERNELS_BLOCK, seconds, sums);
    }
    for (size_t q = 0; q < count; q++) {
        __m128i dots = sum_lanes(sums[q][0], sums[q][1], sums[q][2], sums[q][3]);
        _mm_storeu_si128((__m128i *)(scan->dots + q * scan->stride + first),
                         _mm_sub_epi32(dots, _mm_set1_epi32(scan->queries[q]->offset)));
    }
}

void kernels_avx512_scan_rows(const struct kernel_scan *scan) {
    size_t i = 0;
    for (; i + GROUP <= scan->count; i += GROUP) {
        const uint8_t *const *ahead =
            scan->rows + (i + AHEAD + GROUP <= scan->count ? i + AHEAD : i);
        if (scan->queries_count == 1)
            scan_group(scan, i, ahead, 1);
        else
            scan_group(scan, i, ahead, KERNELS_QUERIES);
    }
    for (size_t q = 0; q < scan->queries_count && i < scan->count; q++)
        kernels_avx512_dot_rows(scan->queries[q], scan->rows + i, scan->count - i,
                                scan->dots + q * scan->stride + i);
}

/* 64 numbers of a row; returns their sum, added to `sum`. */
static inline __m512i decode_block(__m512i block, int8_t *codes, __m512i sum) {
    __m512i x = _mm512_xor_si512(block, _mm512_set1_epi8(-128));
    _mm512_store_si512(codes, x);
    return _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), x);
}

int32_t kernels_avx512_decode(const uint8_t *row, size_t pairs, int8_t *codes, size_t bytes) {
    size_t at = kernels_split_at(bytes, pairs), below = pairs * KERNELS_BLOCK;
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < at; i += KERNELS_BLOCK)
        sum = decode_block(_mm512_load_si512(row + i), codes + i, sum);
    codes += at;
    for (size_t i = at; i < at + below; i += KERNELS_BLOCK, codes += 2 * KERNELS_BLOCK) {
        struct pair pair = join(_mm512_load_si512(row + i), _mm512_load_si512(row + i + below));
        sum = decode_block(pair.first, codes, sum);
        sum = decode_block(pair.second, codes + KERNELS_BLOCK, sum);
    }
    return _mm512_reduce_add_epi32(sum);
}
