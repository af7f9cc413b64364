/* float_text.h -- the shortest decimal text that reads back as the same 32-bit float.
 *
 * Raffaello Giulietti's Schubfach ("The Schubfach way to render doubles", 2020), here for f32 with
 * a table of 64-bit powers of ten. Where several shortest texts would do, the one nearest to the
 * value is chosen. Pure functions, no allocation.
 */
#ifndef FLOAT_TEXT_H
#define FLOAT_TEXT_H

#include <stddef.h>

enum {
    FLOAT_TEXT_MAX = 32, /* room that any text fits in */
};

/* Writes a finite value as a JSON number with a fraction or an exponent ("1.0", "0.25", "1e30");
 * returns its length. No NUL is added. */
size_t float_text_write(float value, char out[FLOAT_TEXT_MAX]);

#endif
