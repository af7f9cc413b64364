#include "api/float_text.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    POWER_MIN = -31, /* of ten, in the table */
    POWER_MAX = 45,
    MANTISSA_BITS = 23,
    EXPONENT_BIAS = 127 + MANTISSA_BITS,
    PLAIN_EXPONENT_MIN = -6, /* 0.000001 is written plainly, 0.0000001 as 1e-7 */
    PLAIN_EXPONENT_MAX = 16, /* and 1e16 so again */
};

/* 10^k scaled to 64 bits with the top one set, rounded up. */
static const uint64_t powers_of_ten[POWER_MAX - POWER_MIN + 1] = {
    0x81ceb32c4b43fcf5, 0xa2425ff75e14fc32, 0xcad2f7f5359a3b3f, 0xfd87b5f28300ca0e,
    0x9e74d1b791e07e49, 0xc612062576589ddb, 0xf79687aed3eec552, 0x9abe14cd44753b53,
    0xc16d9a0095928a28, 0xf1c90080baf72cb2, 0x971da05074da7bef, 0xbce5086492111aeb,
    0xec1e4a7db69561a6, 0x9392ee8e921d5d08, 0xb877aa3236a4b44a, 0xe69594bec44de15c,
    0x901d7cf73ab0acda, 0xb424dc35095cd810, 0xe12e13424bb40e14, 0x8cbccc096f5088cc,
    0xafebff0bcb24aaff, 0xdbe6fecebdedd5bf, 0x89705f4136b4a598, 0xabcc77118461cefd,
    0xd6bf94d5e57a42bd, 0x8637bd05af6c69b6, 0xa7c5ac471b478424, 0xd1b71758e219652c,
    0x83126e978d4fdf3c, 0xa3d70a3d70a3d70b, 0xcccccccccccccccd, 0x8000000000000000,
    0xa000000000000000, 0xc800000000000000, 0xfa00000000000000, 0x9c40000000000000,
    0xc350000000000000, 0xf424000000000000, 0x9896800000000000, 0xbebc200000000000,
    0xee6b280000000000, 0x9502f90000000000, 0xba43b74000000000, 0xe8d4a51000000000,
    0x9184e72a00000000, 0xb5e620f480000000, 0xe35fa931a0000000, 0x8e1bc9bf04000000,
    0xb1a2bc2ec5000000, 0xde0b6b3a76400000, 0x8ac7230489e80000, 0xad78ebc5ac620000,
    0xd8d726b7177a8000, 0x878678326eac9000, 0xa968163f0a57b400, 0xd3c21bcecceda100,
    0x84595161401484a0, 0xa56fa5b99019a5c8, 0xcecb8f27f4200f3a, 0x813f3978f8940985,
    0xa18f07d736b90be6, 0xc9f2c9cd04674edf, 0xfc6f7c4045812297, 0x9dc5ada82b70b59e,
    0xc5371912364ce306, 0xf684df56c3e01bc7, 0x9a130b963a6c115d, 0xc097ce7bc90715b4,
    0xf0bdc21abb48db21, 0x96769950b50d88f5, 0xbc143fa4e250eb32, 0xeb194f8e1ae525fe,
    0x92efd1b8d0cf37bf, 0xb7abc627050305ae, 0xe596b7b0c643c71a, 0x8f7e32ce7bea5c70,
    0xb35dbf821ae4f38c,
};

struct decimal {
    uint32_t digits;
    int exponent; /* the value is digits * 10^exponent */
};

/* Divisions rounded down by shifts: the factors are 2^22 log10(2) and 2^19 log2(10); they hold for
 * every exponent of f32. */
static int floor_log10_power2(int exponent, bool is_three_quarters) {
    return (exponent * 1262611 - (is_three_quarters ? 524031 : 0)) >> 22;
}

static int floor_log2_power10(int exponent) {
    return (exponent * 1741647) >> 19;
}

/* The upper half of the product; a bit that was lost below makes it odd. */
static uint32_t round_to_odd(uint64_t power, uint32_t value) {
    uint64_t high = (power >> 32) * value, low = (power & 0xffffffff) * value;
    uint64_t sum = high + (low >> 32);
    return (uint32_t)(sum >> 32) | ((uint32_t)sum > 1);
}

