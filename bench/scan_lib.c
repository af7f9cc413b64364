/* What the exact scan is measured against, for bench/flat_bench.py: a scan of all vectors in f32,
 * as fast as this machine does one; a scan in double precision, which tells what is right; and how
 * fast the memory can be read in order at all.
 *
 * Matrices are of floats, row by row, of any alignment; distances as enum distance, smaller is
 * nearer. Bench only: one thread, and it exits when memory ends.
 */
#include "index/distance.h"
#include "index/memory.h"
#include "index/top_k.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    GROUP = 4, /* rows summed together: the query is loaded once for them */
    LINE = 64,
    READS = 9,
};

struct scan_rows {
    const float *rows;
    uint32_t count, dimension;
    int distance; /* enum distance */
};

double scan_f32(const struct scan_rows *set, const float *queries, uint32_t count, uint32_t k,
                int32_t *ids);
void scan_double(const struct scan_rows *set, const float *queries, uint32_t count, uint32_t k,
                 int32_t *ids, float *distances);
double scan_read_ns(size_t bytes);

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *must_allocate(size_t bytes) {
    void *memory = malloc(bytes);
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* ---- In f32 ---------------------------------------------------------------------------------- */

/* Distances of GROUP rows that lie one after the other. */
typedef void scan_group(const float *query, const float *rows, size_t dimension, float *distances);

static void dot_group_plain(const float *query, const float *rows, size_t dimension,
                            float *distances) {
    for (size_t row = 0; row < GROUP; row++) {
        float sum = 0;
        for (size_t i = 0; i < dimension; i++)
            sum += query[i] * rows[row * dimension + i];
        distances[row] = -sum;
    }
}

static void l2_group_plain(const float *query, const float *rows, size_t dimension,
                           float *distances) {
    for (size_t row = 0; row < GROUP; row++) {
        float sum = 0;
        for (size_t i = 0; i < dimension; i++) {
            float x = query[i] - rows[row * dimension + i];
            sum += x * x;
        }
        distances[row] = sum;
    }
}

#if defined(__x86_64__)
#define AVX512 __attribute__((target("avx512f")))
#define AVX2   __attribute__((target("avx2,fma")))

AVX512 static void dot_group_avx512(const float *query, const float *rows, size_t dimension,
                                    float *distances) {
    __m512 sums[GROUP] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                          _mm512_setzero_ps()};
    for (size_t i = 0; i < dimension; i += 16) {
        __mmask16 mask = (__mmask16)(dimension - i >= 16 ? 0xffffu : (1u << (dimension - i)) - 1);
        __m512 q = _mm512_maskz_loadu_ps(mask, query + i);
        for (size_t row = 0; row < GROUP; row++)
            sums[row] = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(mask, rows + row * dimension + i),
                                        sums[row]);
    }
    for (size_t row = 0; row < GROUP; row++)
        distances[row] = -_mm512_reduce_add_ps(sums[row]);
}

AVX512 static void l2_group_avx512(const float *query, const float *rows, size_t dimension,
                                   float *distances) {
    __m512 sums[GROUP] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                          _mm512_setzero_ps()};
    for (size_t i = 0; i < dimension; i += 16) {
        __mmask16 mask = (__mmask16)(dimension - i >= 16 ? 0xffffu : (1u << (dimension - i)) - 1);
        __m512 q = _mm512_maskz_loadu_ps(mask, query + i);
        for (size_t row = 0; row < GROUP; row++) {
            __m512 x = _mm512_sub_ps(q, _mm512_maskz_loadu_ps(mask, rows + row * dimension + i));
            sums[row] = _mm512_fmadd_ps(x, x, sums[row]);
        }
    }
    for (size_t row = 0; row < GROUP; row++)
        distances[row] = _mm512_reduce_add_ps(sums[row]);
}

AVX2 static float sum_avx2(__m256 x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

AVX2 static void dot_group_avx2(const float *query, const float *rows, size_t dimension,
                                float *distances) {
    __m256 sums[GROUP] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                          _mm256_setzero_ps()};
    size_t whole = dimension / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        __m256 q = _mm256_loadu_ps(query + i);
        for (size_t row = 0; row < GROUP; row++)
            sums[row] = _mm256_fmadd_ps(q, _mm256_loadu_ps(rows + row * dimension + i), sums[row]);
    }
    for (size_t row = 0; row < GROUP; row++) {
        float sum = sum_avx2(sums[row]);
        for (size_t i = whole; i < dimension; i++)
            sum += query[i] * rows[row * dimension + i];
        distances[row] = -sum;
    }
}

AVX2 static void l2_group_avx2(const float *query, const float *rows, size_t dimension,
                               float *distances) {
    __m256 sums[GROUP] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                          _mm256_setzero_ps()};
    size_t whole = dimension / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        __m256 q = _mm256_loadu_ps(query + i);
        for (size_t row = 0; row < GROUP; row++) {
            __m256 x = _mm256_sub_ps(q, _mm256_loadu_ps(rows + row * dimension + i));
            sums[row] = _mm256_fmadd_ps(x, x, sums[row]);
        }
    }
    for (size_t row = 0; row < GROUP; row++) {
        float sum = sum_avx2(sums[row]);
        for (size_t i = whole; i < dimension; i++)
            sum += (query[i] - rows[row * dimension + i]) * (query[i] - rows[row * dimension + i]);
        distances[row] = sum;
    }
}
#endif

static scan_group *best_group(bool is_l2) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return is_l2 ? l2_group_avx512 : dot_group_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return is_l2 ? l2_group_avx2 : dot_group_avx2;
#endif
    return is_l2 ? l2_group_plain : dot_group_plain;
}

