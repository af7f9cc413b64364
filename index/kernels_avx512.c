/* Kernels for AVX-512 with VNNI; those for rows of codes lie in kernels_avx512_codes.c. */
#include "index/kernels_weigh.h"
#include "index/memory.h"

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum {
    AHEAD = 8,          /* rows prefetched before they are summed */
    LINE = 64,          /* bytes of a cache line */
    LANES = 16,         /* floats of a register */
    HITS = LANES / 2,   /* of a slot and a distance each */
    DISTANCES = 0xaaaa, /* where these lie */
    SUM_MAX = KERNELS_EDGE_ZERO - 1,
};

static uint64_t not_above(const float *values, float limit) {
    uint64_t bits = 0;
    for (size_t i = 0; i < 64; i += LANES) {
        __mmask16 mask =
            _mm512_cmp_ps_mask(_mm512_loadu_ps(values + i), _mm512_set1_ps(limit), _CMP_NGT_UQ);
        bits |= (uint64_t)mask << i;
    }
    return bits;
}

static size_t rank(const struct hit *hits, size_t count, float distance) {
    const __m512 end = _mm512_set1_ps(distance);
    size_t before = 0, i = 0;
    for (; i + HITS <= count; i += HITS) {
        __m512 pairs = _mm512_loadu_ps((const float *)(hits + i));
        before +=
            (unsigned)_mm_popcnt_u32(_mm512_mask_cmp_ps_mask(DISTANCES, pairs, end, _CMP_LE_OQ));
    }
    __mmask16 valid = (__mmask16)((UINT32_C(1) << 2 * (count - i)) - 1);
    __m512 pairs = _mm512_maskz_loadu_ps(valid, (const float *)(hits + i));
    return before + (unsigned)_mm_popcnt_u32(
                        _mm512_mask_cmp_ps_mask(valid & DISTANCES, pairs, end, _CMP_LE_OQ));
}

static void l1_rows(const struct kernel_query *query, const uint8_t *const *rows,
                    const float *scales, size_t count, float *sums) {
    for (size_t i = 0; i < count && i < AHEAD; i++)
        memory_prefetch(rows[i], query->bytes);
    const __m512i middle = _mm512_set1_epi32(128);
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            memory_prefetch(rows[i + AHEAD], query->bytes);
        __m512 scale = _mm512_set1_ps(scales[i]);
        __m512 a = _mm512_setzero_ps(), b = a;
        for (size_t j = 0; j < query->bytes; j += 2 * LANES) {
            __m128i low = _mm_load_si128((const __m128i *)(rows[i] + j));
            __m128i high = _mm_load_si128((const __m128i *)(rows[i] + j + LANES));
            __m512 x = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(low), middle));
            __m512 y = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(high), middle));
            x = _mm512_fmsub_ps(x, scale, _mm512_load_ps(query->values + j));
            y = _mm512_fmsub_ps(y, scale, _mm512_load_ps(query->values + j + LANES));
            a = _mm512_add_ps(a, _mm512_abs_ps(x));
            b = _mm512_add_ps(b, _mm512_abs_ps(y));
        }
        sums[i] = _mm512_reduce_add_ps(_mm512_add_ps(a, b));
    }
}

/* Eight floats as doubles; fewer at the end of a vector, zeros beyond. */
static inline __m512d load_doubles(const float *values, size_t count) {
    __mmask8 mask = (__mmask8)(count >= 8 ? 0xffu : (1u << count) - 1);
    return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, values));
}

static double dot(const float *a, const float *b, size_t count, const float *next) {
    __m512d s = _mm512_setzero_pd(), t = s;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
        s = _mm512_fmadd_pd(load_doubles(a + i, 8), load_doubles(b + i, 8), s);
        t = _mm512_fmadd_pd(load_doubles(a + i + 8, 8), load_doubles(b + i + 8, 8), t);
    }
    for (; i < count; i += 8)
        s = _mm512_fmadd_pd(load_doubles(a + i, count - i), load_doubles(b + i, count - i), s);
    return _mm512_reduce_add_pd(_mm512_add_pd(s, t));
}

static double squared_l2(const float *a, const float *b, size_t count, const float *next) {
    __m512d s = _mm512_setzero_pd(), t = s;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
        __m512d x = _mm512_sub_pd(load_doubles(a + i, 8), load_doubles(b + i, 8));
        __m512d y = _mm512_sub_pd(load_doubles(a + i + 8, 8), load_doubles(b + i + 8, 8));
        s = _mm512_fmadd_pd(x, x, s);
        t = _mm512_fmadd_pd(y, y, t);
    }
    for (; i < count; i += 8) {
        __m512d x = _mm512_sub_pd(load_doubles(a + i, count - i), load_doubles(b + i, count - i));
        s = _mm512_fmadd_pd(x, x, s);
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(s, t));
}

