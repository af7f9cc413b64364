#include "storage/lmdb_env.h"
#include "storage/fault.h"
#include "storage/log.h"
#include "storage/map_guard.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* ---- Codes ------------------------------------------------------------------------------------
 */

enum status lmdb_env_fail(struct error *error, int code, const char *doing) {
    static const struct {
        int code;
        enum status status;
        const char *text;
    } known[] = {
        {MDB_MAP_FULL, STATUS_MAP_FULL, "the map is full"},
        {MDB_TXN_FULL, STATUS_TOO_LARGE, "the change is too large for one transaction"},
        {ENOSPC, STATUS_NO_SPACE, "disk full"},
        {EDQUOT, STATUS_NO_SPACE, "disk full (a quota is reached)"},
        {ENOMEM, STATUS_NO_MEMORY, "out of memory"},
        {MDB_READERS_FULL, STATUS_UNAVAILABLE, "too many readers"},
        {MDB_CORRUPTED, STATUS_CORRUPT, "the data file is damaged"},
        {MDB_PAGE_NOTFOUND, STATUS_CORRUPT, "the data file is damaged"},
        {MDB_PAGE_FULL, STATUS_CORRUPT, "the data file is damaged"},
        {MDB_CURSOR_FULL, STATUS_CORRUPT, "the data file is damaged"},
        {MDB_INVALID, STATUS_CORRUPT, "not a data file"},
        {MDB_VERSION_MISMATCH, STATUS_CORRUPT, "the data file has another format"},
        {MDB_BAD_VALSIZE, STATUS_INVALID, "a key is too long"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].code == code)
            return error_set(error, known[i].status, "%s: %s", doing, known[i].text);
    return error_set(error, STATUS_IO, "%s: %s", doing, mdb_strerror(code));
}

/* ---- The map ----------------------------------------------------------------------------------
 */

/* Addresses that maps share, half of what a process has on x86-64; growing takes from the other
 * half. Each new map may have one part in so many of what is left, so that many are of the size
 * that is asked for, and thousands more find room. */
#define ADDRESSES_SHARED (UINT64_C(64) << 40)

enum {
    SHARE_OF_REST = 256,
    LEAST_MAP_SPARE =
        1 << 30, /* bytes beyond the file that any map has, unless fewer are asked for */
};

/* Of the process, as addresses are; a bound only, so that a moment's error is no matter. */
static atomic_uint_fast64_t addresses_taken;

static uint64_t least_map_bytes(const struct lmdb_env *env) {
    char path[PATH_MAX + 16];
    struct stat file;
    snprintf(path, sizeof(path), "%s/data.mdb", env->path);
    uint64_t file_bytes = stat(path, &file) == 0 ? (uint64_t)file.st_size : 0;
    return (file_bytes / LEAST_MAP_SPARE + 2) * LEAST_MAP_SPARE; /* whole pages, whatever it is */
}

static uint64_t first_map_bytes(const struct lmdb_env *env) {
    uint64_t wanted = env->options.map_bytes, least = least_map_bytes(env);
    uint64_t taken = atomic_load(&addresses_taken);
    uint64_t share = taken < ADDRESSES_SHARED ? (ADDRESSES_SHARED - taken) / SHARE_OF_REST : 0;
    share -= share % LEAST_MAP_SPARE;
    share = share > least ? share : least;
    return wanted < share ? wanted : share;
}

static void count_addresses(struct lmdb_env *env, uint64_t map_bytes) {
    atomic_fetch_add(&addresses_taken, map_bytes - env->counted_bytes);
    env->counted_bytes = map_bytes;
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

static enum status open_databases(struct lmdb_env *env, struct error *error) {
    MDB_txn *txn;
    bool is_read_only = env->options.is_read_only;
    int code = mdb_txn_begin(env->env, NULL, is_read_only ? MDB_RDONLY : 0, &txn);
    if (code != 0)
        return lmdb_env_fail(error, code, "open the data file");
    for (size_t i = 0; i < env->options.databases_count && code == 0; i++)
        code = mdb_dbi_open(txn, env->options.databases[i].name, is_read_only ? 0 : MDB_CREATE,
                            &env->dbis[i]);
    if (code != 0) {
        mdb_txn_abort(txn);
        return lmdb_env_fail(error, code == MDB_NOTFOUND ? MDB_CORRUPTED : code, "open a database");
    }
    code = mdb_txn_commit(txn);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "open the data file");
}

