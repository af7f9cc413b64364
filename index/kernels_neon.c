/* Kernels for the vector unit that every 64-bit ARM has. */
#include "index/kernels_weigh.h"
#include "index/memory.h"

#include <arm_neon.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    AHEAD = 8,         /* rows prefetched before they are summed */
    COARSE_AHEAD = 24, /* of their upper halves: less of each, and a core waits for as many lines */
    LINE = 64,         /* bytes of a cache line */
    LANES = 4,         /* floats of a register */
};

/* 16 numbers of each of the two blocks of a pair. */
struct pair {
    uint8x16_t first, second;
};

static inline struct pair join(uint8x16_t upper, uint8x16_t lower) {
    /* Shifts that insert: the other four bits stay. */
    return (struct pair){.first = vsriq_n_u8(upper, lower, 4),
                         .second = vsliq_n_u8(lower, upper, 4)};
}

/* 16 products in four sums; two products of 128 * 127 fit the 16 bits between. */
static inline int32x4_t dot_block(int32x4_t sum, uint8x16_t row, const int8_t *codes) {
    int8x16_t a = vreinterpretq_s8_u8(veorq_u8(row, vdupq_n_u8(0x80)));
    int8x16_t b = vld1q_s8(codes);
    int16x8_t pairs = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    pairs = vmlal_s8(pairs, vget_high_s8(a), vget_high_s8(b));
    return vpadalq_s16(sum, pairs);
}

static inline __attribute__((always_inline)) int32_t
dot_row(bool is_coarse, const struct kernel_query *query, const uint8_t *row) {
    size_t at = kernels_split_at(query->bytes, query->pairs), below = query->pairs * KERNELS_BLOCK;
    int32x4_t a = vdupq_n_s32(0), b = a;
    for (size_t i = 0; i < at; i += 32) {
        a = dot_block(a, vld1q_u8(row + i), query->codes + i);
        b = dot_block(b, vld1q_u8(row + i + 16), query->codes + i + 16);
    }
    const int8_t *codes = query->codes + at;
    for (size_t i = at; i < at + below; i += KERNELS_BLOCK, codes += 2 * KERNELS_BLOCK) {
        for (size_t j = 0; j < KERNELS_BLOCK; j += 16) {
            uint8x16_t lower = is_coarse ? vdupq_n_u8(0) : vld1q_u8(row + i + below + j);
            struct pair pair = join(vld1q_u8(row + i + j), lower);
            a = dot_block(a, pair.first, codes + j);
            b = dot_block(b, pair.second, codes + KERNELS_BLOCK + j);
        }
    }
    return vaddvq_s32(vaddq_s32(a, b));
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

static void dot_rows(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                     int32_t *dots) {
    sum_rows(false, query, rows, count, dots);
}

static void coarse_rows(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                        int32_t *dots) {
    sum_rows(true, query, rows, count, dots);
}

/* Multiplies 16 numbers of a row with those of `count` queries that begin at code `at`. */
static inline __attribute__((always_inline)) void add_block(const struct kernel_scan *scan,
                                                            size_t count, size_t at, uint8x16_t row,
                                                            int32x4_t sums[KERNELS_QUERIES]) {
    for (size_t q = 0; q < count; q++)
        sums[q] = dot_block(sums[q], row, scan->queries[q]->codes + at);
}

/* A row with `count` queries, a number that is known when this is compiled: each line of the row is
 * read once. Asks for `ahead` a line at a time. */
static inline __attribute__((always_inline)) void
scan_row(const struct kernel_scan *scan, size_t row, const uint8_t *ahead, size_t count) {
    const uint8_t *bytes = scan->rows[row];
    size_t pairs = scan->queries[0]->pairs, below = pairs * KERNELS_BLOCK;
    size_t at = kernels_split_at(scan->queries[0]->bytes, pairs);
    int32x4_t sums[KERNELS_QUERIES];
    for (size_t q = 0; q < count; q++)
        sums[q] = vdupq_n_s32(0);
    for (size_t byte = 0; byte < at; byte += LINE) {
        __builtin_prefetch(ahead + byte);
        for (size_t j = byte; j < byte + LINE; j += 16)
            add_block(scan, count, j, vld1q_u8(bytes + j), sums);
    }
    for (size_t byte = at; byte < at + below; byte += LINE) {
        __builtin_prefetch(ahead + byte);
        __builtin_prefetch(ahead + byte + below);
        for (size_t j = byte; j < byte + LINE; j += 16) {
            size_t first = byte + j - at; /* number of the row */
            struct pair pair = join(vld1q_u8(bytes + j), vld1q_u8(bytes + below + j));
            add_block(scan, count, first, pair.first, sums);
            add_block(scan, count, first + KERNELS_BLOCK, pair.second, sums);
        }
    }
    for (size_t q = 0; q < count; q++)
        scan->dots[q * scan->stride + row] = vaddvq_s32(sums[q]);
}

static void scan_rows(const struct kernel_scan *scan) {
    for (size_t i = 0; i < scan->count; i++) {
        const uint8_t *ahead = scan->rows[i + AHEAD < scan->count ? i + AHEAD : i];
        if (scan->queries_count == 1)
            scan_row(scan, i, ahead, 1);
        else
            scan_row(scan, i, ahead, KERNELS_QUERIES);
    }
}

static uint64_t not_above(const float *values, float limit) {
    static const uint32_t places[LANES] = {1, 2, 4, 8};
    uint64_t bits = 0;
    for (size_t i = 0; i < 64; i += LANES) {
        uint32x4_t above = vcgtq_f32(vld1q_f32(values + i), vdupq_n_f32(limit));
        bits |= (uint64_t)vaddvq_u32(vbicq_u32(vld1q_u32(places), above)) << i;
    }
    return bits;
}

static size_t rank(const struct hit *hits, size_t count, float distance) {
    uint32x4_t sums = vdupq_n_u32(0);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        float32x4_t distances = vld2q_f32((const float *)(const void *)(hits + i)).val[1];
        sums = vsubq_u32(sums, vcleq_f32(distances, vdupq_n_f32(distance)));
    }
    size_t before = vaddvq_u32(sums);
    for (; i < count; i++)
        before += hits[i].distance <= distance;
    return before;
}