static double l1(const float *a, const float *b, size_t count, const float *next) {
    __m512d s = _mm512_setzero_pd();
    for (size_t i = 0; i < count; i += 8) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
        __m512d x = _mm512_sub_pd(load_doubles(a + i, count - i), load_doubles(b + i, count - i));
        s = _mm512_add_pd(s, _mm512_abs_pd(x));
    }
    return _mm512_reduce_add_pd(s);
}

/* The last four steps of the transform, within one register. */
static inline __m512 hadamard_lanes(__m512 x) {
    __m512 y = _mm512_shuffle_f32x4(x, x, 0x4E);
    x = _mm512_mask_sub_ps(_mm512_add_ps(x, y), 0xFF00, y, x);
    y = _mm512_shuffle_f32x4(x, x, 0xB1);
    x = _mm512_mask_sub_ps(_mm512_add_ps(x, y), 0xF0F0, y, x);
    y = _mm512_permute_ps(x, 0x4E);
    x = _mm512_mask_sub_ps(_mm512_add_ps(x, y), 0xCCCC, y, x);
    y = _mm512_permute_ps(x, 0xB1);
    return _mm512_mask_sub_ps(_mm512_add_ps(x, y), 0xAAAA, y, x);
}

static void hadamard(float *values, size_t count) {
    for (size_t half = count / 2; half >= LANES; half /= 2) {
        for (size_t start = 0; start < count; start += 2 * half) {
            for (size_t i = start; i < start + half; i += LANES) {
                __m512 a = _mm512_loadu_ps(values + i), b = _mm512_loadu_ps(values + i + half);
                _mm512_storeu_ps(values + i, _mm512_add_ps(a, b));
                _mm512_storeu_ps(values + i + half, _mm512_sub_ps(a, b));
            }
        }
    }
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf((float)count));
    for (size_t i = 0; i < count; i += LANES) {
        __m512 x = hadamard_lanes(_mm512_loadu_ps(values + i));
        _mm512_storeu_ps(values + i, _mm512_mul_ps(x, scale));
    }
}

static void flip(float *values, const uint64_t *bits, size_t count) {
    const __m512i sign = _mm512_set1_epi32(INT32_MIN);
    for (size_t i = 0; i < count; i += LANES) {
        __mmask16 mask = (__mmask16)(bits[i / 64] >> (i % 64));
        __m512i x = _mm512_loadu_si512(values + i);
        _mm512_storeu_si512(values + i, _mm512_mask_xor_epi32(x, mask, x, sign));
    }
}

static float max_abs(const float *values, size_t count) {
    __m512 max = _mm512_setzero_ps();
    for (size_t i = 0; i < count; i += LANES)
        max = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(values + i)), max);
    return _mm512_reduce_max_ps(max);
}

static void quantise(const float *values, float factor, int8_t *codes, size_t count) {
    __m512 scale = _mm512_set1_ps(factor);
    for (size_t i = 0; i < count; i += LANES) {
        __m512i x = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(values + i), scale));
        _mm_storeu_si128((__m128i *)(codes + i), _mm512_cvtsepi32_epi8(x));
    }
}

/* ---- Edges ------------------------------------------------------------------------------------
 *
 * A register holds the signs of 16 coordinates of a plane of 32 edges: lane i those of edge i in
 * the lower halves of its four bytes, of edge i + 16 in the upper halves, a byte for each four
 * coordinates. So one permutation of bytes looks up a table of 64 sums, and one product adds up the
 * four of a lane.
 */