/* LMDB does not tell where it mapped the file, so the kernel is asked: the line of the file's
 * inode. */
static const void *map_base(struct lmdb_env *env) {
    struct stat file;
    mdb_filehandle_t fd;
    if (mdb_env_get_fd(env->env, &fd) != 0 || fstat(fd, &file) < 0)
        return NULL;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return NULL;
    const void *base = NULL;
    char line[PATH_MAX + 128];
    while (!base && fgets(line, sizeof(line), maps)) {
        unsigned long start, major_number, minor_number, inode;
        if (sscanf(line, "%lx-%*x %*s %*x %lx:%lx %lu", &start, &major_number, &minor_number,
                   &inode) == 4 &&
            inode == file.st_ino && major_number == major(file.st_dev) &&
            minor_number == minor(file.st_dev))
            base = (const void *)start; /* NOLINT: the kernel's text is where the number is from */
    }
    fclose(maps);
    return base;
}

/* Call after each change of the map. */
static void watch_map(struct lmdb_env *env) {
    MDB_envinfo info;
    mdb_env_info(env->env, &info);
    env->map_bytes = info.me_mapsize;
    count_addresses(env, info.me_mapsize);
    const void *base = map_base(env);
    if (!base)
        return;
    if (env->guard < 0)
        env->guard = map_guard_add(base, info.me_mapsize, env->options.guard_number);
    else
        map_guard_move(env->guard, base, info.me_mapsize);
}

static void forget_map(struct lmdb_env *env) {
    map_guard_remove(env->guard);
    env->guard = -1;
    count_addresses(env, 0);
}

static int open_mapped(struct lmdb_env *env, uint64_t map_bytes) {
    MDB_env *handle;
    int code = mdb_env_create(&handle);
    if (code != 0)
        return code;
    unsigned flags = MDB_NOTLS | (env->options.is_read_only ? MDB_RDONLY : 0);
    mdb_env_set_maxdbs(handle, LMDB_DBIS_MAX);
    mdb_env_set_maxreaders(handle, env->options.readers_max + LMDB_READERS_SPARE);
    code = mdb_env_set_mapsize(handle, map_bytes);
    if (code == 0)
        code = mdb_env_open(handle, env->path, flags, 0640);
    if (code != 0)
        mdb_env_close(handle);
    else
        env->env = handle;
    return code;
}

static enum status open_environment(struct lmdb_env *env, struct error *error) {
    /* Before LMDB touches the file: it trusts what it finds. */
    enum status status =
        lmdb_check_folder(env->path, env->options.databases, env->options.databases_count, error);
    if (status != STATUS_OK)
        return status;
    uint64_t map_bytes = env->map_bytes, least = least_map_bytes(env);
    int code = open_mapped(env, map_bytes);
    while (code == ENOMEM && map_bytes > least) { /* a limit, or few addresses: it can grow later */
        map_bytes = map_bytes / 4 > least ? map_bytes / 4 : least;
        code = open_mapped(env, map_bytes);
    }
    if (code != 0)
        return lmdb_env_fail(error, code, "open the data file");
    watch_map(env);
    status = open_databases(env, error);
    if (status != STATUS_OK) {
        forget_map(env);
        mdb_env_close(env->env);
        env->env = NULL;
    }
    return status;
}