/* Adds |scale * row - value| for four numbers. */
static inline float32x4_t l1_lanes(float32x4_t sum, int16x4_t row, float scale,
                                   const float *values) {
    float32x4_t x = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(row)), scale);
    return vaddq_f32(sum, vabdq_f32(x, vld1q_f32(values)));
}

static void l1_rows(const struct kernel_query *query, const uint8_t *const *rows,
                    const float *scales, size_t count, float *sums) {
    for (size_t i = 0; i < count && i < AHEAD; i++)
        memory_prefetch(rows[i], query->bytes);
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            memory_prefetch(rows[i + AHEAD], query->bytes);
        float32x4_t a = vdupq_n_f32(0), b = a;
        for (size_t j = 0; j < query->bytes; j += 8) {
            int8x8_t bytes = vreinterpret_s8_u8(veor_u8(vld1_u8(rows[i] + j), vdup_n_u8(0x80)));
            int16x8_t row = vmovl_s8(bytes);
            a = l1_lanes(a, vget_low_s16(row), scales[i], query->values + j);
            b = l1_lanes(b, vget_high_s16(row), scales[i], query->values + j + LANES);
        }
        sums[i] = vaddvq_f32(vaddq_f32(a, b));
    }
}

static double dot(const float *a, const float *b, size_t count, const float *next) {
    float64x2_t s = vdupq_n_f64(0), t = s;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __builtin_prefetch(next + i);
        float32x4_t x = vld1q_f32(a + i), y = vld1q_f32(b + i);
        s = vfmaq_f64(s, vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)));
        t = vfmaq_f64(t, vcvt_high_f64_f32(x), vcvt_high_f64_f32(y));
    }
    double sum = vaddvq_f64(vaddq_f64(s, t));
    for (; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double squared_l2(const float *a, const float *b, size_t count, const float *next) {
    float64x2_t s = vdupq_n_f64(0), t = s;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __builtin_prefetch(next + i);
        float32x4_t x = vld1q_f32(a + i), y = vld1q_f32(b + i);
        float64x2_t low = vsubq_f64(vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)));
        float64x2_t high = vsubq_f64(vcvt_high_f64_f32(x), vcvt_high_f64_f32(y));
        s = vfmaq_f64(s, low, low);
        t = vfmaq_f64(t, high, high);
    }
    double sum = vaddvq_f64(vaddq_f64(s, t));
    for (; i < count; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static double l1(const float *a, const float *b, size_t count, const float *next) {
    float64x2_t s = vdupq_n_f64(0), t = s;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __builtin_prefetch(next + i);
        float32x4_t x = vld1q_f32(a + i), y = vld1q_f32(b + i);
        s = vaddq_f64(s, vabdq_f64(vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y))));
        t = vaddq_f64(t, vabdq_f64(vcvt_high_f64_f32(x), vcvt_high_f64_f32(y)));
    }
    double sum = vaddvq_f64(vaddq_f64(s, t));
    for (; i < count; i++)
        sum += fabs((double)a[i] - (double)b[i]);
    return sum;
}

