/* immintrin.h -- stands in for the compiler's: AVX-512 on machines that lack it.
 *
 * SIMD Everywhere (Debian's libsimde-dev) does most of what our kernels use; what version 0.7.4
 * lacks is below, a number at a time.
 */
#ifndef AVX512_IMMINTRIN_H
#define AVX512_IMMINTRIN_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include_next <immintrin.h>

#include <math.h>
#include <simde/x86/avx512.h>
#include <string.h>

/* ---- Parts of a register ---- */

#define PARTS(name, vector, type, count)                                                           \
    static inline type name(vector x, int i) {                                                     \
        type parts[count];                                                                         \
        memcpy(parts, &x, sizeof(parts));                                                          \
        return parts[i];                                                                           \
    }

PARTS(shim_f32, simde__m512, float, 16)
PARTS(shim_f64, simde__m512d, double, 8)
PARTS(shim_i32, simde__m512i, int32_t, 16)

/* A register of 16 numbers, of i each. */
#define FILL(type, to, expression)                                                                 \
    type to##_parts[16];                                                                           \
    for (int i = 0; i < 16; i++)                                                                   \
        to##_parts[i] = (expression);                                                              \
    memcpy(&to, to##_parts, sizeof(to))

/* ---- Conversions ---- */

static inline simde__m512 shim_cvtepi32_ps(simde__m512i x) {
    simde__m512 to;
    FILL(float, to, (float)shim_i32(x, i));
    return to;
}

static inline simde__m512i shim_cvtps_epi32(simde__m512 x) {
    simde__m512i to;
    FILL(int32_t, to, (int32_t)lrintf(shim_f32(x, i)));
    return to;
}

static inline simde__m512i shim_cvttps_epi32(simde__m512 x) {
    simde__m512i to;
    FILL(int32_t, to, (int32_t)shim_f32(x, i));
    return to;
}

static inline simde__m512i shim_cvtepu8_epi32(__m128i x) {
    uint8_t from[16];
    simde__m512i to;
    memcpy(from, &x, sizeof(from));
    FILL(int32_t, to, from[i]);
    return to;
}

static inline simde__m512i shim_cvtepu16_epi32(__m256i x) {
    uint16_t from[16];
    simde__m512i to;
    memcpy(from, &x, sizeof(from));
    FILL(int32_t, to, from[i]);
    return to;
}

static inline simde__m512d shim_cvtps_pd(__m256 x) {
    float from[8];
    double parts[8];
    simde__m512d to;
    memcpy(from, &x, sizeof(from));
    for (int i = 0; i < 8; i++)
        parts[i] = (double)from[i];
    memcpy(&to, parts, sizeof(to));
    return to;
}

/* ---- Order ---- */

static inline simde__m512 shim_permute_ps(simde__m512 x, int control) {
    simde__m512 to;
    FILL(float, to, shim_f32(x, (i & ~3) + (control >> 2 * (i & 3) & 3)));
    return to;
}

/* Quarters of a register: two of a, then two of b. */
static inline simde__m512 shim_shuffle_f32x4(simde__m512 a, simde__m512 b, int control) {
    simde__m512 to;
    FILL(float, to, shim_f32(i < 8 ? a : b, 4 * (control >> 2 * (i / 4) & 3) + i % 4));
    return to;
}

/* ---- Masks ---- */

static inline simde__m512 shim_maskz_loadu_ps(uint16_t mask, const float *from) {
    simde__m512 to;
    FILL(float, to, mask >> i & 1 ? from[i] : 0);
    return to;
}

static inline __m256 shim_maskz_loadu_256(uint8_t mask, const float *from) {
    float parts[8];
    __m256 to;
    for (int i = 0; i < 8; i++)
        parts[i] = mask >> i & 1 ? from[i] : 0;
    memcpy(&to, parts, sizeof(to));
    return to;
}

/* ---- Sums ---- */

static inline float shim_reduce_add_ps(simde__m512 x) {
    float sum = 0;
    for (int i = 0; i < 16; i++)
        sum += shim_f32(x, i);
    return sum;
}

static inline float shim_reduce_max_ps(simde__m512 x) {
    float max = shim_f32(x, 0);
    for (int i = 1; i < 16; i++)
        max = fmaxf(max, shim_f32(x, i));
    return max;
}

static inline double shim_reduce_add_pd(simde__m512d x) {
    double sum = 0;
    for (int i = 0; i < 8; i++)
        sum += shim_f64(x, i);
    return sum;
}

static inline int32_t shim_reduce_add_epi32(simde__m512i x) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++)
        sum += shim_i32(x, i);
    return sum;
}

#define _mm512_cvtepi32_ps                   shim_cvtepi32_ps
#define _mm512_cvtps_epi32                   shim_cvtps_epi32
#define _mm512_cvttps_epi32                  shim_cvttps_epi32
#define _mm512_cvtepu8_epi32                 shim_cvtepu8_epi32
#define _mm512_cvtepu16_epi32                shim_cvtepu16_epi32
#define _mm512_cvtps_pd                      shim_cvtps_pd
#define _mm512_permute_ps                    shim_permute_ps
#define _mm512_shuffle_f32x4                 shim_shuffle_f32x4
#define _mm512_maskz_loadu_ps                shim_maskz_loadu_ps
#define _mm256_maskz_loadu_ps                shim_maskz_loadu_256
#define _mm512_reduce_add_ps                 shim_reduce_add_ps
#define _mm512_reduce_max_ps                 shim_reduce_max_ps
#define _mm512_reduce_add_pd                 shim_reduce_add_pd
#define _mm512_reduce_add_epi32              shim_reduce_add_epi32
#define _mm512_mask_cmp_ps_mask(k, a, b, op) ((k) & _mm512_cmp_ps_mask(a, b, op))

#endif
