/* Kernels for AVX2 with FMA; those for rows of codes lie in kernels_avx2_codes.c. */
#include "index/kernels_weigh.h"
#include "index/memory.h"

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum {
    AHEAD = 8,        /* rows prefetched before they are summed */
    LINE = 64,        /* bytes of a cache line */
    LANES = 8,        /* floats of a register */
    HITS = LANES / 2, /* of a slot and a distance each */
    DISTANCES = 0xaa, /* where these lie */
};

static inline float sum_floats(__m256 x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

static inline __m256 abs_floats(__m256 x) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

static uint64_t not_above(const float *values, float limit) {
    uint64_t bits = 0;
    for (size_t i = 0; i < 64; i += LANES) {
        __m256 mask =
            _mm256_cmp_ps(_mm256_loadu_ps(values + i), _mm256_set1_ps(limit), _CMP_NGT_UQ);
        bits |= (uint64_t)(unsigned)_mm256_movemask_ps(mask) << i;
    }
    return bits;
}

static size_t rank(const struct hit *hits, size_t count, float distance) {
    const __m256 end = _mm256_set1_ps(distance);
    size_t before = 0, i = 0;
    for (; i + HITS <= count; i += HITS) {
        __m256 mask = _mm256_cmp_ps(_mm256_loadu_ps((const float *)(hits + i)), end, _CMP_LE_OQ);
        before += (unsigned)_mm_popcnt_u32((unsigned)_mm256_movemask_ps(mask) & DISTANCES);
    }
    for (; i < count; i++)
        before += hits[i].distance <= distance;
    return before;
}

static void l1_rows(const struct kernel_query *query, const uint8_t *const *rows,
                    const float *scales, size_t count, float *sums) {
    for (size_t i = 0; i < count && i < AHEAD; i++)
        memory_prefetch(rows[i], query->bytes);
    const __m256i middle = _mm256_set1_epi32(128);
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            memory_prefetch(rows[i + AHEAD], query->bytes);
        __m256 scale = _mm256_set1_ps(scales[i]), sum = _mm256_setzero_ps();
        for (size_t j = 0; j < query->bytes; j += LANES) {
            __m128i bytes = _mm_loadl_epi64((const __m128i *)(rows[i] + j));
            __m256i row = _mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), middle);
            __m256 x =
                _mm256_fmsub_ps(_mm256_cvtepi32_ps(row), scale, _mm256_load_ps(query->values + j));
            sum = _mm256_add_ps(sum, abs_floats(x));
        }
        sums[i] = sum_floats(sum);
    }
}

static inline double sum_doubles(__m256d x) {
    __m128d half = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}

static inline __m256d load_doubles(const float *values) {
    return _mm256_cvtps_pd(_mm_loadu_ps(values));
}

static double dot(const float *a, const float *b, size_t count, const float *next) {
    __m256d s = _mm256_setzero_pd(), t = s;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
        s = _mm256_fmadd_pd(load_doubles(a + i), load_doubles(b + i), s);
        t = _mm256_fmadd_pd(load_doubles(a + i + 4), load_doubles(b + i + 4), t);
    }
    double sum = sum_doubles(_mm256_add_pd(s, t));
    for (; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double squared_l2(const float *a, const float *b, size_t count, const float *next) {
    __m256d s = _mm256_setzero_pd(), t = s;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
        __m256d x = _mm256_sub_pd(load_doubles(a + i), load_doubles(b + i));
        __m256d y = _mm256_sub_pd(load_doubles(a + i + 4), load_doubles(b + i + 4));
        s = _mm256_fmadd_pd(x, x, s);
        t = _mm256_fmadd_pd(y, y, t);
    }
    double sum = sum_doubles(_mm256_add_pd(s, t));
    for (; i < count; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static double l1(const float *a, const float *b, size_t count, const float *next) {
    __m256d s = _mm256_setzero_pd();
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
        __m256d x = _mm256_sub_pd(load_doubles(a + i), load_doubles(b + i));
        s = _mm256_add_pd(s, _mm256_andnot_pd(_mm256_set1_pd(-0.0), x));
    }
    double sum = sum_doubles(s);
    for (; i < count; i++)
        sum += fabs((double)a[i] - (double)b[i]);
    return sum;
}

/* The last three steps of the transform, within one register. */
static inline __m256 hadamard_lanes(__m256 x) {
    __m256 y = _mm256_permute2f128_ps(x, x, 1);
    x = _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xF0);
    y = _mm256_permute_ps(x, 0x4E);
    x = _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xCC);
    y = _mm256_permute_ps(x, 0xB1);
    return _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xAA);
}

