#include "index/code_row.h"

enum {
    PAIR = 2 * KERNELS_BLOCK
};

void code_row_write(const int8_t *codes, size_t width, size_t pairs, uint8_t *row) {
    size_t at = kernels_split_at(width, pairs);
    for (size_t i = 0; i < at; i++)
        row[i] = (uint8_t)(codes[i] + 128);
    uint8_t *upper = row + at, *lower = upper + pairs * KERNELS_BLOCK;
    for (size_t i = at; i < width; i += PAIR) {
        for (size_t j = 0; j < KERNELS_BLOCK; j++) {
            unsigned first = (unsigned)(codes[i + j] + 128);
            unsigned second = (unsigned)(codes[i + KERNELS_BLOCK + j] + 128);
            upper[j] = (uint8_t)((first & 0xf0) | second >> 4);
            lower[j] = (uint8_t)(first << 4 | (second & 0x0f));
        }
        upper += KERNELS_BLOCK;
        lower += KERNELS_BLOCK;
    }
}

void code_row_read(const uint8_t *row, size_t width, size_t pairs, size_t first,
                   int8_t codes[KERNELS_BLOCK]) {
    size_t at = kernels_split_at(width, pairs);
    if (first < at) {
        for (size_t j = 0; j < KERNELS_BLOCK; j++)
            codes[j] = (int8_t)(row[first + j] - 128);
        return;
    }
    const uint8_t *upper = row + at + (first - at) / PAIR * KERNELS_BLOCK;
    const uint8_t *lower = upper + pairs * KERNELS_BLOCK;
    if ((first - at) % PAIR == 0) {
        for (size_t j = 0; j < KERNELS_BLOCK; j++)
            codes[j] = (int8_t)(((upper[j] & 0xf0) | lower[j] >> 4) - 128);
    } else {
        for (size_t j = 0; j < KERNELS_BLOCK; j++)
            codes[j] = (int8_t)(((upper[j] << 4 & 0xf0) | (lower[j] & 0x0f)) - 128);
    }
}