/* The shortest decimal within the interval that rounds to c * 2^q. */
static struct decimal shortest(uint32_t c, int q, bool is_power_of_two) {
    /* Bounds of the interval, in quarters; below a power of two the neighbour is nearer. */
    uint32_t left = 4 * c - 2 + is_power_of_two, middle = 4 * c, right = 4 * c + 2;
    int k = floor_log10_power2(q, is_power_of_two);
    int shift = q + floor_log2_power10(-k) + 1;
    assert(-k >= POWER_MIN && -k <= POWER_MAX);
    uint64_t power = powers_of_ten[-k - POWER_MIN];
    uint32_t is_odd = c & 1; /* ties go to even, so the bounds belong to an even c only */
    uint32_t lower = round_to_odd(power, left << shift) + is_odd;
    uint32_t value = round_to_odd(power, middle << shift);
    uint32_t upper = round_to_odd(power, right << shift) - is_odd;
    uint32_t s = value / 4;
    if (s >= 10) {
        uint32_t tens = s / 10;
        bool below = lower <= 40 * tens, above = 40 * tens + 40 <= upper;
        if (below != above)
            return (struct decimal){tens + above, k + 1};
    }
    bool below = lower <= 4 * s, above = 4 * s + 4 <= upper;
    if (below != above)
        return (struct decimal){s + above, k};
    uint32_t half = 4 * s + 2;
    bool rounds_up = value > half || (value == half && (s & 1) != 0);
    return (struct decimal){s + rounds_up, k};
}

static struct decimal to_decimal(uint32_t bits) {
    uint32_t mantissa = bits & ((1u << MANTISSA_BITS) - 1);
    uint32_t exponent = bits >> MANTISSA_BITS & 0xff;
    if (exponent == 0)
        return shortest(mantissa, 1 - EXPONENT_BIAS, false);
    uint32_t c = mantissa | 1u << MANTISSA_BITS;
    int q = (int)exponent - EXPONENT_BIAS;
    /* A whole number of up to 24 bits is its own shortest text but for trailing zeros. */
    if (q <= 0 && q > -24 && (c & ((1u << -q) - 1)) == 0)
        return (struct decimal){c >> -q, 0};
    return shortest(c, q, mantissa == 0 && exponent > 1);
}

static char *put_zeros(char *out, int count) {
    memset(out, '0', (size_t)count);
    return out + count;
}

static char *put_digits(char *out, const char *digits, int count) {
    memcpy(out, digits, (size_t)count);
    return out + count;
}

static char *put_scientific(char *out, const char *digits, int count, int exponent) {
    *out++ = digits[0];
    if (count > 1) {
        *out++ = '.';
        out = put_digits(out, digits + 1, count - 1);
    }
    *out++ = 'e';
    if (exponent < 0)
        *out++ = '-';
    unsigned size = (unsigned)(exponent < 0 ? -exponent : exponent);
    if (size >= 10)
        *out++ = (char)('0' + size / 10);
    *out++ = (char)('0' + size % 10);
    return out;
}

/* exponent: of the first digit. */
static char *put_plain(char *out, const char *digits, int count, int exponent) {
    if (exponent < 0) {
        *out++ = '0';
        *out++ = '.';
        out = put_zeros(out, -1 - exponent);
        return put_digits(out, digits, count);
    }
    int whole = exponent + 1;
    if (count <= whole) {
        out = put_digits(out, digits, count);
        out = put_zeros(out, whole - count);
        *out++ = '.';
        *out++ = '0';
        return out;
    }
    out = put_digits(out, digits, whole);
    *out++ = '.';
    return put_digits(out, digits + whole, count - whole);
}

size_t float_text_write(float value, char out[FLOAT_TEXT_MAX]) {
    uint32_t bits;
    char digits[16], *at = out;
    int count = 0;
    assert(isfinite(value));
    memcpy(&bits, &value, sizeof(bits));
    if (bits >> 31)
        *at++ = '-';
    if (bits << 1 == 0) {
        *at++ = '0';
        *at++ = '.';
        *at++ = '0';
        return (size_t)(at - out);
    }
    struct decimal decimal = to_decimal(bits);
    for (; decimal.digits % 10 == 0; decimal.digits /= 10)
        decimal.exponent++;
    for (uint32_t rest = decimal.digits; rest > 0; rest /= 10)
        digits[sizeof(digits) - 1 - (size_t)count++] = (char)('0' + rest % 10);
    const char *first = digits + sizeof(digits) - count;
    int exponent = decimal.exponent + count - 1;
    if (exponent < PLAIN_EXPONENT_MIN || exponent >= PLAIN_EXPONENT_MAX)
        at = put_scientific(at, first, count, exponent);
    else
        at = put_plain(at, first, count, exponent);
    return (size_t)(at - out);
}
