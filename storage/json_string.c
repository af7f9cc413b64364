#include "storage/json_string.h"

#include <assert.h>
#include <string.h>

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

static bool is_continuation(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t json_string_utf8(const char *at, const char *end) {
    if (at == end)
        return 0;
    unsigned char first = (unsigned char)*at;
    if (first < 0x80)
        return 1;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < length)
        return 0;
    unsigned char second = (unsigned char)at[1];
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (!is_continuation(at[i]))
            return 0;
    }
    return length;
}

static char *put_utf8(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* ---- Escapes --------------------------------------------------------------------------------- */

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The code unit of "\uXXXX" at `at`, or -1. */
static int32_t unicode_escape(const char *at, const char *end) {
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    int32_t code = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_value(at[i]);
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

/* Reads the escape that begins with the backslash at `at`; returns its length, 0 if malformed. */
static size_t escape_read(const char *at, const char *end, uint32_t *code) {
    static const char plain[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    if (end - at < 2)
        return 0;
    for (const char *pair = plain; *pair; pair += 2) {
        if (*pair == at[1]) {
            *code = (unsigned char)pair[1];
            return 2;
        }
    }
    int32_t high = unicode_escape(at, end);
    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return 0;
    *code = (uint32_t)high;
    if (high < 0xd800 || high > 0xdbff)
        return 6;
    int32_t low = unicode_escape(at + 6, end);
    if (low < 0xdc00 || low > 0xdfff)
        return 0;
    *code = 0x10000u + ((uint32_t)high - 0xd800u) * 0x400u + ((uint32_t)low - 0xdc00u);
    return 12;
}

/* ---- Strings --------------------------------------------------------------------------------- */

/* True if one of the eight bytes is not plain: a quote, a backslash, a control character or not
 * ASCII. It may say so wrongly of bytes above such a one, which costs time only. */
static bool has_special(uint64_t bytes) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = bytes ^ ones * '"', backslash = bytes ^ ones * '\\';
    return ((bytes | (bytes - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops) != 0;
}

static bool is_plain(char c) {
    return c >= 0x20 && (signed char)c >= 0 && c != '"' && c != '\\';
}

size_t json_string_plain(const char *at, const char *end) {
    const char *start = at;
    uint64_t bytes;
    for (; end - at >= 8; at += 8) {
        memcpy(&bytes, at, sizeof(bytes));
        if (has_special(bytes))
            break;
    }
    while (at < end && is_plain(*at))
        at++;
    return (size_t)(at - start);
}

const char *json_string_end(const char *at, const char *end, bool *has_escapes, const char **bad,
                            const char **reason) {
    *has_escapes = false;
    *reason = "unterminated string";
    while (at < end && *at != '"') {
        uint64_t bytes;
        if (end - at >= 8) {
            memcpy(&bytes, at, sizeof(bytes));
            if (!has_special(bytes)) {
                at += 8;
                continue;
            }
        }
        size_t step;
        uint32_t code;
        *bad = at;
        if (*at == '\\') {
            *has_escapes = true;
            step = escape_read(at, end, &code);
            *reason = "malformed escape in a string";
        } else if ((unsigned char)*at < 0x20) {
            step = 0;
            *reason = "bare control character in a string";
        } else {
            step = json_string_utf8(at, end);
            *reason = "a string is not valid UTF-8";
        }
        if (step == 0)
            return NULL;
        at += step;
    }
    *bad = end;
    if (at >= end) {
        *reason = "unterminated string";
        return NULL;
    }
    return at;
}

size_t json_string_decode(const char *at, const char *end, char *out) {
    char *start = out;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((escape ? escape : end) - at);
        memcpy(out, at, plain);
        out += plain;
        at += plain;
        if (at < end) {
            uint32_t code;
            size_t step = escape_read(at, end, &code);
            assert(step > 0);
            out = put_utf8(out, code);
            at += step;
        }
    }
    return (size_t)(out - start);
}
