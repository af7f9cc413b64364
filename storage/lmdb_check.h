/* lmdb_check.h -- is the file a sound LMDB environment?
 *
 * LMDB trusts its pages: garbage in one ends in a crash, in a wrong answer, or in more garbage. So
 * before an environment is opened, the trees of its newest state are walked: every page must lie in
 * the file, say its own number, have a sane table of nodes, and be used once. Checksums of records
 * then do the rest. The contents of overflow pages are not read. The two first pages must be those
 * of the last two transactions, each in its place: else LMDB could take the older state for the
 * newest.
 *
 * The file is opened, mapped and closed here, which is only allowed while this process has not
 * opened it through LMDB (closing drops LMDB's locks).
 *
 * Relies on the file format of LMDB 0.9 (version 1) on machines with 64 bits.
 */
#ifndef LMDB_CHECK_H
#define LMDB_CHECK_H

#include "index/status.h"

/* path: the folder. STATUS_OK also if there is no file yet, or an empty one. */
MUST_CHECK enum status lmdb_check_folder(const char *path, struct error *error);

#endif