static void write_ids(struct top_k *top, uint32_t k, int32_t *ids, float *distances) {
    top_k_finish(top);
    for (uint32_t i = 0; i < k; i++) {
        ids[i] = i < top->count ? (int32_t)top->hits[i].slot : -1;
        if (distances)
            distances[i] = i < top->count ? top->hits[i].distance : INFINITY;
    }
}

static void scan_one_f32(const struct scan_rows *set, const float *query, struct top_k *top) {
    scan_group *group = best_group(set->distance == DISTANCE_EUCLID);
    size_t dimension = set->dimension, ahead = GROUP * dimension * sizeof(float);
    float worst = INFINITY, distances[GROUP];
    for (uint32_t row = 0; row + GROUP <= set->count; row += GROUP) {
        const float *rows = set->rows + row * dimension;
        for (size_t at = 0; at < ahead; at += LINE)
            __builtin_prefetch((const char *)rows + ahead + at);
        group(query, rows, dimension, distances);
        for (uint32_t i = 0; i < GROUP; i++) {
            if (distances[i] < worst || top->count < top->k) {
                top_k_offer(top, (struct hit){.slot = row + i, .distance = distances[i]});
                worst = top->hits[0].distance;
            }
        }
    }
}

/* CPU seconds in which the k nearest of all queries are found by f32 distances: cosine and dot by
 * dot product, Euclid. The rows' number must be a multiple of GROUP. */
double scan_f32(const struct scan_rows *set, const float *queries, uint32_t count, uint32_t k,
                int32_t *ids) {
    struct hit *hits = must_allocate(k * sizeof(*hits));
    double start = cpu_seconds();
    for (uint32_t i = 0; i < count; i++) {
        struct top_k top;
        top_k_init(&top, hits, k);
        scan_one_f32(set, queries + (size_t)i * set->dimension, &top);
        write_ids(&top, k, ids + (size_t)i * k, NULL);
    }
    double took = cpu_seconds() - start;
    free(hits);
    return took;
}

/* ---- In double precision ----------------------------------------------------------------------
 */

static double term(int distance, double a, double b) {
    switch (distance) {
    case DISTANCE_EUCLID:
        return (a - b) * (a - b);
    case DISTANCE_MANHATTAN:
        return fabs(a - b);
    default:
        return -a * b;
    }
}

/* The k nearest, ties by row; distances rounded to f32. Slow, and owes nothing to the kernels. */
void scan_double(const struct scan_rows *set, const float *queries, uint32_t count, uint32_t k,
                 int32_t *ids, float *distances) {
    struct hit *hits = must_allocate(k * sizeof(*hits));
    for (uint32_t i = 0; i < count; i++) {
        const float *query = queries + (size_t)i * set->dimension;
        struct top_k top;
        top_k_init(&top, hits, k);
        for (uint32_t row = 0; row < set->count; row++) {
            const float *values = set->rows + (size_t)row * set->dimension;
            double sum = 0;
            for (uint32_t j = 0; j < set->dimension; j++)
                sum += term(set->distance, (double)query[j], (double)values[j]);
            top_k_offer(&top, (struct hit){.slot = row, .distance = (float)sum});
        }
        write_ids(&top, k, ids + (size_t)i * k, distances + (size_t)i * k);
    }
    free(hits);
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

typedef void read_all(const void *memory, size_t bytes);

static void read_plain(const void *memory, size_t bytes) {
    const uint64_t *words = memory;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 8 <= bytes / sizeof(*words); i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] ^= words[i + j];
    __asm__ volatile("" : : "m"(sums)); /* or the loop may go */
}

#if defined(__x86_64__)
AVX512 static void read_avx512(const void *memory, size_t bytes) {
    const char *line = memory;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (size_t i = 0; i + 4 * LINE <= bytes; i += 4 * LINE) {
        a = _mm512_xor_si512(a, _mm512_load_si512(line + i));
        b = _mm512_xor_si512(b, _mm512_load_si512(line + i + LINE));
        c = _mm512_xor_si512(c, _mm512_load_si512(line + i + 2 * LINE));
        d = _mm512_xor_si512(d, _mm512_load_si512(line + i + 3 * LINE));
    }
    a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
    __asm__ volatile("" : : "v"(a));
}

AVX2 static void read_avx2(const void *memory, size_t bytes) {
    const char *line = memory;
    __m256i a = _mm256_setzero_si256(), b = a;
    for (size_t i = 0; i + LINE <= bytes; i += LINE) {
        a = _mm256_xor_si256(a, _mm256_load_si256((const __m256i *)(const void *)(line + i)));
        b = _mm256_xor_si256(b, _mm256_load_si256((const __m256i *)(const void *)(line + i + 32)));
    }
    a = _mm256_xor_si256(a, b);
    __asm__ volatile("" : : "x"(a));
}
#endif

static read_all *best_read(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return read_avx512;
    if (__builtin_cpu_supports("avx2"))
        return read_avx2;
#endif
    return read_plain;
}

/* Nanoseconds of CPU to read so many bytes once from end to end, in huge pages, from whatever holds
 * them after a reading before, cache or memory. The fastest of a few. */
double scan_read_ns(size_t bytes) {
    void *memory = memory_map(bytes);
    double best = INFINITY;
    if (!memory)
        exit(EXIT_FAILURE);
    memory_use_huge_pages(memory, bytes);
    memset(memory, 1, bytes);
    for (int run = 0; run < READS; run++) {
        double start = cpu_seconds();
        best_read()(memory, bytes);
        double took = cpu_seconds() - start;
        best = took < best ? took : best;
    }
    memory_unmap(memory, bytes);
    return best * 1e9;
}
