/* code_row.h -- writing a row of codes, and reading a block of it, where no kernel is worth it.
 *
 * How rows lie, and what `pairs` are, is told in kernels.h. width: bytes of a row. Memory is the
 * caller's; nothing fails.
 */
#ifndef CODE_ROW_H
#define CODE_ROW_H

#include "index/kernels.h"

/* codes: `width` numbers from -127 to 127. */
void code_row_write(const int8_t *codes, size_t width, size_t pairs, uint8_t *row);

/* The numbers first .. first + KERNELS_BLOCK - 1; first is a multiple of KERNELS_BLOCK. */
void code_row_read(const uint8_t *row, size_t width, size_t pairs, size_t first,
                   int8_t codes[KERNELS_BLOCK]);

#endif
