/* base64.h -- RFC 4648 base64, standard alphabet, as OpenAI's API sends vectors. */
#ifndef BASE64_H
#define BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* How many bytes the text decodes to; false if it cannot be base64: its length (padded to a
 * multiple of four) or its padding is wrong. */
bool base64_decoded_length(const char *text, size_t length, size_t *bytes);

/* Decodes into out, which has room for base64_decoded_length() bytes. False if a character is not
 * of the alphabet or unused bits are set. */
bool base64_decode(const char *text, size_t length, void *out);

#endif
