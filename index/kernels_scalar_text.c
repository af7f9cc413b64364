/* Numbers out of text in plain C: eight digits at a time. */
#include "index/kernels.h"

#include <string.h>

enum {
    DIGITS_MAX = 19, /* any 19 digits fit in a u64 */
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first digit is the lowest byte");

static inline uint64_t load_eight(const char *at) {
    uint64_t bytes;
    memcpy(&bytes, at, sizeof(bytes));
    return bytes;
}

/* How many of eight bytes are digits, from the first on. */
static inline unsigned count_digits(uint64_t bytes) {
    uint64_t size =
        bytes ^ 0x3030303030303030u; /* of a digit: 0 to 9, so 0x76 more sets no bit 7 */
    uint64_t others =
        (((size & 0x7f7f7f7f7f7f7f7fu) + 0x7676767676767676u) | size) & 0x8080808080808080u;
    return others == 0 ? 8 : (unsigned)__builtin_ctzll(others) / 8;
}

/* Eight digits at once: pairs, then fours, then all, three multiplications instead of eight. */
static inline uint32_t eight_digits(uint64_t bytes) {
    bytes -= 0x3030303030303030u;
    bytes = bytes * 10 + (bytes >> 8);
    const uint64_t mask = 0x000000ff000000ffu;
    return (uint32_t)(((bytes & mask) * (100 + (1000000ull << 32)) +
                       (bytes >> 16 & mask) * (1 + (10000ull << 32))) >>
                      32);
}

/* The first count of eight bytes as a number; count < 8. */
static inline uint32_t some_digits(uint64_t bytes, unsigned count) {
    uint64_t zeros = UINT64_C(0x3030303030303030) >> (8 * count);
    return eight_digits(bytes << 8 << (56 - 8 * count) | zeros);
}

/* Digits are not looked at one by one, since where they end is what a processor cannot foretell.
 * NULL: it has another form. Else where it ends. */
static inline const char *read_decimal(const char *at, struct kernel_decimal *decimal) {
    static const uint32_t powers[8] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};
    decimal->is_negative = *at == '-';
    at += decimal->is_negative;
    if ((unsigned char)(at[0] - '0') > 9 || at[1] != '.')
        return NULL;
    uint64_t digits = (uint64_t)(at[0] - '0');
    unsigned places_max = DIGITS_MAX - (digits > 0);
    at += 2;
    uint64_t bytes = load_eight(at);
    unsigned count = count_digits(bytes), eights = 0;
    while (count == 8) {
        if (++eights == 3)
            return NULL;
        digits = digits * 100000000 + eight_digits(bytes);
        bytes = load_eight(at + eights * 8);
        count = count_digits(bytes);
    }
    unsigned places = eights * 8 + count;
    if (places == 0 || places > places_max)
        return NULL;
    if (count > 0)
        digits = digits * powers[count] + some_digits(bytes, count);
    decimal->digits = digits;
    decimal->places = (uint8_t)places;
    return at + places;
}

size_t kernels_scalar_decimals(const char *text, const char *end, struct kernel_decimal *decimals,
                               size_t max, const char **behind) {
    const char *at = text;
    size_t count = 0;
    for (; count < max && end - at > KERNELS_DECIMAL_MARGIN; count++) {
        const char *begin = at + (*at == ' ');
        const char *stop = read_decimal(begin, &decimals[count]);
        if (!stop || *stop != ',')
            break;
        decimals[count].begin = (uint32_t)(begin - text);
        at = stop + 1;
    }
    *behind = at;
    return count;
}
