/* The plain C of every kernel: what the others must agree with, and what runs anywhere. */
#include "index/kernels_weigh.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* The sum of unsigned bytes of a row times codes. */
static int32_t dot_row(const struct kernel_query *query, const uint8_t *row, bool is_coarse) {
    size_t at = kernels_split_at(query->bytes, query->pairs);
    const int8_t *codes = query->codes;
    int32_t sum = 0;
    for (size_t j = 0; j < at; j++)
        sum += row[j] * codes[j];
    const uint8_t *upper = row + at, *lower = upper + query->pairs * KERNELS_BLOCK;
    for (codes += at; codes < query->codes + query->bytes; codes += 2 * KERNELS_BLOCK) {
        for (size_t j = 0; j < KERNELS_BLOCK; j++) {
            int low = is_coarse ? 0 : lower[j];
            sum += ((upper[j] & 0xf0) | low >> 4) * codes[j];
            sum += ((upper[j] << 4 & 0xf0) | (low & 0x0f)) * codes[KERNELS_BLOCK + j];
        }
        upper += KERNELS_BLOCK;
        lower += KERNELS_BLOCK;
    }
    return sum;
}

static void dot_rows(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                     int32_t *dots) {
    for (size_t i = 0; i < count; i++)
        dots[i] = dot_row(query, rows[i], false) - query->offset;
}

static void coarse_rows(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                        int32_t *dots) {
    for (size_t i = 0; i < count; i++)
        dots[i] = dot_row(query, rows[i], true) - query->offset + kernels_middle(query);
}

static void scan_rows(const struct kernel_scan *scan) {
    for (size_t i = 0; i < scan->queries_count; i++)
        dot_rows(scan->queries[i], scan->rows, scan->count, scan->dots + i * scan->stride);
}

static uint64_t not_above(const float *values, float limit) {
    uint64_t bits = 0;
    for (size_t i = 0; i < 64; i++)
        bits |= (uint64_t) !(values[i] > limit) << i;
    return bits;
}

static size_t rank(const struct hit *hits, size_t count, float distance) {
    size_t before = 0;
    for (size_t i = 0; i < count; i++)
        before += hits[i].distance <= distance;
    return before;
}

static void l1_rows(const struct kernel_query *query, const uint8_t *const *rows,
                    const float *scales, size_t count, float *sums) {
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (size_t j = 0; j < query->bytes; j++)
            sum += fabsf(scales[i] * (float)(rows[i][j] - 128) - query->values[j]);
        sums[i] = (float)sum;
    }
}

static double dot(const float *a, const float *b, size_t count, const float *next) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(next + i);
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

static double squared_l2(const float *a, const float *b, size_t count, const float *next) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(next + i);
        double difference = (double)a[i] - (double)b[i];
        sum += difference * difference;
    }
    return sum;
}

static double l1(const float *a, const float *b, size_t count, const float *next) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(next + i);
        sum += fabs((double)a[i] - (double)b[i]);
    }
    return sum;
}

static void hadamard(float *values, size_t count) {
    for (size_t half = count / 2; half > 0; half /= 2) {
        for (size_t start = 0; start < count; start += 2 * half) {
            for (size_t i = start; i < start + half; i++) {
                float a = values[i], b = values[i + half];
                values[i] = a + b;
                values[i + half] = a - b;
            }
        }
    }
    float scale = 1.0f / sqrtf((float)count);
    for (size_t i = 0; i < count; i++)
        values[i] *= scale;
}

static void flip(float *values, const uint64_t *bits, size_t count) {
    for (size_t i = 0; i < count; i++)
        values[i] = bits[i / 64] >> (i % 64) & 1 ? -values[i] : values[i];
}

static float max_abs(const float *values, size_t count) {
    float max = 0;
    for (size_t i = 0; i < count; i++)
        max = fabsf(values[i]) > max ? fabsf(values[i]) : max;
    return max;
}

static int32_t decode(const uint8_t *row, size_t pairs, int8_t *codes, size_t bytes) {
    size_t at = kernels_split_at(bytes, pairs);
    int32_t sum = 0;
    for (size_t i = 0; i < at; i++)
        codes[i] = (int8_t)(row[i] - 128);
    const uint8_t *upper = row + at, *lower = upper + pairs * KERNELS_BLOCK;
    for (size_t i = at; i < bytes; i += 2 * KERNELS_BLOCK) {
        for (size_t j = 0; j < KERNELS_BLOCK; j++) {
            codes[i + j] = (int8_t)(((upper[j] & 0xf0) | lower[j] >> 4) - 128);
            codes[i + KERNELS_BLOCK + j] =
                (int8_t)(((upper[j] << 4 & 0xf0) | (lower[j] & 0x0f)) - 128);
        }
        upper += KERNELS_BLOCK;
        lower += KERNELS_BLOCK;
    }
    for (size_t i = 0; i < bytes; i++)
        sum += codes[i];
    return sum;
}

static void quantise(const float *values, float factor, int8_t *codes, size_t count) {
    for (size_t i = 0; i < count; i++)
        codes[i] = (int8_t)lrintf(values[i] * factor);
}

