/* catalogue.h -- the one environment that says which collections there are, and what they are.
 *
 * A collection is known by a number that is never used again; its name stands only in its record.
 * The catalogue's format version is that of the whole data folder.
 *
 * Memory: embedded by storage. Threads: the opener, then whichever writer runs catalogue jobs (one
 * at a time).
 */
#ifndef CATALOGUE_H
#define CATALOGUE_H

#include "storage/collection_config.h"
#include "storage/lmdb_env.h"

#include <stdint.h>

enum {
    CATALOGUE_MAP_BYTES = 64 * 1024 * 1024, /* at first; it grows as far as the next */
};

/* More records than a process has addresses for their collections. */
#define CATALOGUE_MAP_BYTES_MAX (UINT64_C(16) << 30)

struct catalogue {
    struct lmdb_env env;
    uint64_t next_number; /* of the next collection */
    bool has_failed;      /* a change failed twice: no more of them until the next start */
};

/* Everything the catalogue knows of one collection. Borrows its texts. */
struct catalogue_record {
    uint64_t number;
    uint64_t incarnation;
    uint16_t next_vector; /* number of the next vector; never reused */
    const char *name;
    size_t name_length;
    struct collection_config config;
};

/* Opens. A folder of a newer format is refused with a line that says so. *is_new: there is nothing
 * in it yet; unless it is read-only, catalogue_create must follow. */
MUST_CHECK enum status catalogue_open(struct catalogue *catalogue, const char *path,
                                      bool is_read_only, bool *is_new, struct error *error);
MUST_CHECK enum status catalogue_create(struct catalogue *catalogue, struct error *error);
void catalogue_close(struct catalogue *catalogue);

/* Calls visit for each record, in the order of numbers; a row that cannot be read, of whatever kind
 * it was, is visited as NULL with its number as the key has it, 0 if it has none. Stops at the
 * first status that is not OK. */
typedef enum status catalogue_visit_fn(void *context, uint64_t number,
                                       const struct catalogue_record *record, struct error *error);
MUST_CHECK enum status catalogue_each(struct catalogue *catalogue, catalogue_visit_fn *visit,
                                      void *context, struct error *error);

/* Leftovers: numbers whose folder is nobody's, because its collection is being made or was deleted.
 * No other folder may ever be removed: a catalogue that was lost or is an old copy knows too few
 * collections, and what it does not know may be all that is left of them. */
typedef void catalogue_leftover_fn(void *context, uint64_t number);
MUST_CHECK enum status catalogue_each_leftover(struct catalogue *catalogue,
                                               catalogue_leftover_fn *visit, void *context,
                                               struct error *error);

/* The changes. On disk when they return STATUS_OK; after STATUS_IO either state may be on disk,
 * and the catalogue has failed.
 *
 * reserve gives a new number, a leftover for now; put makes a number a collection, or replaces its
 * record; remove makes it a leftover; forget says that its folder is gone. remove and forget of
 * what is not there are no errors. */
MUST_CHECK enum status catalogue_reserve(struct catalogue *catalogue, uint64_t *number,
                                         struct error *error);
MUST_CHECK enum status catalogue_put(struct catalogue *catalogue,
                                     const struct catalogue_record *record, struct error *error);
MUST_CHECK enum status catalogue_remove(struct catalogue *catalogue, uint64_t number,
                                        struct error *error);
MUST_CHECK enum status catalogue_forget(struct catalogue *catalogue, uint64_t number,
                                        struct error *error);

#endif
