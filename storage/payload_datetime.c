#include "storage/payload_value.h"

#include <string.h>

/* A text that is read from left to right. */
struct cursor {
    const char *at, *end;
};

static bool take(struct cursor *cursor, char expected) {
    if (cursor->at == cursor->end || *cursor->at != expected)
        return false;
    cursor->at++;
    return true;
}

static bool is_digit(const struct cursor *cursor) {
    return cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9';
}

/* Reads a number of at least `least` and at most `most` digits that is at most `max`. */
static bool take_number(struct cursor *cursor, int least, int most, int64_t max, int64_t *value) {
    int count = 0;
    for (*value = 0; count < most && is_digit(cursor); count++)
        *value = *value * 10 + (*cursor->at++ - '0');
    return count >= least && *value <= max;
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Howard Hinnant's
 * days_from_civil: years begin in March, so that leap days come last. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int64_t days_of_month(int64_t year, int64_t month) {
    static const int64_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && is_leap ? 29 : days[month - 1];
}

static bool take_date(struct cursor *cursor, int64_t *days) {
    int64_t year, month, day;
    if (!take_number(cursor, 4, 4, 9999, &year) || !take(cursor, '-') ||
        !take_number(cursor, 1, 2, 12, &month) || month == 0 || !take(cursor, '-') ||
        !take_number(cursor, 1, 2, 31, &day) || day == 0 || day > days_of_month(year, month))
        return false;
    *days = days_from_date(year, month, day);
    return true;
}

/* Reads digits after a point as microseconds; digits past the sixth are cut off. */
static bool take_fraction(struct cursor *cursor, int64_t *microseconds) {
    if (!is_digit(cursor))
        return false;
    int64_t unit = 100000;
    for (*microseconds = 0; is_digit(cursor); unit /= 10)
        *microseconds += unit * (*cursor->at++ - '0');
    return true;
}

/* Reads hh:mm[:ss[.fraction]]. A second 60 (leap second) is the next minute's first. */
static bool take_time(struct cursor *cursor, int64_t *microseconds, bool *has_seconds) {
    int64_t hour, minute, second = 0, fraction = 0;
    if (!take_number(cursor, 1, 2, 23, &hour) || !take(cursor, ':') ||
        !take_number(cursor, 1, 2, 59, &minute))
        return false;
    *has_seconds = take(cursor, ':');
    if (*has_seconds && (!take_number(cursor, 1, 2, 60, &second) ||
                         (take(cursor, '.') && !take_fraction(cursor, &fraction))))
        return false;
    *microseconds = ((hour * 60 + minute) * 60 + second) * 1000000 + fraction;
    return true;
}

/* Reads Z, UTC, +hh, +hhmm or +hh:mm up to the end. */
static bool take_zone(struct cursor *cursor, int64_t *minutes) {
    *minutes = 0;
    bool has_space = take(cursor, ' ');
    if (has_space && cursor->end - cursor->at == 3 && memcmp(cursor->at, "UTC", 3) == 0)
        return true;
    if (take(cursor, 'Z') || take(cursor, 'z'))
        return cursor->at == cursor->end;
    bool is_west = take(cursor, '-');
    int64_t hours, rest = 0;
    if ((!is_west && !take(cursor, '+')) || !take_number(cursor, 2, 2, 23, &hours))
        return false;
    if (cursor->at < cursor->end) {
        take(cursor, ':');
        if (!take_number(cursor, 2, 2, 59, &rest) || cursor->at < cursor->end)
            return false;
    }
    *minutes = (hours * 60 + rest) * (is_west ? -1 : 1);
    return true;
}

bool payload_datetime_parse(const char *text, size_t length, int64_t *microseconds) {
    struct cursor cursor = {text, text + length};
    int64_t days, time = 0, zone = 0;
    bool has_seconds = false;
    while (take(&cursor, ' '))
        continue;
    if (!take_date(&cursor, &days))
        return false;
    if (cursor.at < cursor.end) {
        if (!take(&cursor, 'T') && !take(&cursor, 't') && !take(&cursor, ' '))
            return false;
        if (!take_time(&cursor, &time, &has_seconds))
            return false;
        if (cursor.at < cursor.end && (!has_seconds || !take_zone(&cursor, &zone)))
            return false;
    }
    *microseconds = days * INT64_C(86400000000) + time - zone * 60000000;
    return true;
}
