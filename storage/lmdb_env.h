/* lmdb_env.h -- one LMDB environment: its databases, its transactions, and the gate in front of
 * them.
 *
 * LMDB must not resize its map while a transaction is open, and does not check: a reader then
 * crashes. So every transaction passes the gate. Growing and reopening close the gate, wait until
 * all readers are out, and open it again; if that takes longer than LMDB_GATE_WAIT_MS, readers are
 * let in again for a while and only the writer waits on.
 *
 * Read transactions are pooled: they are reset, not ended, and keep their place in LMDB's table.
 * Memory: embedded by its owner. Threads: read_begin, read_end and used_bytes by any, all else by
 * the one that writes (the writer that holds the collection, or the opener before anyone else knows
 * it).
 */
#ifndef LMDB_ENV_H
#define LMDB_ENV_H

#include "index/status.h"
#include "storage/lmdb_check.h"

#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LMDB_DBIS_MAX = 8,
    LMDB_POOL_MAX = 256,      /* idle read transactions kept */
    LMDB_READERS_SPARE = 16,  /* places beside the readers: checkpoints, tools, tests */
    LMDB_GATE_WAIT_MS = 400,  /* how long readers are kept out at a time */
    LMDB_GATE_PAUSE_MS = 200, /* how long they are let in between */
};

struct lmdb_env_options {
    const char *path;                            /* a folder that exists */
    const struct lmdb_check_database *databases; /* borrowed; opened once and for all */
    size_t databases_count;
    uint64_t map_bytes, map_bytes_max; /* map_bytes at first, or fewer if addresses are short, but
                                          at least the file and 1 GiB; max 0: no bound */
    unsigned readers_max;
    uint64_t guard_number; /* whom map_guard blames */
    bool is_read_only;
};

struct lmdb_env {
    MDB_env *env; /* NULL while it could not be reopened */
    MDB_dbi dbis[LMDB_DBIS_MAX];
    struct lmdb_env_options options; /* path points at the copy below */
    char path[PATH_MAX];
    uint64_t map_bytes;              /* at present */
    uint64_t counted_bytes;          /* of the addresses that all maps share */
    uint64_t map_moves;              /* how often it may have moved; changes with the gate closed */
    int guard;                       /* map_guard's handle */
    atomic_uint_fast64_t used_bytes; /* when they were last looked at */

    atomic_uint inside;    /* transactions that have passed the gate */
    atomic_bool is_closed; /* the gate */
    pthread_mutex_t mutex; /* the gate's sleepers, and the pool */
    pthread_cond_t moved;  /* the gate opened, or the last reader left */
    MDB_txn *pool[LMDB_POOL_MAX];
    size_t pool_count;
};

/* Opens or creates. STATUS_CORRUPT if the file is no sound environment (lmdb_check.h). */
MUST_CHECK enum status lmdb_env_open(struct lmdb_env *env, const struct lmdb_env_options *options,
                                     struct error *error);
void lmdb_env_close(struct lmdb_env *env);

/* Read transactions; deadline_ns (CLOCK_MONOTONIC, 0: none) bounds the wait at the gate. */
MUST_CHECK enum status lmdb_env_read_begin(struct lmdb_env *env, uint64_t deadline_ns,
                                           MDB_txn **txn, struct error *error);
void lmdb_env_read_end(struct lmdb_env *env, MDB_txn *txn);

/* Gives a read transaction that is under way a snapshot as of now. It takes neither memory nor a
 * place, so that only a panic of LMDB makes it fail; the transaction is then still to be ended. */
MUST_CHECK enum status lmdb_env_read_renew(MDB_txn *txn, struct error *error);

MUST_CHECK enum status lmdb_env_write_begin(struct lmdb_env *env, MDB_txn **txn,
                                            struct error *error);

/* True if LMDB refuses every transaction, reads too, since a meta page could not be written: only
 * lmdb_env_reopen helps. Writer. */
bool lmdb_env_has_panicked(struct lmdb_env *env);

/* Doubles the map. No write transaction may be open. STATUS_NO_SPACE at map_bytes_max. On another
 * failure the map is as before, or, if that cannot be had back, as after a failed reopening. */
MUST_CHECK enum status lmdb_env_grow(struct lmdb_env *env, struct error *error);

/* Closes and opens again, after a failed commit. On failure nothing can be read or written any
 * more: read_begin and write_begin say STATUS_UNAVAILABLE. */
MUST_CHECK enum status lmdb_env_reopen(struct lmdb_env *env, struct error *error);

/* Bytes of the file that are in use, free pages inside included. Never waits: while the gate is
 * closed it tells what it told last. */
uint64_t lmdb_env_used_bytes(struct lmdb_env *env);

/* Bytes of free pages inside the file: what can be written although the disk is full. Pages that
 * readers still see are among them. */
uint64_t lmdb_env_free_bytes(struct lmdb_env *env);

/* Translates LMDB's and the system's codes, e.g. "write the row: the map is full". Only a map that
 * is full is STATUS_MAP_FULL, after which lmdb_env_grow helps; a disk or a quota that is full is
 * STATUS_NO_SPACE. */
enum status lmdb_env_fail(struct error *error, int code, const char *doing);

#endif
