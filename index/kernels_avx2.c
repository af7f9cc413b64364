/* Kernels for AVX2 with FMA: 32 codes an instruction. */
#include "index/kernels.h"

#include <immintrin.h>
#include <math.h>

enum {
    AHEAD = 8, /* rows prefetched before they are summed */
    LINE = 64, /* bytes of a cache line */
    LANES = 8, /* floats of a register */
};

/* Into the second level: thirty rows at once would push each other out of the first. */
static inline void prefetch(const uint8_t *row, size_t bytes) {
    for (size_t i = 0; i < bytes; i += LINE)
        _mm_prefetch((const char *)row + i, _MM_HINT_T1);
}

static inline int32_t sum_lanes(__m256i x) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    return _mm_cvtsi128_si32(half);
}

/* 32 products in eight sums. _mm256_maddubs_epi16 wants one unsigned side: |row|, with the sign
 * moved to the query; 2 * 127 * 127 stays below the 16 bits at which it would saturate. */
static inline __m256i dot_block(__m256i sum, const uint8_t *row, const int8_t *codes) {
    __m256i a = _mm256_xor_si256(_mm256_load_si256((const __m256i *)row), _mm256_set1_epi8(-128));
    __m256i b = _mm256_load_si256((const __m256i *)codes);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static void dot_rows(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                     int32_t *dots) {
    for (size_t i = 0; i < count && i < AHEAD; i++)
        prefetch(rows[i], query->bytes);
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            prefetch(rows[i + AHEAD], query->bytes);
        __m256i a = _mm256_setzero_si256(), b = a;
        for (size_t j = 0; j < query->bytes; j += KERNELS_BLOCK) {
            a = dot_block(a, rows[i] + j, query->codes + j);
            b = dot_block(b, rows[i] + j + 32, query->codes + j + 32);
        }
        dots[i] = sum_lanes(_mm256_add_epi32(a, b));
    }
}

static inline float sum_floats(__m256 x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

static inline __m256 abs_floats(__m256 x) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

static void l1_rows(const struct kernel_query *query, const uint8_t *const *rows,
                    const float *scales, size_t count, float *sums) {
    for (size_t i = 0; i < count && i < AHEAD; i++)
        prefetch(rows[i], query->bytes);
    const __m256i middle = _mm256_set1_epi32(128);
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            prefetch(rows[i + AHEAD], query->bytes);
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

static double dot(const float *a, const float *b, size_t count) {
    __m256d s = _mm256_setzero_pd(), t = s;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        s = _mm256_fmadd_pd(load_doubles(a + i), load_doubles(b + i), s);
        t = _mm256_fmadd_pd(load_doubles(a + i + 4), load_doubles(b + i + 4), t);
    }
    double sum = sum_doubles(_mm256_add_pd(s, t));
    for (; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double squared_l2(const float *a, const float *b, size_t count) {
    __m256d s = _mm256_setzero_pd(), t = s;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
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

static double l1(const float *a, const float *b, size_t count) {
    __m256d s = _mm256_setzero_pd();
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
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

static int32_t decode(const uint8_t *row, int8_t *codes, size_t bytes) {
    const __m256i top = _mm256_set1_epi8(-128), one = _mm256_set1_epi8(1);
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes; i += 32) {
        __m256i x = _mm256_xor_si256(_mm256_load_si256((const __m256i *)(row + i)), top);
        _mm256_store_si256((__m256i *)(codes + i), x);
        __m256i pairs = _mm256_maddubs_epi16(one, x);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    return sum_lanes(sum);
}

static void quantise(const float *values, float factor, int8_t *codes, size_t count) {
    __m256 scale = _mm256_set1_ps(factor);
    for (size_t i = 0; i < count; i += LANES) {
        __m256i x = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + i), scale));
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
        _mm_storel_epi64((__m128i *)(codes + i), _mm_packs_epi16(words, words));
    }
}

const struct kernels kernels_avx2 = {
    .name = "avx2",
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
