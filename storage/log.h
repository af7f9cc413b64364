/* log.h -- one line an event on standard output, as text or as JSON.
 *
 * A line is made in a buffer of the caller's stack and written with one write(), so lines of
 * different threads do not mix. Control bytes, quotes and invalid UTF-8 are escaped; a value is cut
 * at LOG_VALUE_MAX bytes. Never give it keys, tokens or vectors. Any thread; no lock may be held.
 */
#ifndef LOG_H
#define LOG_H

#include "index/status.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    LOG_VALUE_MAX = 512,
    LOG_LINE_MAX = 4096,
};

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* Before any thread is started. Default: info, text. */
void log_configure(enum log_level level, bool as_json);

/* True if lines of this level are written. */
bool log_is_on(enum log_level level);

/* Writes one event; the message is a short sentence made by printf's rules. */
void log_event(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

/* Escapes text into out (size >= 1, always NUL-terminated) the way the lines above do. */
void log_escape(const char *text, size_t length, char *out, size_t size);

#endif
