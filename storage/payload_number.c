#include "storage/payload_value.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A key is the greatest double that is not above the number, in an order that memcmp sees, and how
 * far the number is above it: 0 for doubles, below 2,048 for integers of 64 bits (the distance of
 * neighbouring doubles just below 2^64). */

static uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static struct payload_number make_number(double below, uint64_t above, bool is_integer) {
    assert(isfinite(below) && above < 2048);
    uint64_t bits = double_bits(below == 0 ? 0.0 : below); /* -0 is 0 */
    bits = bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
    struct payload_number number = {.is_integer = is_integer};
    for (int i = 0; i < 8; i++)
        number.key[i] = (uint8_t)(bits >> (56 - 8 * i));
    number.key[8] = (uint8_t)(above >> 8);
    number.key[9] = (uint8_t)above;
    return number;
}

struct payload_number payload_number_from_u64(uint64_t value) {
    double below = (double)value;
    if (below >= 0x1p64 || (uint64_t)below > value)
        below = nextafter(below, 0.0);
    return make_number(below, value - (uint64_t)below, true);
}

struct payload_number payload_number_from_i64(int64_t value) {
    if (value >= 0)
        return payload_number_from_u64((uint64_t)value);
    double below = (double)value; /* at least -2^63, which is a double */
    if ((int64_t)below > value)
        below = nextafter(below, -INFINITY);
    return make_number(below, (uint64_t)value - (uint64_t)(int64_t)below, true);
}

struct payload_number payload_number_from_f64(double value) {
    return make_number(value, 0, false);
}

int payload_number_compare(const struct payload_number *a, const struct payload_number *b) {
    return memcmp(a->key, b->key, PAYLOAD_NUMBER_KEY);
}

/* ---- Texts ---------------------------------------------------------------------------------- */

enum {
    /* Digits that can decide how a decimal is rounded to a double: the longest halfway case has
     * 767. What follows only matters by being more than nothing. */
    DIGITS_MAX = 800,
    EXPONENT_MAX = 100000, /* far past where every double is 0 or infinite */
};

/* A number text taken apart. */
struct decimal {
    bool is_negative, has_fraction, has_exponent;
    const char *digits, *digits_end; /* may hold one point */
    int64_t exponent;                /* as written; saturates */
};

static struct decimal take_apart(const char *text, size_t length) {
    const char *at = text, *end = text + length;
    struct decimal decimal = {0};
    if (at < end && *at == '-') {
        decimal.is_negative = true;
        at++;
    }
    decimal.digits = at;
    while (at < end && ((*at >= '0' && *at <= '9') || *at == '.'))
        decimal.has_fraction |= *at++ == '.';
    decimal.digits_end = at;
    if (at == end || (*at | 0x20) != 'e')
        return decimal;
    decimal.has_exponent = true;
    at++;
    bool is_negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (decimal.exponent < EXPONENT_MAX)
            decimal.exponent = decimal.exponent * 10 + (*at - '0');
    }
    if (is_negative)
        decimal.exponent = -decimal.exponent;
    return decimal;
}

/* Reads the digits as one integer; false if it does not fit. *scale: how many stood after a
 * point. */
static bool whole_digits(const struct decimal *decimal, uint64_t *value, int64_t *scale) {
    bool is_after_point = false;
    *value = 0;
    *scale = 0;
    for (const char *at = decimal->digits; at < decimal->digits_end; at++) {
        if (*at == '.') {
            is_after_point = true;
            continue;
        }
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*at - '0'), value))
            return false;
        *scale += is_after_point;
    }
    return true;
}

/* Any decimal, correctly rounded by strtod(). It wants a NUL, and the text may be of any length, so
 * the digits that count are copied without their point. */
static double round_decimal(const struct decimal *decimal) {
    char buffer[DIGITS_MAX + 40];
    size_t used = 0;
    int64_t exponent = decimal->exponent;
    bool is_after_point = false, is_cut = false;
    for (const char *at = decimal->digits; at < decimal->digits_end; at++) {
        if (*at == '.') {
            is_after_point = true;
            continue;
        }
        exponent -= is_after_point;
        if (used == 0 && *at == '0')
            continue;
        if (used < DIGITS_MAX) {
            buffer[used++] = *at;
        } else {
            exponent++;
            is_cut |= *at != '0';
        }
    }
    if (used == 0)
        return 0.0;
    if (is_cut) {
        buffer[used++] = '1';
        exponent--;
    }
    buffer[used++] = 'e';
    if (exponent < 0)
        buffer[used++] = '-';
    uint64_t size = (uint64_t)(exponent < 0 ? -exponent : exponent);
    char reversed[20];
    size_t count = 0;
    do
        reversed[count++] = (char)('0' + size % 10);
    while (size /= 10);
    while (count)
        buffer[used++] = reversed[--count];
    buffer[used] = '\0';
    return strtod(buffer, NULL);
}

static double decimal_to_double(const struct decimal *decimal) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const int64_t powers_max = sizeof(powers) / sizeof(powers[0]) - 1;
    uint64_t digits;
    int64_t scale;
    double value;
    /* Clinger's fast path: both operands are exact, so one operation rounds correctly. */
    if (whole_digits(decimal, &digits, &scale) && digits <= UINT64_C(1) << 53 &&
        decimal->exponent - scale >= -powers_max && decimal->exponent - scale <= powers_max) {
        int64_t power = decimal->exponent - scale;
        value = power < 0 ? (double)digits / powers[-power] : (double)digits * powers[power];
    } else {
        value = round_decimal(decimal);
    }
    if (isinf(value))
        value = 0x1.fffffffffffffp1023; /* the nearest that is exact */
    return decimal->is_negative ? -value : value;
}

struct payload_number payload_number_from_text(const char *text, size_t length) {
    struct decimal decimal = take_apart(text, length);
    uint64_t size;
    int64_t scale;
    if (!decimal.has_fraction && !decimal.has_exponent && whole_digits(&decimal, &size, &scale)) {
        if (!decimal.is_negative)
            return payload_number_from_u64(size);
        if (size <= UINT64_C(1) << 63)
            return payload_number_from_i64((int64_t)(0 - size));
    }
    return payload_number_from_f64(decimal_to_double(&decimal));
}