static float edge_sums(const float *values, size_t width, uint8_t *sums) {
    const __m512i sign = _mm512_set1_epi32(INT32_MIN);
    static const __mmask16 negative[4] = {0x5555, 0x3333, 0x0f0f, 0x00ff};
    __m512 max = _mm512_setzero_ps();
    for (size_t i = 0; i < width; i += LANES) {
        __m512 x = _mm512_abs_ps(_mm512_loadu_ps(values + i));
        /* ((a + b) + c) + d, as the scalar kernel adds, in the first lane of each four. */
        __m512 sum = _mm512_add_ps(x, _mm512_permute_ps(x, 0x55));
        sum = _mm512_add_ps(sum, _mm512_permute_ps(x, 0xaa));
        sum = _mm512_add_ps(sum, _mm512_permute_ps(x, 0xff));
        max = _mm512_mask_max_ps(max, 0x1111, sum, max);
    }
    float largest = _mm512_reduce_max_ps(max);
    if (!(largest >= SUM_MAX * FLT_MIN && largest <= FLT_MAX)) {
        memset(sums, KERNELS_EDGE_ZERO, 4 * width);
        return 0;
    }
    const __m512 factor = _mm512_set1_ps(SUM_MAX / largest);
    const __m128i zero = _mm_set1_epi8(KERNELS_EDGE_ZERO);
    for (size_t i = 0; i < width; i += 4) {
        __m512 terms[4];
        for (size_t j = 0; j < 4; j++) {
            __m512i x = _mm512_castps_si512(_mm512_set1_ps(values[i + j]));
            terms[j] = _mm512_castsi512_ps(_mm512_mask_xor_epi32(x, negative[j], x, sign));
        }
        __m512 sum = _mm512_add_ps(_mm512_add_ps(terms[0], terms[1]), terms[2]);
        __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_add_ps(sum, terms[3]), factor));
        __m128i bytes = _mm_add_epi8(_mm512_cvtsepi32_epi8(rounded), zero);
        _mm_storeu_si128((__m128i *)(sums + 4 * i), bytes);
    }
    return largest / SUM_MAX;
}

/* 16 numbers of a row of codes. */
static inline __m512 load_row(const uint8_t *row, __m512 scale) {
    __m512i codes = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)row));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(128))),
                         scale);
}

static struct kernel_edge edge_measure(const struct kernel_edge_ends *ends, float *r) {
    const __m512 to_scale = _mm512_set1_ps(ends->to_scale);
    __m512 square = _mm512_setzero_ps(), from_edge = square;
    for (size_t i = 0; i < ends->width; i += LANES) {
        __m512 from = _mm512_load_ps(ends->from + i);
        __m512 x = _mm512_sub_ps(load_row(ends->to + i, to_scale), from);
        _mm512_store_ps(r + i, x);
        square = _mm512_fmadd_ps(x, x, square);
        from_edge = _mm512_fmadd_ps(from, x, from_edge);
    }
    return (struct kernel_edge){.square = _mm512_reduce_add_ps(square),
                                .from_edge = _mm512_reduce_add_ps(from_edge)};
}

static void edge_levels(const float *from, const float *r, size_t width,
                        struct kernel_edge_levels *levels, uint64_t *planes) {
    const __m512 per_unit = _mm512_set1_ps(levels->per_unit), zero = _mm512_setzero_ps();
    const __m512 half = _mm512_set1_ps((float)(1u << levels->bits) / 2);
    const __m512 top = _mm512_set1_ps((float)(1u << levels->bits) - 1);
    __m512 spread = zero, from_levels = zero;
    size_t words = width / 64;
    memset(planes, 0, levels->bits * words * sizeof(*planes));
    for (size_t i = 0; i < width; i += LANES) {
        __m512 x = _mm512_load_ps(r + i);
        __m512 level = _mm512_roundscale_ps(_mm512_mul_ps(x, per_unit), _MM_FROUND_TO_NEG_INF);
        level = _mm512_min_ps(_mm512_max_ps(_mm512_add_ps(level, half), zero), top);
        __m512 u = _mm512_sub_ps(_mm512_add_ps(level, level), top);
        spread = _mm512_fmadd_ps(u, x, spread);
        from_levels = _mm512_fmadd_ps(u, _mm512_load_ps(from + i), from_levels);
        __m512i number = _mm512_cvttps_epi32(level);
        for (size_t bit = 0; bit < levels->bits; bit++) {
            uint64_t plane = _mm512_test_epi32_mask(number, _mm512_set1_epi32(1 << bit));
            planes[bit * words + i / 64] |= plane << (i % 64);
        }
    }
    levels->spread = _mm512_reduce_add_ps(spread);
    levels->from_levels = _mm512_reduce_add_ps(from_levels);
}

KERNELS_RACING static void edge_write(uint8_t *block, size_t place, const uint64_t *plane,
                                      size_t width) {
    unsigned shift = place < LANES ? 0 : 4;
    uint32_t *lanes = (uint32_t *)(void *)block + place % LANES;
    for (size_t i = 0; i < width; i += LANES, lanes += LANES) {
        uint32_t nibbles = _pdep_u32((uint16_t)(plane[i / 64] >> (i % 64)), 0x0f0f0f0f);
        *lanes = (*lanes & ~(UINT32_C(0x0f0f0f0f) << shift)) | nibbles << shift;
    }
}

