#include "storage/utf8.h"

#include <stdint.h>
#include <string.h>

static bool is_continuation(unsigned char byte) {
    return (byte & 0xc0) == 0x80;
}

/* Length of the character at `at`, or 0 if it is not well-formed. */
static size_t character_length(const unsigned char *at, size_t room) {
    unsigned char first = at[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || room < 2 || !is_continuation(at[1]))
        return 0;
    if (first < 0xe0)
        return 2;
    if (room < 3 || !is_continuation(at[2]))
        return 0;
    if (first == 0xe0)
        return at[1] >= 0xa0 ? 3 : 0; /* below: overlong */
    if (first == 0xed)
        return at[1] < 0xa0 ? 3 : 0; /* above: surrogates */
    if (first < 0xf0)
        return 3;
    if (room < 4 || !is_continuation(at[3]))
        return 0;
    if (first == 0xf0)
        return at[1] >= 0x90 ? 4 : 0; /* below: overlong */
    if (first == 0xf4)
        return at[1] < 0x90 ? 4 : 0; /* above: past U+10FFFF */
    return first < 0xf4 ? 4 : 0;
}

bool utf8_is_valid(const char *text, size_t length) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    while (at < end) {
        /* Eight ASCII bytes at a time: most texts are nothing else. */
        uint64_t word;
        if ((size_t)(end - at) >= sizeof(word)) {
            memcpy(&word, at, sizeof(word));
            if (!(word & UINT64_C(0x8080808080808080))) {
                at += sizeof(word);
                continue;
            }
        }
        size_t size = character_length(at, (size_t)(end - at));
        if (!size)
            return false;
        at += size;
    }
    return true;
}
