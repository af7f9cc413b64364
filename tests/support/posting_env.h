/* posting_env.h -- an LMDB environment in a temporary folder with one database, for tests of what
 * storage keeps in LMDB. Any failure ends the test. */
#ifndef POSTING_ENV_H
#define POSTING_ENV_H

#include <lmdb.h>
#include <stddef.h>

struct posting_env {
    char path[64];
    MDB_env *env;
    MDB_dbi dbi;
};

void posting_env_open(struct posting_env *env, size_t map_bytes);
void posting_env_close(struct posting_env *env); /* and removes the folder */

/* flags: 0 or MDB_RDONLY. */
MDB_txn *posting_env_begin(struct posting_env *env, unsigned flags);
void posting_env_commit(MDB_txn *txn);

#endif