/* 16 numbers of which the upper halves lie at `halves`. */
static inline __m512 load_halves(const uint8_t *halves) {
    __m256i bits = _mm256_load_si256((const __m256i *)(const void *)halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

/* 16 slopes of which the bytes lie there. */
static inline __m512 load_slopes(const uint8_t *slopes, float unit) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)slopes);
    __m512i bits = _mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes), KERNELS_SLOPE_SHIFT);
    bits = _mm512_add_epi32(bits, _mm512_set1_epi32(KERNELS_SLOPE_ONE));
    const __m512 units = _mm512_set1_ps(unit);
    return _mm512_fmsub_ps(_mm512_castsi512_ps(bits), units, units);
}

KERNELS_RACING static uint32_t edge_estimates(const struct kernel_edge_query *query,
                                              const struct kernel_edge_look *look,
                                              float *estimates) {
    const uint8_t *block = look->block, *next = look->next;
    const __m512i half = _mm512_set1_epi8(0x0f);
    const __m512i tables = _mm512_set1_epi32(0x30201000); /* 16 sums a byte of a lane */
    /* What the zeros of all sums add up to, of the groups of a lane: subtracted beforehand. */
    size_t zeros = KERNELS_EDGE_ZERO * (query->width / 4) * ((1U << query->bits) - 1);
    __m512i low = _mm512_set1_epi32(-(int)zeros), high = low;
    for (size_t bit = 0; bit < query->bits; bit++) {
        const __m512i weight = _mm512_set1_epi8((char)(1 << bit));
        for (size_t i = 0; i < 4 * query->width; i += KERNELS_BLOCK) {
            _mm_prefetch((const char *)next + i, _MM_HINT_T0); /* a block fits the first level */
            __m512i signs = _mm512_load_si512(block + i), sums = _mm512_load_si512(query->sums + i);
            /* 0xEA: (a & b) | c */
            __m512i a = _mm512_ternarylogic_epi32(signs, half, tables, 0xEA);
            __m512i b = _mm512_ternarylogic_epi32(_mm512_srli_epi16(signs, 4), half, tables, 0xEA);
            low = _mm512_dpbusd_epi32(low, weight, _mm512_permutexvar_epi8(a, sums));
            high = _mm512_dpbusd_epi32(high, weight, _mm512_permutexvar_epi8(b, sums));
        }
        block += 4 * query->width;
        next += 4 * query->width;
    }
    _mm_prefetch((const char *)next, _MM_HINT_T0); /* its offsets */
    const __m512 base = _mm512_set1_ps(look->distance);
    const float unit = look->slope_unit * query->step;
    __m512 x = _mm512_fnmadd_ps(load_slopes(look->slopes, unit), _mm512_cvtepi32_ps(low),
                                _mm512_add_ps(base, load_halves(block)));
    __m512 y = _mm512_fnmadd_ps(load_slopes(look->slopes + LANES, unit), _mm512_cvtepi32_ps(high),
                                _mm512_add_ps(base, load_halves(block + 2 * LANES)));
    _mm512_storeu_ps(estimates, x);
    _mm512_storeu_ps(estimates + LANES, y);
    const __m512 end = _mm512_set1_ps(look->limit);
    return (uint32_t)_mm512_cmp_ps_mask(x, end, _CMP_LT_OQ) |
           (uint32_t)_mm512_cmp_ps_mask(y, end, _CMP_LT_OQ) << LANES;
}

const struct kernels kernels_avx512 = {
    .name = "avx512",
    .dot_rows = kernels_avx512_dot_rows,
    .coarse_rows = kernels_avx512_coarse_rows,
    .scan_rows = kernels_avx512_scan_rows,
    .weigh_rows = kernels_weigh_rows,
    .floor_rows = kernels_floor_rows,
    .not_above = not_above,
    .rank = rank,
    .l1_rows = l1_rows,
    .dot = dot,
    .squared_l2 = squared_l2,
    .l1 = l1,
    .hadamard = hadamard,
    .flip = flip,
    .max_abs = max_abs,
    .decode = kernels_avx512_decode,
    .quantise = quantise,
    .edge_sums = edge_sums,
    .edge_measure = edge_measure,
    .edge_levels = edge_levels,
    .edge_write = edge_write,
    .edge_estimates = edge_estimates,
    .decimals = kernels_avx2_decimals,
};