static void hadamard(float *values, size_t count) {
    for (size_t half = count / 2; half >= LANES; half /= 2) {
        for (size_t start = 0; start < count; start += 2 * half) {
            for (size_t i = start; i < start + half; i += LANES) {
                float32x4_t a = vld1q_f32(values + i), b = vld1q_f32(values + i + half);
                vst1q_f32(values + i, vaddq_f32(a, b));
                vst1q_f32(values + i + half, vsubq_f32(a, b));
            }
        }
    }
    float scale = 1.0f / sqrtf((float)count);
    for (size_t i = 0; i < count; i += LANES) {
        float a = values[i] + values[i + 2], b = values[i + 1] + values[i + 3];
        float c = values[i] - values[i + 2], d = values[i + 1] - values[i + 3];
        values[i] = (a + b) * scale;
        values[i + 1] = (a - b) * scale;
        values[i + 2] = (c + d) * scale;
        values[i + 3] = (c - d) * scale;
    }
}

static void flip(float *values, const uint64_t *bits, size_t count) {
    const int32_t places[LANES] = {31, 30, 29, 28};
    const int32x4_t lane = vld1q_s32(places);
    for (size_t i = 0; i < count; i += LANES) {
        /* Each lane shifts its own bit to the place of the sign. */
        uint32x4_t mask = vdupq_n_u32((uint32_t)(bits[i / 64] >> (i % 64) & 0xf));
        mask = vandq_u32(vshlq_u32(mask, lane), vdupq_n_u32(UINT32_C(1) << 31));
        uint32x4_t x = vreinterpretq_u32_f32(vld1q_f32(values + i));
        vst1q_f32(values + i, vreinterpretq_f32_u32(veorq_u32(x, mask)));
    }
}

static float max_abs(const float *values, size_t count) {
    float32x4_t max = vdupq_n_f32(0);
    for (size_t i = 0; i < count; i += LANES)
        max = vmaxnmq_f32(max, vabsq_f32(vld1q_f32(values + i)));
    return vmaxnmvq_f32(max);
}

/* 16 numbers of a row; returns their sum, added to `sum`. */
static inline int32x4_t decode_block(uint8x16_t row, int8_t *codes, int32x4_t sum) {
    int8x16_t x = vreinterpretq_s8_u8(veorq_u8(row, vdupq_n_u8(0x80)));
    vst1q_s8(codes, x);
    return vpadalq_s16(sum, vpaddlq_s8(x));
}

