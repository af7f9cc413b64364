#include "tests/support/posting_env.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void posting_env_open(struct posting_env *env, size_t map_bytes) {
    strcpy(env->path, "/tmp/nigh-postings-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(env->path));
    ck_assert_int_eq(mdb_env_create(&env->env), 0);
    ck_assert_int_eq(mdb_env_set_mapsize(env->env, map_bytes), 0);
    /* Nothing here is about surviving a power cut. */
    ck_assert_int_eq(mdb_env_open(env->env, env->path, MDB_NOTLS | MDB_NOSYNC, 0644), 0);
    MDB_txn *txn = posting_env_begin(env, 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &env->dbi), 0);
    posting_env_commit(txn);
}

void posting_env_close(struct posting_env *env) {
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    char path[sizeof(env->path) + 16];
    mdb_env_close(env->env);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", env->path, files[i]);
        unlink(path);
    }
    rmdir(env->path);
}

MDB_txn *posting_env_begin(struct posting_env *env, unsigned flags) {
    MDB_txn *txn;
    ck_assert_int_eq(mdb_txn_begin(env->env, NULL, flags, &txn), 0);
    return txn;
}

void posting_env_commit(MDB_txn *txn) {
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
}
