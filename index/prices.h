/* prices.h -- what the steps of a search cost on this machine, in nanoseconds.
 *
 * Each is measured once, when it is first wanted. Where memory lacks for that, all rows cost the
 * same from then on. Any thread.
 */
#ifndef PRICES_H
#define PRICES_H

#include <stddef.h>
#include <stdint.h>

enum price_name {
    /* A row of a scan, which goes through all rows or passes over some, for one query or for
     * KERNELS_QUERIES, of which each bears its share. */
    PRICE_SCAN,
    PRICE_SCAN_SHARED,
    PRICE_SCAN_GAPS,
    PRICE_SCAN_SHARED_GAPS,
    PRICE_FETCH, /* a row at random, measured */
    PRICE_LOOK,  /* two bytes at random, many such looks under way at once */
    PRICE_NAMES,
};

#define PRICES_ALL ((UINT32_C(1) << PRICE_NAMES) - 1)

/* Measures those of a set (bits by enum price_name) that nobody measured yet. What follows tells of
 * those alone. */
void prices_prepare(uint32_t names);

/* Of a row of so many bytes, one of a scan (a PRICE_SCAN) over `rows` of them, 1 or more: between
 * what a row costs that lies near the core and one that does not, by the bytes of all. */
double prices_scan(enum price_name scan, uint64_t rows, size_t row_bytes);

double prices_fetch(size_t bytes);
double prices_look(void);

#endif
