/* lmdb_check.h -- is the file a sound LMDB environment?
 *
 * LMDB trusts its pages: garbage in one ends in a crash, in a wrong answer, or in more garbage. So
 * before an environment is opened, the trees of its newest state are walked: every page must lie in
 * the file, say its own number, have a sane table of nodes, and be used once. Keys ascend through
 * all of a tree, and each is where the branches lead who looks for it: what a lookup does not find
 * is not there. The two first pages must be those of the last two transactions, each in its place:
 * else LMDB could take the older state for the newest.
 *
 * What is found is told from what was written by the checksums of records, which their owners know.
 * Whoever reads a record asks for its checksum; but a record whose key was damaged is never read:
 * a lookup of the key it had finds nothing. So where nothing is an answer, the walk asks for each
 * record. The contents of overflow pages are read for that only.
 *
 * The file is opened, mapped and closed here, which is only allowed while this process has not
 * opened it through LMDB (closing drops LMDB's locks).
 *
 * Relies on the file format of LMDB 0.9 (version 1) on machines with 64 bits.
 */
#ifndef LMDB_CHECK_H
#define LMDB_CHECK_H

#include "index/status.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>

/* A database of an environment. */
struct lmdb_check_database {
    const char *name;
    /* True if a record is as it was written under this key. Both lie anywhere, at any address.
     * NULL: records are not asked for. */
    bool (*is_sealed)(const MDB_val *key, const MDB_val *value);
};

/* path: the folder. The environment has all of the databases and no others, or none yet: LMDB
 * would make one anew that it does not find. STATUS_OK also if there is no file yet, or an empty
 * one. */
MUST_CHECK enum status lmdb_check_folder(const char *path,
                                         const struct lmdb_check_database *databases, size_t count,
                                         struct error *error);

#endif
