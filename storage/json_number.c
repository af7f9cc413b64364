#include "storage/json_number.h"

#include "index/kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIGITS_MAX = 19,        /* any 19 digits fit in a u64 */
    POWERS_COUNT = 65,      /* 10^0 .. 10^64 */
    POWERS_EXACT = 22,      /* the largest power of ten that a double holds exactly */
    FALLBACK_DIGITS = 1024, /* more than the 767 that may decide how a double is rounded */
    FALLBACK_TEXT_BYTES = FALLBACK_DIGITS + 32,
    USUAL_BATCH = 64, /* numbers of the usual form that are read at once */
};

/* More places than a body has bytes: what is larger than this is as good as infinite. */
#define EXPONENT_MAX INT64_C(1000000000000)

/* Each is the double nearest to its power of ten. */
static const double powers_of_ten[POWERS_COUNT] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11, 1e12,
    1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25,
    1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38,
    1e39, 1e40, 1e41, 1e42, 1e43, 1e44, 1e45, 1e46, 1e47, 1e48, 1e49, 1e50, 1e51,
    1e52, 1e53, 1e54, 1e55, 1e56, 1e57, 1e58, 1e59, 1e60, 1e61, 1e62, 1e63, 1e64,
};

/* ---- Scanning -------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return (unsigned char)(c - '0') < 10;
}

/* True if all eight bytes are digits: adding 6 to the low half carries only beyond '9'. */
static bool are_eight_digits(uint64_t bytes) {
    return (bytes & 0xf0f0f0f0f0f0f0f0u) == 0x3030303030303030u &&
           ((bytes + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u) == 0x3030303030303030u;
}

/* Eight digits at once: pairs, then fours, then all, three multiplications instead of eight. */
static uint32_t eight_digits(uint64_t bytes) {
    bytes -= 0x3030303030303030u;
    bytes = bytes * 10 + (bytes >> 8);
    const uint64_t mask = 0x000000ff000000ffu;
    return (uint32_t)(((bytes & mask) * (100 + (1000000ull << 32)) +
                       (bytes >> 16 & mask) * (1 + (10000ull << 32))) >>
                      32);
}

static bool is_little_endian(void) {
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
}

static const char *scan_digits(const char *at, const char *end, uint64_t *digits) {
    uint64_t value = *digits;
    while (is_little_endian() && end - at >= 8) {
        uint64_t bytes;
        memcpy(&bytes, at, sizeof(bytes));
        if (!are_eight_digits(bytes))
            break;
        value = value * 100000000u + eight_digits(bytes);
        at += 8;
    }
    while (at < end && is_digit(*at))
        value = value * 10 + (uint64_t)(*at++ - '0');
    *digits = value;
    return at;
}

/* Reads what follows 'e'; returns NULL if there is no digit. */
static const char *scan_exponent(const char *at, const char *end, int64_t *exponent) {
    bool is_negative = at < end && *at == '-';
    if (at < end && (*at == '+' || *at == '-'))
        at++;
    if (at == end || !is_digit(*at))
        return NULL;
    int64_t value = 0;
    for (; at < end && is_digit(*at); at++) {
        if (value < EXPONENT_MAX)
            value = value * 10 + (*at - '0');
    }
    *exponent += is_negative ? -value : value;
    return at;
}

/* The first 19 significant digits of a text that has more, and the places of the rest. */
static void scan_again(const char *at, const char *end, struct json_number *number) {
    int count = 0;
    number->digits = 0;
    for (; at < end; at++) {
        if (*at == '.' || (count == 0 && *at == '0'))
            continue;
        if (count < DIGITS_MAX) {
            number->digits = number->digits * 10 + (uint64_t)(*at - '0');
            count++;
        } else {
            number->is_truncated = number->is_truncated || *at != '0';
            number->exponent++;
        }
    }
}

const char *json_number_scan(const char *at, const char *end, struct json_number *number) {
    *number = (struct json_number){.is_integer = true};
    if (at < end && *at == '-') {
        number->is_negative = true;
        at++;
    }
    const char *start = at;
    at = scan_digits(at, end, &number->digits);
    ptrdiff_t count = at - start;
    if (count == 0 || (*start == '0' && count > 1))
        return NULL;
    if (at < end && *at == '.') {
        const char *fraction = at + 1;
        at = scan_digits(fraction, end, &number->digits);
        if (at == fraction)
            return NULL;
        number->is_integer = false;
        count += at - fraction;
        number->exponent = fraction - at;
    }
    if (count > DIGITS_MAX)
        scan_again(start, at, number);
    if (at < end && (*at == 'e' || *at == 'E')) {
        number->is_integer = false;
        at = scan_exponent(at + 1, end, &number->exponent);
    }
    return at;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* strtod() and strtof() need a NUL that the text may not have. The number is written anew as
 * 0.DIGITSeEXPONENT; of very many digits those that are cut off become one that says "a little
 * more", which is all that rounding can ask of them. */
static void fallback_text(const char *text, size_t length, char out[FALLBACK_TEXT_BYTES]) {
    const char *at = text, *end = text + length;
    size_t used = 0, digits = 0;
    int64_t places = 0, exponent = 0; /* places: where the point stands after the first digit */
    bool in_fraction = false, is_cut = false;
    if (*at == '-')
        out[used++] = *at++;
    out[used++] = '0';
    out[used++] = '.';
    for (; at < end && (is_digit(*at) || *at == '.'); at++) {
        bool is_leading_zero = digits == 0 && *at == '0';
        if (*at == '.') {
            in_fraction = true;
            continue;
        }
        if (in_fraction == is_leading_zero)
            places += in_fraction ? -1 : 1;
        if (is_leading_zero)
            continue;
        if (digits++ < FALLBACK_DIGITS)
            out[used++] = *at;
        else
            is_cut = is_cut || *at != '0';
    }
    out[used++] = is_cut ? '1' : '0';
    if (at < end)
        (void)scan_exponent(at + 1, end, &exponent);
    (void)snprintf(out + used, FALLBACK_TEXT_BYTES - used, "e%" PRId64, places + exponent);
}

static bool slow_f32(const char *text, size_t length, float *value) {
    char copy[FALLBACK_TEXT_BYTES];
    fallback_text(text, length, copy);
    *value = strtof(copy, NULL);
    return isfinite(*value);
}

static bool slow_f64(const char *text, size_t length, double *value) {
    char copy[FALLBACK_TEXT_BYTES];
    fallback_text(text, length, copy);
    *value = strtod(copy, NULL);
    return isfinite(*value);
}

/* Rounds a double that is within 4 units of its last place of the true value: digits to double, the
 * power and the product are each off by half a unit at most, and so is a 20th digit. Rounding it
 * to f32 drops 29 bits; only if these lie within 8 units of one half could the true value be on
 * the other side (one in 3 * 10^7 of random values). Then it returns false. */
static inline bool round_to_f32(double wide, bool is_negative, float *value) {
    uint64_t bits;
    memcpy(&bits, &wide, sizeof(bits));
    uint32_t dropped = (uint32_t)bits & 0x1fffffff;
    bool is_near_half = dropped - (0x10000000 - 8) <= 16;
    /* Below the smallest normal f32 other bits are dropped; near the largest it may overflow. */
    if (is_near_half || wide < 0x1p-126 || wide > 0x1.fffffep127)
        return false;
    /* The sign is as good as random, so it is not asked for by a jump. */
    uint32_t rounded;
    *value = (float)wide;
    memcpy(&rounded, value, sizeof(rounded));
    rounded |= (uint32_t)is_negative << 31;
    memcpy(value, &rounded, sizeof(rounded));
    return true;
}

bool json_number_to_f32(const struct json_number *number, const char *text, size_t length,
                        float *value) {
    if (number->digits == 0) {
        *value = number->is_negative ? -0.0f : 0.0f;
        return true;
    }
    int64_t exponent = number->exponent;
    if (exponent >= POWERS_COUNT || exponent <= -POWERS_COUNT)
        return slow_f32(text, length, value);
    double wide = exponent < 0 ? (double)number->digits / powers_of_ten[-exponent]
                               : (double)number->digits * powers_of_ten[exponent];
    return round_to_f32(wide, number->is_negative, value) || slow_f32(text, length, value);
}

const char *json_number_read_usual(const char *at, const char *end, float *values, size_t max,
                                   size_t *count) {
    const struct kernels *kernels = kernels_get();
    struct kernel_decimal decimals[USUAL_BATCH];
    size_t found;
    *count = 0;
    do {
        size_t room = max - *count < USUAL_BATCH ? max - *count : USUAL_BATCH;
        const char *behind;
        found = kernels->decimals(at, end, decimals, room, &behind);
        for (size_t i = 0; i < found; i++) {
            const struct kernel_decimal *decimal = &decimals[i];
            /* 0 is none of the values that are rounded here, but exact. */
            double wide = (double)decimal->digits / powers_of_ten[decimal->places];
            if (decimal->digits == 0)
                values[*count] = decimal->is_negative ? -0.0f : 0.0f;
            else if (!round_to_f32(wide, decimal->is_negative, &values[*count]))
                return at + decimal->begin;
            (*count)++;
        }
        at = behind;
    } while (found == USUAL_BATCH && *count < max);
    return at;
}

/* Clinger's fast path: digits and power are exact, so their quotient or product is rounded once. */
bool json_number_to_f64(const struct json_number *number, const char *text, size_t length,
                        double *value) {
    int64_t exponent = number->exponent;
    if (number->digits == 0) {
        *value = number->is_negative ? -0.0 : 0.0;
        return true;
    }
    if (number->is_truncated || number->digits > UINT64_C(1) << 53 || exponent > POWERS_EXACT ||
        exponent < -POWERS_EXACT)
        return slow_f64(text, length, value);
    double wide = (double)number->digits;
    wide = exponent < 0 ? wide / powers_of_ten[-exponent] : wide * powers_of_ten[exponent];
    *value = number->is_negative ? -wide : wide;
    return true;
}

/* The magnitude of a whole number; false if it does not fit 64 bits. */
static bool magnitude(const struct json_number *number, const char *text, size_t length,
                      uint64_t *value) {
    if (!number->is_integer)
        return false;
    size_t sign = number->is_negative;
    *value = number->digits;
    if (length - sign <= DIGITS_MAX)
        return true;
    /* Twenty digits may still fit; the grammar forbids leading zeros. */
    if (length - sign > DIGITS_MAX + 1)
        return false;
    uint64_t last = (uint64_t)(text[length - 1] - '0');
    return !__builtin_mul_overflow(number->digits, (uint64_t)10, value) &&
           !__builtin_add_overflow(*value, last, value);
}

bool json_number_to_u64(const struct json_number *number, const char *text, size_t length,
                        uint64_t *value) {
    return !number->is_negative && magnitude(number, text, length, value);
}

bool json_number_to_i64(const struct json_number *number, const char *text, size_t length,
                        int64_t *value) {
    uint64_t size;
    if (!magnitude(number, text, length, &size))
        return false;
    if (size > (uint64_t)INT64_MAX + number->is_negative)
        return false;
    *value = (int64_t)(number->is_negative ? 0 - size : size);
    return true;
}
