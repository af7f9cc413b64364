#include "storage/base64.h"

#include <stdint.h>

/* The value of each letter and one more, so that 0 is what is not of the alphabet. */
static const uint8_t letters[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

/* Four letters are 24 bits. False if one is no letter. */
static bool decode_word(const unsigned char *in, uint32_t *word) {
    uint32_t a = letters[in[0]], b = letters[in[1]], c = letters[in[2]], d = letters[in[3]];
    *word = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
    return a && b && c && d;
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
    uint32_t word;
    if (!base64_decoded_length(text, length, &bytes))
        return false;
    unsigned char *at = out;
    const unsigned char *in = (const unsigned char *)text;
    for (size_t i = 0; i < bytes / 3; i++, in += 4) {
        if (!decode_word(in, &word))
            return false;
        *at++ = (unsigned char)(word >> 16);
        *at++ = (unsigned char)(word >> 8);
        *at++ = (unsigned char)word;
    }
    size_t rest = bytes % 3;
    if (rest == 0)
        return true;
    /* 'A' is six zero bits: what the padding stands for. */
    const unsigned char last[4] = {in[0], in[1], rest == 2 ? in[2] : 'A', 'A'};
    if (!decode_word(last, &word))
        return false;
    *at++ = (unsigned char)(word >> 16);
    if (rest == 2)
        *at++ = (unsigned char)(word >> 8);
    return (word & (rest == 2 ? 0xffu : 0xffffu)) == 0;
}