static int32_t decode(const uint8_t *row, size_t pairs, int8_t *codes, size_t bytes) {
    size_t at = kernels_split_at(bytes, pairs), below = pairs * KERNELS_BLOCK;
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < at; i += 16)
        sum = decode_block(vld1q_u8(row + i), codes + i, sum);
    codes += at;
    for (size_t i = at; i < at + below; i += KERNELS_BLOCK, codes += 2 * KERNELS_BLOCK) {
        for (size_t j = 0; j < KERNELS_BLOCK; j += 16) {
            struct pair pair = join(vld1q_u8(row + i + j), vld1q_u8(row + i + below + j));
            sum = decode_block(pair.first, codes + j, sum);
            sum = decode_block(pair.second, codes + KERNELS_BLOCK + j, sum);
        }
    }
    return vaddvq_s32(sum);
}

static void quantise(const float *values, float factor, int8_t *codes, size_t count) {
    for (size_t i = 0; i < count; i += 2 * LANES) {
        int32x4_t a = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(values + i), factor));
        int32x4_t b = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(values + i + LANES), factor));
        vst1_s8(codes + i, vqmovn_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b))));
    }
}

/* ---- Edges: blocks lie as in the scalar set ---------------------------------------------------
 */

enum {
    EDGE_LANES = KERNELS_EDGES / 2, /* bytes that hold four coordinates of all edges */
    WIDEN_AFTER = 256,              /* table look-ups whose sum is sure to fit 16 bits: 127 each */
    SUM_MAX = KERNELS_EDGE_ZERO - 1,
};

static float edge_sums(const float *values, size_t width, uint8_t *sums) {
    float max = 0;
    for (size_t i = 0; i < width; i += LANES) {
        float sum =
            fabsf(values[i]) + fabsf(values[i + 1]) + fabsf(values[i + 2]) + fabsf(values[i + 3]);
        max = sum > max ? sum : max;
    }
    if (!(max >= SUM_MAX * FLT_MIN && max <= FLT_MAX)) {
        memset(sums, KERNELS_EDGE_ZERO, LANES * width);
        return 0;
    }
    const int16x8_t zero = vdupq_n_s16(KERNELS_EDGE_ZERO);
    static const float signs[LANES][LANES] = {
        {-1, 1, -1, 1}, {-1, -1, 1, 1}, {-1, 1, -1, 1}, {-1, -1, 1, 1}};
    for (size_t i = 0; i < width; i += LANES) {
        /* The first two values change within a register, the others from one to the next. */
        float32x4_t inner = vaddq_f32(vmulq_n_f32(vld1q_f32(signs[0]), values[i]),
                                      vmulq_n_f32(vld1q_f32(signs[1]), values[i + 1]));
        for (size_t j = 0; j < LANES; j++) {
            float32x4_t sum = vaddq_f32(inner, vdupq_n_f32(signs[2][j] * values[i + 2]));
            sum = vaddq_f32(sum, vdupq_n_f32(signs[3][j] * values[i + 3]));
            int16x4_t rounded = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(sum, SUM_MAX / max)));
            int16x8_t both = vaddq_s16(vcombine_s16(rounded, rounded), zero);
            uint8_t bytes[2 * LANES];
            vst1_u8(bytes, vqmovun_s16(both));
            memcpy(sums + LANES * (i + j), bytes, LANES);
        }
    }
    return max / SUM_MAX;
}