static void hadamard(float *values, size_t count) {
    for (size_t half = count / 2; half >= LANES; half /= 2) {
        for (size_t start = 0; start < count; start += 2 * half) {
            for (size_t i = start; i < start + half; i += LANES) {
                __m256 a = _mm256_loadu_ps(values + i), b = _mm256_loadu_ps(values + i + half);
                _mm256_storeu_ps(values + i, _mm256_add_ps(a, b));
                _mm256_storeu_ps(values + i + half, _mm256_sub_ps(a, b));
            }
        }
    }
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf((float)count));
    for (size_t i = 0; i < count; i += LANES) {
        __m256 x = hadamard_lanes(_mm256_loadu_ps(values + i));
        _mm256_storeu_ps(values + i, _mm256_mul_ps(x, scale));
    }
}

static void flip(float *values, const uint64_t *bits, size_t count) {
    const __m256i lane = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    for (size_t i = 0; i < count; i += LANES) {
        /* Each lane shifts its own bit to the place of the sign. */
        __m256i mask = _mm256_set1_epi32((int)(bits[i / 64] >> (i % 64) & 0xff));
        mask = _mm256_and_si256(_mm256_sllv_epi32(mask, lane), _mm256_set1_epi32(INT32_MIN));
        __m256 x = _mm256_xor_ps(_mm256_loadu_ps(values + i), _mm256_castsi256_ps(mask));
        _mm256_storeu_ps(values + i, x);
    }
}

static float max_abs(const float *values, size_t count) {
    __m256 max = _mm256_setzero_ps();
    for (size_t i = 0; i < count; i += LANES)
        max = _mm256_max_ps(abs_floats(_mm256_loadu_ps(values + i)), max);
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps(max, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

static void quantise(const float *values, float factor, int8_t *codes, size_t count) {
    __m256 scale = _mm256_set1_ps(factor);
    for (size_t i = 0; i < count; i += LANES) {
        __m256i x = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + i), scale));
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
        _mm_storel_epi64((__m128i *)(codes + i), _mm_packs_epi16(words, words));
    }
}

/* ---- Edges: blocks lie as in the scalar set ---------------------------------------------------
 */

enum {
    EDGE_LANES = KERNELS_EDGES / 2, /* bytes that hold four coordinates of all edges */
    /* Bytes of a plane after which a sum surely fits 16 bits: so many look-ups of 127 at most. */
    WIDEN_AFTER = 512 * EDGE_LANES,
    SUM_MAX = KERNELS_EDGE_ZERO - 1,
};

/* Eight sums of the four values, with the signs that the bits of first, first + 1, ... tell. */
static inline __m256 sum_signed(const float *values, unsigned first) {
    const __m256i numbers =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)first));
    __m256 terms[4];
    for (unsigned j = 0; j < 4; j++) {
        /* The sign bit of a term is that of ~number, moved up. */
        __m256i flips = _mm256_andnot_si256(_mm256_slli_epi32(numbers, (int)(31 - j)),
                                            _mm256_set1_epi32(INT32_MIN));
        terms[j] = _mm256_xor_ps(_mm256_set1_ps(values[j]), _mm256_castsi256_ps(flips));
    }
    return _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(terms[0], terms[1]), terms[2]), terms[3]);
}

static float edge_sums(const float *values, size_t width, uint8_t *sums) {
    float max = 0;
    for (size_t i = 0; i < width; i += 4) {
        float sum =
            fabsf(values[i]) + fabsf(values[i + 1]) + fabsf(values[i + 2]) + fabsf(values[i + 3]);
        max = sum > max ? sum : max;
    }
    if (!(max >= SUM_MAX * FLT_MIN && max <= FLT_MAX)) {
        memset(sums, KERNELS_EDGE_ZERO, 4 * width);
        return 0;
    }
    const __m256 factor = _mm256_set1_ps(SUM_MAX / max);
    const __m128i zero = _mm_set1_epi8(KERNELS_EDGE_ZERO);
    for (size_t i = 0; i < width; i += 4) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(sum_signed(values + i, 0), factor));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(sum_signed(values + i, 8), factor));
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        __m128i bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(sums + 4 * i), _mm_add_epi8(bytes, zero));
    }
    return max / SUM_MAX;
}

