/* The plain C of every kernel: what the others must agree with, and what runs anywhere. */
#include "index/kernels.h"

#include <math.h>

static void dot_rows(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                     int32_t *dots) {
    for (size_t i = 0; i < count; i++) {
        int32_t sum = 0;
        for (size_t j = 0; j < query->bytes; j++)
            sum += (rows[i][j] - 128) * query->codes[j];
        dots[i] = sum;
    }
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

static double dot(const float *a, const float *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double squared_l2(const float *a, const float *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)a[i] - (double)b[i];
        sum += difference * difference;
    }
    return sum;
}

static double l1(const float *a, const float *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += fabs((double)a[i] - (double)b[i]);
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

static int32_t decode(const uint8_t *row, int8_t *codes, size_t bytes) {
    int32_t sum = 0;
    for (size_t i = 0; i < bytes; i++) {
        codes[i] = (int8_t)(row[i] - 128);
        sum += codes[i];
    }
    return sum;
}

static void quantise(const float *values, float factor, int8_t *codes, size_t count) {
    for (size_t i = 0; i < count; i++)
        codes[i] = (int8_t)lrintf(values[i] * factor);
}

const struct kernels kernels_scalar = {
    .name = "scalar",
    .dot_rows = dot_rows,
    .l1_rows = l1_rows,
    .dot = dot,
    .squared_l2 = squared_l2,
    .l1 = l1,
    .hadamard = hadamard,
    .flip = flip,
    .max_abs = max_abs,
    .decode = decode,
    .quantise = quantise,
};
