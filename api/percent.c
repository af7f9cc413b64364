#include "api/percent.h"

#include "storage/utf8.h"

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool percent_decode(const char *text, size_t length, bool is_query, struct arena *arena,
                    char **decoded) {
    char *out = arena_alloc(arena, length + 1);
    size_t used = 0;
    *decoded = out;
    if (!out)
        return true;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '%') {
            int high = length - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = length - i > 2 ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && is_query) {
            c = ' ';
        }
        if (c == '\0')
            return false;
        out[used++] = c;
    }
    out[used] = '\0';
    return utf8_is_valid(out, used);
}