/* Eight numbers of a row of codes. */
static inline __m256 load_row(const uint8_t *row, __m256 scale) {
    __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)row));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(128))),
                         scale);
}

static struct kernel_edge edge_measure(const struct kernel_edge_ends *ends, float *r) {
    const __m256 to_scale = _mm256_set1_ps(ends->to_scale);
    __m256 square = _mm256_setzero_ps(), from_edge = square;
    for (size_t i = 0; i < ends->width; i += LANES) {
        __m256 from = _mm256_load_ps(ends->from + i);
        __m256 x = _mm256_sub_ps(load_row(ends->to + i, to_scale), from);
        _mm256_store_ps(r + i, x);
        square = _mm256_fmadd_ps(x, x, square);
        from_edge = _mm256_fmadd_ps(from, x, from_edge);
    }
    return (struct kernel_edge){.square = sum_floats(square), .from_edge = sum_floats(from_edge)};
}

static void edge_levels(const float *from, const float *r, size_t width,
                        struct kernel_edge_levels *levels, uint64_t *planes) {
    const __m256 per_unit = _mm256_set1_ps(levels->per_unit), zero = _mm256_setzero_ps();
    const __m256 half = _mm256_set1_ps((float)(1u << levels->bits) / 2);
    const __m256 top = _mm256_set1_ps((float)(1u << levels->bits) - 1);
    __m256 spread = zero, from_levels = zero;
    size_t words = width / 64;
    memset(planes, 0, levels->bits * words * sizeof(*planes));
    for (size_t i = 0; i < width; i += LANES) {
        __m256 x = _mm256_load_ps(r + i);
        __m256 level = _mm256_floor_ps(_mm256_mul_ps(x, per_unit));
        level = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(level, half), zero), top);
        __m256 u = _mm256_sub_ps(_mm256_add_ps(level, level), top);
        spread = _mm256_fmadd_ps(u, x, spread);
        from_levels = _mm256_fmadd_ps(u, _mm256_load_ps(from + i), from_levels);
        __m256i number = _mm256_cvttps_epi32(level);
        for (size_t bit = 0; bit < levels->bits; bit++) {
            /* The bit moves to the place of the sign. */
            __m256i moved = _mm256_slli_epi32(number, (int)(31 - bit));
            uint64_t plane = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(moved));
            planes[bit * words + i / 64] |= plane << (i % 64);
        }
    }
    levels->spread = sum_floats(spread);
    levels->from_levels = sum_floats(from_levels);
}

/* Sums of 32 edges: eight edges a register, in their order. */
struct edge_totals {
    __m256i lanes[4];
};

/* Bytes of 16 edges, added up in 16 bits: the odd ones, and all as they lie, where an odd one
 * counts 256 times. */
struct byte_sums {
    __m256i all, odd;
};

static inline void add_bytes(struct byte_sums *sums, __m256i bytes) {
    sums->all = _mm256_add_epi16(sums->all, bytes);
    sums->odd = _mm256_add_epi16(sums->odd, _mm256_srli_epi16(bytes, 8));
}

/* Adds the sums of both halves of a plane's bytes. */
static inline void widen(const struct byte_sums *sums, size_t bit, __m256i totals[2]) {
    __m128i shift = _mm_cvtsi32_si128((int)bit);
    __m256i even = _mm256_sub_epi16(sums->all, _mm256_slli_epi16(sums->odd, 8));
    __m256i parts[2] = {_mm256_unpacklo_epi16(even, sums->odd),
                        _mm256_unpackhi_epi16(even, sums->odd)};
    for (size_t i = 0; i < 2; i++) {
        __m128i words =
            _mm_add_epi16(_mm256_castsi256_si128(parts[i]), _mm256_extracti128_si256(parts[i], 1));
        __m256i wide = _mm256_sll_epi32(_mm256_cvtepu16_epi32(words), shift);
        totals[i] = _mm256_add_epi32(totals[i], wide);
    }
}

