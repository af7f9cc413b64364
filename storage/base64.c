#include "storage/base64.h"

#include <stdint.h>

/* The value of each letter. */
enum {
    LETTERS = 64,
    NO = 0xff, /* what is not of the alphabet */
};

static const uint8_t letters[256] = {
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 62, NO, NO, NO, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, NO, NO, NO, NO, NO, NO, NO, 0,  1,  2,  3,  4,  5,  6,
    7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, NO, NO, NO, NO, NO,
    NO, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48,
    49, 50, 51, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
};

/* Four letters are 24 bits. *others gets bits above the low six if one is no letter. */
static inline uint32_t decode_word(const unsigned char *in, uint32_t *others) {
    uint32_t a = letters[in[0]], b = letters[in[1]], c = letters[in[2]], d = letters[in[3]];
    *others |= a | b | c | d;
    return a << 18 | b << 12 | c << 6 | d;
}

bool base64_decoded_length(const char *text, size_t length, size_t *bytes) {
    size_t padding = 0;
    if (length % 4 != 0)
        return false;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
        padding++;
    *bytes = length / 4 * 3 - padding;
    return true;
}

bool base64_decode(const char *text, size_t length, void *out) {
    size_t bytes;
    if (!base64_decoded_length(text, length, &bytes))
        return false;
    unsigned char *at = out;
    const unsigned char *in = (const unsigned char *)text;
    uint32_t others = 0; /* asked at the end: letters that are none are rare */
    for (size_t i = 0; i < bytes / 3; i++, in += 4) {
        uint32_t word = decode_word(in, &others);
        *at++ = (unsigned char)(word >> 16);
        *at++ = (unsigned char)(word >> 8);
        *at++ = (unsigned char)word;
    }
    size_t rest = bytes % 3;
    if (rest == 0)
        return others < LETTERS;
    /* 'A' is six zero bits: what the padding stands for. */
    const unsigned char last[4] = {in[0], in[1], rest == 2 ? in[2] : 'A', 'A'};
    uint32_t word = decode_word(last, &others);
    *at++ = (unsigned char)(word >> 16);
    if (rest == 2)
        *at++ = (unsigned char)(word >> 8);
    return others < LETTERS && (word & (rest == 2 ? 0xffu : 0xffffu)) == 0;
}