enum status lmdb_env_open(struct lmdb_env *env, const struct lmdb_env_options *options,
                          struct error *error) {
    assert(options->databases_count <= LMDB_DBIS_MAX);
    memset(env, 0, sizeof(*env));
    env->options = *options;
    if ((size_t)snprintf(env->path, sizeof(env->path), "%s", options->path) >= sizeof(env->path))
        return error_set(error, STATUS_INVALID, "path too long: %s", options->path);
    env->options.path = env->path;
    env->map_bytes = first_map_bytes(env);
    env->guard = -1;
    pthread_mutex_init(&env->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&env->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    enum status status = open_environment(env, error);
    if (status != STATUS_OK)
        lmdb_env_close(env);
    return status;
}

static void close_environment(struct lmdb_env *env) {
    for (size_t i = 0; i < env->pool_count; i++)
        mdb_txn_abort(env->pool[i]);
    env->pool_count = 0;
    forget_map(env);
    if (env->env)
        mdb_env_close(env->env);
    env->env = NULL;
}

void lmdb_env_close(struct lmdb_env *env) {
    assert(atomic_load(&env->inside) == 0);
    close_environment(env);
    pthread_cond_destroy(&env->moved);
    pthread_mutex_destroy(&env->mutex);
}

/* ---- The gate ---------------------------------------------------------------------------------
 */

static struct timespec after_ms(unsigned ms) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_nsec += (long)(ms % 1000) * 1000000;
    time.tv_sec += (time_t)(ms / 1000) + time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

static void gate_leave(struct lmdb_env *env) {
    unsigned before = atomic_fetch_sub(&env->inside, 1);
    assert(before > 0);
    if (before == 1 && atomic_load(&env->is_closed)) {
        pthread_mutex_lock(&env->mutex);
        pthread_cond_broadcast(&env->moved);
        pthread_mutex_unlock(&env->mutex);
    }
}

/* Counting first and looking second, while the closer closes first and counts second: one of the
 * two always sees the other. */
static enum status gate_enter(struct lmdb_env *env, uint64_t deadline_ns, struct error *error) {
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                             .tv_nsec = (long)(deadline_ns % 1000000000)};
    for (;;) {
        atomic_fetch_add(&env->inside, 1);
        if (!atomic_load(&env->is_closed))
            return STATUS_OK;
        gate_leave(env);
        int waited = 0;
        pthread_mutex_lock(&env->mutex);
        while (atomic_load(&env->is_closed) && waited != ETIMEDOUT)
            waited = deadline_ns == 0 ? pthread_cond_wait(&env->moved, &env->mutex)
                                      : pthread_cond_timedwait(&env->moved, &env->mutex, &until);
        pthread_mutex_unlock(&env->mutex);
        if (waited == ETIMEDOUT)
            return error_set(error, STATUS_TIMEOUT, "Timeout while the storage was growing");
    }
}

static void gate_open(struct lmdb_env *env) {
    pthread_mutex_lock(&env->mutex);
    atomic_store(&env->is_closed, false);
    pthread_cond_broadcast(&env->moved);
    pthread_mutex_unlock(&env->mutex);
}

/* Returns with the gate closed and nobody inside. */
static void gate_close(struct lmdb_env *env) {
    for (;;) {
        struct timespec until = after_ms(LMDB_GATE_WAIT_MS);
        int waited = 0;
        pthread_mutex_lock(&env->mutex);
        atomic_store(&env->is_closed, true);
        while (atomic_load(&env->inside) > 0 && waited != ETIMEDOUT)
            waited = pthread_cond_timedwait(&env->moved, &env->mutex, &until);
        pthread_mutex_unlock(&env->mutex);
        if (atomic_load(&env->inside) == 0)
            return;
        gate_open(env);
        struct timespec pause = {.tv_nsec = LMDB_GATE_PAUSE_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
}

/* ---- Transactions -----------------------------------------------------------------------------
 */

/* *taken is NULL on failure: whoever cleans up must not end what never began. */
static int pool_take(struct lmdb_env *env, MDB_txn **taken) {
    pthread_mutex_lock(&env->mutex);
    MDB_txn *txn = env->pool_count > 0 ? env->pool[--env->pool_count] : NULL;
    pthread_mutex_unlock(&env->mutex);
    *taken = NULL;
    if (!txn)
        return mdb_txn_begin(env->env, NULL, MDB_RDONLY, taken);
    int code = mdb_txn_renew(txn);
    if (code != 0)
        mdb_txn_abort(txn);
    else
        *taken = txn;
    return code;
}

enum status lmdb_env_read_begin(struct lmdb_env *env, uint64_t deadline_ns, MDB_txn **txn,
                                struct error *error) {
    enum status status = gate_enter(env, deadline_ns, error);
    if (status != STATUS_OK)
        return status;
    if (!env->env) {
        gate_leave(env);
        return error_set(error, STATUS_UNAVAILABLE, "the data file could not be opened again");
    }
    int code = pool_take(env, txn);
    if (code != 0) {
        gate_leave(env);
        return lmdb_env_fail(error, code, "begin to read");
    }
    return STATUS_OK;
}

void lmdb_env_read_end(struct lmdb_env *env, MDB_txn *txn) {
    mdb_txn_reset(txn);
    pthread_mutex_lock(&env->mutex);
    bool is_kept = env->pool_count < LMDB_POOL_MAX;
    if (is_kept)
        env->pool[env->pool_count++] = txn;
    pthread_mutex_unlock(&env->mutex);
    if (!is_kept)
        mdb_txn_abort(txn);
    gate_leave(env);
}

enum status lmdb_env_read_renew(MDB_txn *txn, struct error *error) {
    mdb_txn_reset(txn);
    int code = mdb_txn_renew(txn);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "begin to read");
}

enum status lmdb_env_write_begin(struct lmdb_env *env, MDB_txn **txn, struct error *error) {
    if (!env->env)
        return error_set(error, STATUS_UNAVAILABLE, "the data file could not be opened again");
    int code = mdb_txn_begin(env->env, NULL, 0, txn);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "begin to write");
}