/* Two tables a register, and those of the next two beside them: two sums added are a byte still. */
KERNELS_RACING static inline void add_plane(const struct kernel_edge_query *query,
                                            const struct kernel_edge_look *look, size_t bit,
                                            struct edge_totals *totals) {
    const uint8_t *block = look->block + 4 * bit * query->width;
    const uint8_t *next = look->next + 4 * bit * query->width;
    const __m256i half = _mm256_set1_epi8(0x0f);
    size_t bytes = 4 * query->width;
    for (size_t begin = 0; begin < bytes; begin += WIDEN_AFTER) {
        size_t end = begin + WIDEN_AFTER < bytes ? begin + WIDEN_AFTER : bytes;
        struct byte_sums low = {_mm256_setzero_si256(), _mm256_setzero_si256()}, high = low;
        for (size_t i = begin; i < end; i += LINE) {
            _mm_prefetch((const char *)next + i, _MM_HINT_T1);
            __m256i found[2][2];
            for (size_t j = 0; j < 2; j++) {
                size_t at = i + j * EDGE_LANES * 2;
                __m256i signs = _mm256_load_si256((const __m256i *)(block + at));
                __m256i tables = _mm256_load_si256((const __m256i *)(query->sums + at));
                found[j][0] = _mm256_shuffle_epi8(tables, _mm256_and_si256(signs, half));
                found[j][1] = _mm256_shuffle_epi8(
                    tables, _mm256_and_si256(_mm256_srli_epi16(signs, 4), half));
            }
            add_bytes(&low, _mm256_add_epi8(found[0][0], found[1][0]));
            add_bytes(&high, _mm256_add_epi8(found[0][1], found[1][1]));
        }
        widen(&low, bit, totals->lanes);
        widen(&high, bit, totals->lanes + 2);
    }
}

/* Eight numbers of which the upper halves lie at `halves`. */
static inline __m256 load_halves(const uint8_t *halves) {
    __m128i bits = _mm_load_si128((const __m128i *)(const void *)halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/* Eight slopes of which the bytes lie there. */
static inline __m256 load_slopes(const uint8_t *slopes, float unit) {
    __m256i bits = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)slopes));
    bits = _mm256_add_epi32(_mm256_slli_epi32(bits, KERNELS_SLOPE_SHIFT),
                            _mm256_set1_epi32(KERNELS_SLOPE_ONE));
    const __m256 units = _mm256_set1_ps(unit);
    return _mm256_fmsub_ps(_mm256_castsi256_ps(bits), units, units);
}

KERNELS_RACING static uint32_t edge_estimates(const struct kernel_edge_query *query,
                                              const struct kernel_edge_look *look,
                                              float *estimates) {
    const uint8_t *offsets = look->block + 4 * query->bits * query->width;
    const float unit = look->slope_unit * query->step;
    size_t zeros = KERNELS_EDGE_ZERO * (query->width / 4) * ((1U << query->bits) - 1);
    const __m256i none = _mm256_set1_epi32(-(int)zeros);
    struct edge_totals totals = {{none, none, none, none}};
    uint32_t below = 0;
    for (size_t bit = 0; bit < query->bits; bit++)
        add_plane(query, look, bit, &totals);
    const uint8_t *next = look->next + 4 * query->bits * query->width;
    _mm_prefetch((const char *)next, _MM_HINT_T1); /* its offsets */
    for (size_t i = 0; i < 4; i++) {
        __m256 slope = load_slopes(look->slopes + LANES * i, unit);
        __m256 base =
            _mm256_add_ps(_mm256_set1_ps(look->distance), load_halves(offsets + 2 * LANES * i));
        __m256 x = _mm256_fnmadd_ps(slope, _mm256_cvtepi32_ps(totals.lanes[i]), base);
        _mm256_storeu_ps(estimates + LANES * i, x);
        __m256 is_below = _mm256_cmp_ps(x, _mm256_set1_ps(look->limit), _CMP_LT_OQ);
        below |= (uint32_t)_mm256_movemask_ps(is_below) << (LANES * i);
    }
    return below;
}

const struct kernels kernels_avx2 = {
    .name = "avx2",
    .dot_rows = kernels_avx2_dot_rows,
    .coarse_rows = kernels_avx2_coarse_rows,
    .scan_rows = kernels_avx2_scan_rows,
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
    .decode = kernels_avx2_decode,
    .quantise = quantise,
    .edge_sums = edge_sums,
    .edge_measure = edge_measure,
    .edge_levels = edge_levels,
    .edge_write = kernels_scalar_edge_write,
    .edge_estimates = edge_estimates,
    .decimals = kernels_avx2_decimals,
};
