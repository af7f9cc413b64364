#include "storage/log.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    _Atomic enum log_level level;
    atomic_bool as_json;
} settings = {.level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_configure(enum log_level level, bool as_json) {
    atomic_store(&settings.level, level);
    atomic_store(&settings.as_json, as_json);
}

bool log_is_on(enum log_level level) {
    return level <= atomic_load_explicit(&settings.level, memory_order_relaxed);
}

/* Length of the UTF-8 sequence at text, or 0 if it is none (overlong forms and surrogates too). */
static size_t sequence_length(const unsigned char *text, size_t length) {
    static const struct {
        unsigned char first_low, first_high, second_low, second_high;
        size_t length;
    } forms[] = {
        {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
        {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
        {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (text[0] < forms[i].first_low || text[0] > forms[i].first_high)
            continue;
        if (length < forms[i].length || text[1] < forms[i].second_low ||
            text[1] > forms[i].second_high)
            return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if ((text[k] & 0xC0) != 0x80)
                return 0;
        return forms[i].length;
    }
    return 0;
}

void log_escape(const char *text, size_t length, char *out, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        const unsigned char *at = (const unsigned char *)text + i;
        char piece[8];
        size_t taken = 1, piece_length = 1;
        if (*at == '"' || *at == '\\') {
            piece[0] = '\\';
            piece[1] = (char)*at;
            piece_length = 2;
        } else if (*at >= 0x20 && *at < 0x7F) {
            piece[0] = (char)*at;
        } else {
            taken = *at < 0x80 ? 0 : sequence_length(at, length - i);
            if (taken > 0) {
                memcpy(piece, at, taken);
                piece_length = taken;
            } else { /* as the code point of Latin-1: JSON knows no escape for a byte */
                piece_length = (size_t)snprintf(piece, sizeof(piece), "\\u%04x", *at);
                taken = 1;
            }
        }
        if (used + piece_length + 1 > size)
            break;
        memcpy(out + used, piece, piece_length);
        used += piece_length;
        i += taken;
    }
    out[used] = '\0';
}

void log_event(enum log_level level, const char *format, ...) {
    if (!log_is_on(level))
        return;
    char message[LOG_VALUE_MAX], escaped[2 * LOG_VALUE_MAX], line[LOG_LINE_MAX], stamp[40];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (length < 0)
        return;
    log_escape(message, strlen(message), escaped, sizeof(escaped));

    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(stamp + used, sizeof(stamp) - used, ".%03ldZ", now.tv_nsec / 1000000);

    const char *shape = atomic_load_explicit(&settings.as_json, memory_order_relaxed)
                            ? "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}\n"
                            : "%s %s %s\n";
    int n = snprintf(line, sizeof(line), shape, stamp, level_names[level], escaped);
    if (n <= 0)
        return;
    /* A log that cannot be written has nobody to tell. */
    ssize_t written = write(STDOUT_FILENO, line, (size_t)n);
    (void)written;
}
