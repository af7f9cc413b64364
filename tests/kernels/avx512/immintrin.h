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

/* ---- Parts of a register, and registers of parts ---- */

#define PART(name, vector, type)               \
    static inline type name(vector x, int i) { \
        type parts[sizeof(x) / sizeof(type)];  \
        memcpy(parts, &x, sizeof(x));          \
        return parts[i];                       \
    }

PART(shim_f32, simde__m512, float)
PART(shim_f64, simde__m512d, double)
PART(shim_i32, simde__m512i, int32_t)
PART(shim_u8, __m128i, uint8_t)
PART(shim_u16, __m256i, uint16_t)
PART(shim_half, __m256, float)

/* A function whose result has `part` at each place i. */
#define MAKE(name, vector, type, parameters, part)                   \
    static inline vector name parameters {                           \
        vector made;                                                 \
        type parts[sizeof(made) / sizeof(type)];                     \
        for (int i = 0; i < (int)(sizeof(made) / sizeof(type)); i++) \
            parts[i] = (part);                                       \
        memcpy(&made, parts, sizeof(made));                          \
        return made;                                                 \
    }

/* A function that adds up `part` at each place from 0 on, or what else `next` makes of `all`. */
#define REDUCE(name, vector, type, part, next)                    \
    static inline type name(vector x) {                           \
        type all = part(x, 0);                                    \
        for (int i = 1; i < (int)(sizeof(x) / sizeof(type)); i++) \
            all = (next);                                         \
        return all;                                               \
    }

MAKE(shim_cvtepi32_ps, simde__m512, float, (simde__m512i x), (float)shim_i32(x, i))
MAKE(shim_cvtps_epi32, simde__m512i, int32_t, (simde__m512 x), (int32_t)lrintf(shim_f32(x, i)))
MAKE(shim_cvttps_epi32, simde__m512i, int32_t, (simde__m512 x), (int32_t)shim_f32(x, i))
MAKE(shim_cvtepu8_epi32, simde__m512i, int32_t, (__m128i x), shim_u8(x, i))
MAKE(shim_cvtepu16_epi32, simde__m512i, int32_t, (__m256i x), shim_u16(x, i))
MAKE(shim_cvtps_pd, simde__m512d, double, (__m256 x), (double)shim_half(x, i))
MAKE(shim_permute_ps, simde__m512, float, (simde__m512 x, int control),
     shim_f32(x, (i & ~3) + (control >> 2 * (i & 3) & 3)))
/* Quarters of a register: two of a, then two of b. */
MAKE(shim_shuffle_f32x4, simde__m512, float, (simde__m512 a, simde__m512 b, int control),
     shim_f32(i < 8 ? a : b, 4 * (control >> 2 * (i / 4) & 3) + i % 4))
MAKE(shim_maskz_loadu_ps, simde__m512, float, (uint16_t mask, const float *from),
     mask >> i & 1 ? from[i] : 0)
MAKE(shim_maskz_loadu_256, __m256, float, (uint8_t mask, const float *from),
     mask >> i & 1 ? from[i] : 0)
REDUCE(shim_reduce_add_ps, simde__m512, float, shim_f32, all + shim_f32(x, i))
REDUCE(shim_reduce_max_ps, simde__m512, float, shim_f32, fmaxf(all, shim_f32(x, i)))
REDUCE(shim_reduce_add_pd, simde__m512d, double, shim_f64, all + shim_f64(x, i))
REDUCE(shim_reduce_add_epi32, simde__m512i, int32_t, shim_i32, all + shim_i32(x, i))

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
#define _mm512_mask_cmp_ps_mask(k, a, b, op) ((k)&_mm512_cmp_ps_mask(a, b, op))

#endif