bool lmdb_env_has_panicked(struct lmdb_env *env) {
    MDB_txn *txn;
    if (!env->env)
        return false;
    int code = mdb_txn_begin(env->env, NULL, MDB_RDONLY, &txn);
    if (code == 0)
        mdb_txn_abort(txn);
    return code == MDB_PANIC;
}

/* ---- Growing and reopening --------------------------------------------------------------------
 */

enum status lmdb_env_grow(struct lmdb_env *env, struct error *error) {
    uint64_t wanted = env->map_bytes * 2, most = env->options.map_bytes_max;
    if (most > 0 && wanted > most)
        wanted = most;
    if (wanted <= env->map_bytes || FAULT_POINT("map.grow"))
        return error_set(error, STATUS_NO_SPACE, "the map of the data file is full (%llu bytes)",
                         (unsigned long long)env->map_bytes);
    gate_close(env);
    env->map_moves++;
    int code = mdb_env_set_mapsize(env->env, wanted);
    if (code == 0) {
        watch_map(env);
    } else { /* the old map is gone, too */
        struct error reason;
        close_environment(env);
        if (open_environment(env, &reason) != STATUS_OK)
            log_event(LOG_LEVEL_ERROR, "%s: %s", env->path, reason.message);
    }
    gate_open(env);
    if (code != 0)
        return lmdb_env_fail(error, code, "grow the map");
    log_event(LOG_LEVEL_INFO, "the map of %s has grown to %llu MiB", env->path,
              (unsigned long long)(env->map_bytes >> 20));
    return STATUS_OK;
}

enum status lmdb_env_reopen(struct lmdb_env *env, struct error *error) {
    gate_close(env);
    env->map_moves++;
    close_environment(env);
    enum status status =
        FAULT_POINT("env.reopen")
            ? error_set(error, STATUS_IO, "open the data file again: fault of a test")
            : open_environment(env, error);
    gate_open(env);
    return status;
}

uint64_t lmdb_env_used_bytes(struct lmdb_env *env) {
    atomic_fetch_add(&env->inside, 1);
    if (!atomic_load(&env->is_closed) && env->env) {
        MDB_envinfo info;
        MDB_stat stat_info;
        mdb_env_info(env->env, &info);
        mdb_env_stat(env->env, &stat_info);
        atomic_store(&env->used_bytes, ((uint64_t)info.me_last_pgno + 1) * stat_info.ms_psize);
    }
    gate_leave(env);
    return atomic_load(&env->used_bytes);
}

uint64_t lmdb_env_free_bytes(struct lmdb_env *env) {
    MDB_txn *txn = NULL; /* LMDB shows its list of free pages to readers only */
    MDB_cursor *cursor;
    MDB_val key, data;
    MDB_stat stat_info;
    uint64_t pages = 0;
    if (lmdb_env_read_begin(env, 0, &txn, NULL) != STATUS_OK)
        return 0;
    mdb_env_stat(env->env, &stat_info);
    if (mdb_cursor_open(txn, 0, &cursor) == 0) {
        while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
            size_t count = 0; /* a row a transaction: a count in front of the numbers */
            if (data.mv_size >= sizeof(count))
                memcpy(&count, data.mv_data, sizeof(count));
            pages += count;
        }
        mdb_cursor_close(cursor);
    }
    lmdb_env_read_end(env, txn);
    return pages * stat_info.ms_psize;
}