/* ---- Edges ------------------------------------------------------------------------------------
 *
 * The signs of four coordinates in a plane are a nibble; 16 bytes hold those of 32 edges, the first
 * 16 edges in the lower halves.
 */

enum {
    EDGE_LANES = KERNELS_EDGES / 2,
    GROUP = 4, /* coordinates of a nibble */
    SUM_MAX = KERNELS_EDGE_ZERO - 1,
};

static float edge_sums(const float *values, size_t width, uint8_t *sums) {
    float max = 0;
    for (size_t i = 0; i < width; i += GROUP) {
        float sum =
            fabsf(values[i]) + fabsf(values[i + 1]) + fabsf(values[i + 2]) + fabsf(values[i + 3]);
        max = sum > max ? sum : max;
    }
    if (!(max >= SUM_MAX * FLT_MIN && max <= FLT_MAX)) {
        memset(sums, KERNELS_EDGE_ZERO, GROUP * width);
        return 0;
    }
    float factor = SUM_MAX / max;
    for (size_t i = 0; i < width; i += GROUP) {
        for (size_t bits = 0; bits < 16; bits++) {
            float sum = bits & 1 ? values[i] : -values[i];
            sum += bits & 2 ? values[i + 1] : -values[i + 1];
            sum += bits & 4 ? values[i + 2] : -values[i + 2];
            sum += bits & 8 ? values[i + 3] : -values[i + 3];
            sums[i * GROUP + bits] = (uint8_t)(lrintf(sum * factor) + KERNELS_EDGE_ZERO);
        }
    }
    return max / SUM_MAX;
}

struct kernel_edge kernels_scalar_edge_measure(const struct kernel_edge_ends *ends, float *r) {
    struct kernel_edge edge = {0};
    for (size_t i = 0; i < ends->width; i++) {
        r[i] = ends->to_scale * (float)(ends->to[i] - 128) - ends->from[i];
        edge.square += r[i] * r[i];
        edge.from_edge += ends->from[i] * r[i];
    }
    return edge;
}

void kernels_scalar_edge_levels(const float *from, const float *r, size_t width,
                                struct kernel_edge_levels *levels, uint64_t *planes) {
    size_t words = width / 64;
    float half = (float)(1u << levels->bits) / 2, top = 2 * half - 1;
    memset(planes, 0, levels->bits * words * sizeof(*planes));
    levels->spread = levels->from_levels = 0;
    for (size_t i = 0; i < width; i++) {
        float level = floorf(r[i] * levels->per_unit) + half;
        level = level > 0 ? level < top ? level : top : 0; /* 0 for what is no number */
        float u = 2 * level - top;
        levels->spread += u * r[i];
        levels->from_levels += u * from[i];
        for (size_t bit = 0; bit < levels->bits; bit++)
            planes[bit * words + i / 64] |= (uint64_t)((unsigned)level >> bit & 1) << (i % 64);
    }
}

KERNELS_RACING void kernels_scalar_edge_write(uint8_t *block, size_t place, const uint64_t *plane,
                                              size_t width) {
    unsigned shift = place < EDGE_LANES ? 0 : 4;
    for (size_t i = 0; i < width; i += GROUP) {
        uint8_t *byte = &block[i * GROUP + place % EDGE_LANES];
        unsigned nibble = (unsigned)(plane[i / 64] >> (i % 64)) & 0xf;
        *byte = (uint8_t)((*byte & ~(0xfu << shift)) | nibble << shift);
    }
}

static float upper_half(const uint8_t *bytes) {
    uint32_t bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 24;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

KERNELS_RACING static uint32_t edge_estimates(const struct kernel_edge_query *query,
                                              const struct kernel_edge_look *look,
                                              float *estimates) {
    int32_t totals[KERNELS_EDGES] = {0};
    uint32_t below = 0;
    const uint8_t *block = look->block, *next = look->next;
    for (size_t bit = 0; bit < query->bits; bit++) {
        for (size_t i = 0; i < query->width; i += GROUP) {
            const uint8_t *sums = query->sums + i * GROUP;
            __builtin_prefetch(next + i * GROUP);
            for (size_t lane = 0; lane < EDGE_LANES; lane++) {
                uint8_t byte = block[i * GROUP + lane];
                totals[lane] += (sums[byte & 0xf] - KERNELS_EDGE_ZERO) * (1 << bit);
                totals[lane + EDGE_LANES] += (sums[byte >> 4] - KERNELS_EDGE_ZERO) * (1 << bit);
            }
        }
        block += GROUP * query->width;
        next += GROUP * query->width;
    }
    __builtin_prefetch(next); /* its offsets */
    const float unit = look->slope_unit * query->step;
    for (size_t i = 0; i < KERNELS_EDGES; i++) {
        float slope = kernels_slope(look->slopes[i]) * unit;
        estimates[i] = look->distance + upper_half(block + 2 * i) - slope * (float)totals[i];
        below |= (uint32_t)(estimates[i] < look->limit) << i;
    }
    return below;
}

const struct kernels kernels_scalar = {
    .name = "scalar",
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