/* Adds the table look-ups of a plane of 32 edges. */
static inline void add_plane(const struct kernel_edge_query *query,
                             const struct kernel_edge_look *look, size_t bit,
                             int32x4_t totals[KERNELS_EDGES / LANES]) {
    const uint8_t *block = look->block + 4 * bit * query->width;
    const uint8_t *next = look->next + 4 * bit * query->width;
    const int32x4_t shift = vdupq_n_s32((int32_t)bit);
    size_t count = query->width / LANES;
    for (size_t begin = 0; begin < count; begin += WIDEN_AFTER) {
        size_t end = begin + WIDEN_AFTER < count ? begin + WIDEN_AFTER : count;
        uint16x8_t sums[4] = {vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0)};
        for (size_t i = begin; i < end; i++) {
            uint8x16_t signs = vld1q_u8(block + i * EDGE_LANES);
            __builtin_prefetch(next + i * EDGE_LANES, 0, 2);
            uint8x16_t table = vld1q_u8(query->sums + i * EDGE_LANES);
            uint8x16_t low = vqtbl1q_u8(table, vandq_u8(signs, vdupq_n_u8(0x0f)));
            uint8x16_t high = vqtbl1q_u8(table, vshrq_n_u8(signs, 4));
            sums[0] = vaddw_u8(sums[0], vget_low_u8(low));
            sums[1] = vaddw_u8(sums[1], vget_high_u8(low));
            sums[2] = vaddw_u8(sums[2], vget_low_u8(high));
            sums[3] = vaddw_u8(sums[3], vget_high_u8(high));
        }
        for (size_t i = 0; i < 4; i++) {
            uint32x4_t low = vshlq_u32(vmovl_u16(vget_low_u16(sums[i])), shift);
            uint32x4_t high = vshlq_u32(vmovl_u16(vget_high_u16(sums[i])), shift);
            totals[2 * i] = vaddq_s32(totals[2 * i], vreinterpretq_s32_u32(low));
            totals[2 * i + 1] = vaddq_s32(totals[2 * i + 1], vreinterpretq_s32_u32(high));
        }
    }
}

/* Four numbers of which the upper halves lie at `halves`. */
static inline float32x4_t load_halves(const uint8_t *halves) {
    uint16x4_t bits = vreinterpret_u16_u8(vld1_u8(halves));
    return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
}

/* Four slopes of which the bytes lie there. */
static inline float32x4_t load_slopes(const uint8_t *slopes, float unit) {
    uint32_t bytes;
    memcpy(&bytes, slopes, sizeof(bytes));
    uint16x8_t wide = vmovl_u8(vcreate_u8(bytes));
    uint32x4_t bits = vshlq_n_u32(vmovl_u16(vget_low_u16(wide)), KERNELS_SLOPE_SHIFT);
    float32x4_t value = vreinterpretq_f32_u32(vaddq_u32(bits, vdupq_n_u32(KERNELS_SLOPE_ONE)));
    return vmulq_n_f32(vsubq_f32(value, vdupq_n_f32(1)), unit);
}

static uint32_t edge_estimates(const struct kernel_edge_query *query,
                               const struct kernel_edge_look *look, float *estimates) {
    const uint8_t *offsets = look->block + 4 * query->bits * query->width;
    const float unit = look->slope_unit * query->step;
    int32x4_t totals[KERNELS_EDGES / LANES];
    uint32_t below = 0;
    size_t zeros = KERNELS_EDGE_ZERO * (query->width / LANES) * ((1U << query->bits) - 1);
    for (size_t i = 0; i < KERNELS_EDGES / LANES; i++)
        totals[i] = vdupq_n_s32(-(int32_t)zeros);
    for (size_t bit = 0; bit < query->bits; bit++)
        add_plane(query, look, bit, totals);
    const uint8_t *next = look->next + 4 * query->bits * query->width;
    __builtin_prefetch(next, 0, 2); /* its offsets */
    for (size_t i = 0; i < KERNELS_EDGES; i += LANES) {
        float32x4_t slope = load_slopes(look->slopes + i, unit);
        float32x4_t base = vaddq_f32(vdupq_n_f32(look->distance), load_halves(offsets + 2 * i));
        vst1q_f32(estimates + i, vfmsq_f32(base, slope, vcvtq_f32_s32(totals[i / LANES])));
    }
    for (size_t i = 0; i < KERNELS_EDGES; i++)
        below |= (uint32_t)(estimates[i] < look->limit) << i;
    return below;
}

const struct kernels kernels_neon = {
    .name = "neon",
    .dot_rows = dot_rows,
    .coarse_rows = coarse_rows,
    .scan_rows = scan_rows,
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
    .decode = decode,
    .quantise = quantise,
    .edge_sums = edge_sums,
    .edge_measure = kernels_scalar_edge_measure,
    .edge_levels = kernels_scalar_edge_levels,
    .edge_write = kernels_scalar_edge_write,
    .edge_estimates = edge_estimates,
    .decimals = kernels_scalar_decimals,
};
