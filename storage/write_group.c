#include "storage/write_group.h"
#include "storage/fault.h"
#include "storage/field_work.h"
#include "storage/file.h"
#include "storage/log.h"
#include "storage/point_edit.h"
#include "storage/storage_internal.h"
#include "storage/thread_role.h"
#include "storage/write_admission.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    GROWTHS_MAX = 48,       /* of the map in one group: 2^48 times the first size */
    FAILED_COMMITS_MAX = 2, /* in a row, then the collection is read-only until restart */
};

/* What became of one attempt to run a group. */
enum attempt {
    ATTEMPT_COMMITTED,
    ATTEMPT_UNCHANGED, /* nothing to commit: every job failed */
    ATTEMPT_FAILED,
    ATTEMPT_DOUBTFUL, /* it is in the file, which may not be on disk: shown, but not acknowledged */
    ATTEMPT_MAP_FULL,
};

enum group_kind {
    GROUP_WHOLE,
    GROUP_SINGLE, /* one job, and no step of index building: what takes the least memory */
};

/* ---- One job ----------------------------------------------------------------------------------
 */

static enum status apply(struct write_context *context, const struct operation *operation,
                         struct error *error) {
    switch (operation->kind) {
    case OPERATION_UPSERT:
        return point_edit_upsert(context, operation, error);
    case OPERATION_DELETE:
        return point_edit_delete(context, operation, error);
    case OPERATION_EDIT_PAYLOAD:
        return point_edit_payload(context, operation, error);
    case OPERATION_UPDATE_VECTORS:
        return point_edit_update_vectors(context, operation, error);
    case OPERATION_DELETE_VECTORS:
        return point_edit_delete_vectors(context, operation, error);
    case OPERATION_CREATE_INDEX:
        return field_work_create(context, &operation->field, error);
    case OPERATION_DROP_INDEX:
        return field_work_drop(context, &operation->field.path, error);
    }
    assert(false && "an operation of unknown kind");
    return STATUS_INVALID;
}

static enum status run_operations(struct write_context *context, struct write_job *job) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < job->operations_count && status == STATUS_OK; i++) {
        enum operation_kind kind = job->operations[i].kind;
        context->has_field_job |= kind == OPERATION_CREATE_INDEX || kind == OPERATION_DROP_INDEX;
        context->operation = ++context->state.operation;
        status = apply(context, &job->operations[i], &job->error);
        if (status == STATUS_OK)
            status = write_context_flush(context, &job->error);
        arena_free(&context->scratch);
        arena_free(&context->of_point);
    }
    return status;
}

/* A job, or a step of index building. */
typedef enum status work_fn(struct write_context *context, void *argument, struct error *error);

/* Runs work in a child of parent; on failure the context is as before. *lost: the parent cannot be
 * used any more. */
static enum status run_in_child(struct write_context *context, MDB_txn *parent, work_fn *work,
                                void *argument, struct error *error, bool *lost) {
    struct collection_state before = context->state;
    size_t changes_before = context->changes.slots_count;
    MDB_txn *child;
    int code = mdb_txn_begin(context->collection->env.env, parent, 0, &child);
    if (code != 0) {
        *lost = true;
        return lmdb_env_fail(error, code, "begin a job");
    }
    context->rows.txn = child;
    enum status status = work(context, argument, error);
    if (status == STATUS_OK) {
        code = mdb_txn_commit(child);
        context->rows.txn = parent;
        if (code == 0)
            return STATUS_OK;
        *lost = true;
        status = lmdb_env_fail(error, code, "end a job");
    } else {
        /* Abort, never commit: a child that failed would poison the parent (HARDENING 2.18). */
        mdb_txn_abort(child);
        context->rows.txn = parent;
    }
    write_context_drop(context);
    change_set_undo(&context->changes, context->collection, changes_before, before.next_slot);
    context->state = before;
    if (!*lost && write_context_load_fields(context, error) != STATUS_OK)
        *lost = true;
    return status;
}

/* Runs work that has the transaction to itself: if it fails, there is nothing to be kept. A child
 * would want 2 MiB for its list of pages, which may be more than there is. */
static enum status run_alone(struct write_context *context, MDB_txn *txn, work_fn *work,
                             void *argument, struct error *error, bool *lost) {
    struct collection_state before = context->state;
    *lost = false;
    context->rows.txn = txn;
    enum status status = work(context, argument, error);
    if (status != STATUS_OK)
        context->state = before;
    return status;
}

static enum status job_work(struct write_context *context, void *argument, struct error *error) {
    (void)error; /* the job's own is used */
    return run_operations(context, argument);
}

static enum status step_work(struct write_context *context, void *argument, struct error *error) {
    const uint32_t *slots_max = argument;
    return field_work_step(context, *slots_max, error);
}

/* ---- One attempt ------------------------------------------------------------------------------
 */

/* A write that a full disk cut short is told as any other that failed. */
static void name_full_disk(struct collection *collection, struct write_job *job) {
    if (job->status == STATUS_IO && file_is_disk_full(collection->path))
        job->status = error_set(&job->error, STATUS_NO_SPACE, "No space left: disk full");
}

static uint64_t count_bytes(const struct write_job *jobs) {
    uint64_t bytes = 0;
    for (const struct write_job *job = jobs; job; job = job->next)
        bytes += job->bytes;
    return bytes;
}

static bool is_step_due(const struct write_context *context, enum group_kind kind) {
    return kind == GROUP_WHOLE && field_work_is_due(context) &&
           !atomic_load(&context->collection->is_deleted);
}

/* Runs all jobs in the open transaction. */
static enum attempt run_jobs(struct write_context *context, MDB_txn *parent, struct write_job *jobs,
                             enum group_kind kind, struct error *error) {
    struct collection *collection = context->collection;
    bool is_low = write_admission_is_space_low(collection, count_bytes(jobs));
    bool is_changed = false, lost = false;
    bool is_alone = jobs && !jobs->next && !is_step_due(context, kind);
    context->is_step_done = false;
    context->step_error.status = STATUS_OK;
    for (struct write_job *job = jobs; job; job = job->next) {
        job->error = (struct error){0};
        job->status = write_admission_job(collection, job, is_low, &job->error);
        if (job->status == STATUS_OK) {
            job->status = (is_alone ? run_alone : run_in_child)(context, parent, job_work, job,
                                                                &job->error, &lost);
            if (job->status == STATUS_MAP_FULL)
                return ATTEMPT_MAP_FULL;
            name_full_disk(collection, job);
        }
        job->operation_number = context->state.operation;
        is_changed |= job->status == STATUS_OK;
        if (lost) {
            *error = job->error;
            return ATTEMPT_FAILED;
        }
    }
    /* A job alone that failed has spoilt the transaction. */
    if (is_step_due(context, kind) && !is_low && (!is_alone || is_changed)) {
        uint32_t slots_max = jobs ? FIELD_STEP_SLOTS_BUSY : FIELD_STEP_SLOTS;
        enum status status =
            (jobs ? run_in_child : run_alone)(context, parent, step_work, &slots_max, error, &lost);
        if (status == STATUS_MAP_FULL)
            return ATTEMPT_MAP_FULL;
        if (lost)
            return ATTEMPT_FAILED;
        context->is_step_done = status == STATUS_OK;
        is_changed |= context->is_step_done;
        if (!context->is_step_done)
            context->step_error = *error;
    }
    return is_changed ? ATTEMPT_COMMITTED : ATTEMPT_UNCHANGED;
}

static enum attempt from_failure(enum status status) {
    return status == STATUS_MAP_FULL ? ATTEMPT_MAP_FULL : ATTEMPT_FAILED;
}

/* What the file shows after a failed sync may lie in the page cache only. The group's data pages
 * were synced before its meta page was written, so one more commit makes the group durable. */
static enum status commit_state_again(struct collection *collection,
                                      const struct collection_state *state, struct error *error) {
    MDB_txn *txn;
    enum status status = lmdb_env_write_begin(&collection->env, &txn, error);
    if (status != STATUS_OK)
        return status;
    const struct point_rows rows = {.txn = txn, .dbis = collection->env.dbis};
    status = point_rows_write_state(&rows, state, error);
    if (status != STATUS_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    int code = mdb_txn_commit(txn);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "commit once more");
}

static enum status reopen(struct collection *collection, struct collection_state *state,
                          struct error *error) {
    MDB_txn *txn;
    bool is_found = false;
    enum status status = lmdb_env_reopen(&collection->env, error);
    if (status == STATUS_OK)
        status = lmdb_env_read_begin(&collection->env, 0, &txn, error);
    if (status != STATUS_OK)
        return status;
    const struct point_rows rows = {.txn = txn, .dbis = collection->env.dbis};
    status = point_rows_read_state(&rows, state, &is_found, error);
    lmdb_env_read_end(&collection->env, txn);
    return status == STATUS_OK && !is_found
               ? error_set(error, STATUS_CORRUPT, "Stored data is corrupt: no state")
               : status;
}

/* After a commit that failed for another reason than space: the file may hold the group or not, and
 * memory pages may not be what is on disk. Opening again tells; it also gives reads their file back
 * when LMDB had given up on it. */
static enum attempt recover(struct write_context *context, struct error *error) {
    struct collection *collection = context->collection;
    struct error reason = *error;
    struct collection_state state = {0};
    /* A full disk mends itself, however often it is met. */
    if (error->status != STATUS_NO_SPACE)
        collection->failed_commits++;
    log_event(LOG_LEVEL_ERROR, "a commit of %s failed: %s", collection->path, error->message);
    enum status status = reopen(collection, &state, &reason);
    /* The group is on disk whole or not at all; its state row says which. */
    bool is_written = status == STATUS_OK && state.operation == context->state.operation &&
                      state.operation != collection->state.operation;
    if (is_written)
        status = commit_state_again(collection, &state, &reason);
    if (status != STATUS_OK && lmdb_env_has_panicked(&collection->env)) {
        struct error second; /* writes end anyway, but reads are to go on */
        if (lmdb_env_reopen(&collection->env, &second) != STATUS_OK)
            log_event(LOG_LEVEL_ERROR, "%s: %s", collection->path, second.message);
    }
    if (status != STATUS_OK || (!is_written && collection->failed_commits >= FAILED_COMMITS_MAX))
        collection_fail(collection, reason.message);
    if (!is_written)
        return ATTEMPT_FAILED;
    return status == STATUS_OK ? ATTEMPT_COMMITTED : ATTEMPT_DOUBTFUL;
}

static void close_committed(struct write_context *context) {
    if (context->committed)
        lmdb_env_read_end(&context->collection->env, context->committed);
    context->committed = NULL;
}

/* All that publishing will want: memory, and a read transaction for vectors that moved. */
static enum status reserve(struct write_context *context, struct error *error) {
    enum status status =
        change_set_reserve(&context->changes, context->collection, context->state.next_slot, error);
    if (status == STATUS_OK && context->changes.has_moved)
        status = lmdb_env_read_begin(&context->collection->env, 0, &context->committed, error);
    return status;
}

static enum attempt commit(struct write_context *context, MDB_txn *txn, struct error *error) {
    struct collection *collection = context->collection;
    enum status status = point_rows_write_state(&context->rows, &context->state, error);
    if (status == STATUS_OK)
        status = reserve(context, error);
    if (status != STATUS_OK) {
        mdb_txn_abort(txn);
        return from_failure(status);
    }
    int code;
    if (FAULT_POINT("group.commit")) {
        mdb_txn_abort(txn);
        code = EIO;
    } else {
        code = mdb_txn_commit(txn);
        if (code == 0 && FAULT_POINT("group.doubted")) /* it is on disk, and said not to be */
            code = EIO;
    }
    if (code == 0) {
        collection->failed_commits = 0;
        return ATTEMPT_COMMITTED;
    }
    close_committed(context); /* opening the file again waits for all who read */
    bool is_disk_full =
        file_is_no_space(code) || (code == EIO && file_is_disk_full(collection->path));
    status = is_disk_full ? error_set(error, STATUS_NO_SPACE, "No space left: disk full")
                          : lmdb_env_fail(error, code, "commit");
    if (status == STATUS_IO || lmdb_env_has_panicked(&collection->env))
        return recover(context, error);
    return from_failure(status);
}

static enum attempt attempt_group(struct write_context *context, struct write_job *jobs,
                                  enum group_kind kind, struct error *error) {
    struct collection *collection = context->collection;
    MDB_txn *txn;
    context->state = collection->state;
    enum status status = lmdb_env_write_begin(&collection->env, &txn, error);
    if (status == STATUS_IO) /* LMDB has given up on the environment: MDB_PANIC */
        return recover(context, error);
    if (status != STATUS_OK)
        return ATTEMPT_FAILED;
    context->rows = (struct point_rows){.txn = txn, .dbis = collection->env.dbis};
    context->is_memory_low = storage_memory_is_low(collection->storage);
    write_context_drop(context);
    status = write_context_load_fields(context, error);
    enum attempt attempt =
        status == STATUS_OK ? run_jobs(context, txn, jobs, kind, error) : from_failure(status);
    if (attempt == ATTEMPT_COMMITTED)
        return commit(context, txn, error);
    mdb_txn_abort(txn);
    return attempt;
}

/* ---- The group --------------------------------------------------------------------------------
 */

/* Shows context->committed what was committed; there is none yet if the file was opened again. */
static enum status open_committed(struct write_context *context, struct error *error) {
    if (!context->changes.has_moved)
        return STATUS_OK;
    return context->committed
               ? lmdb_env_read_renew(context->committed, error)
               : lmdb_env_read_begin(&context->collection->env, 0, &context->committed, error);
}

static void publish_changes(struct write_context *context) {
    struct error error = {0};
    bool is_open = open_committed(context, &error) == STATUS_OK;
    enum status status = change_set_publish(&context->changes, context->collection,
                                            is_open ? context->committed : NULL, &error);
    close_committed(context);
    if (status != STATUS_OK) /* a start reads it all */
        collection_fail(context->collection, error.message);
}

static void publish(struct write_context *context) {
    struct collection *collection = context->collection;
    /* With a kill here the group is on disk, and nobody was told. */
    (void)FAULT_POINT("group.committed");
    publish_changes(context);
    collection->state = context->state;
    if (context->is_step_done || context->has_field_job)
        field_work_resume(collection, context->is_step_done);
    collection->has_field_work = field_work_is_due(context);
    atomic_store(&collection->points, context->state.points);
    atomic_store_explicit(&collection->published, context->state.operation, memory_order_release);
    atomic_store(&collection->written_ns, collection_now_ns());
    atomic_fetch_add(&collection->unsaved_changes, context->changes.slots_count);
    (void)FAULT_POINT("group.published");
}

static void undo_changes(struct write_context *context) {
    change_set_undo(&context->changes, context->collection, 0,
                    context->collection->state.next_slot);
    change_set_clear(&context->changes);
}

static enum attempt run_until_settled(struct write_context *context, struct write_job *jobs,
                                      enum group_kind kind, struct error *error) {
    for (int growths = 0;; growths++) {
        enum attempt attempt = attempt_group(context, jobs, kind, error);
        if (attempt != ATTEMPT_MAP_FULL)
            return attempt;
        undo_changes(context);
        if (growths >= GROWTHS_MAX) {
            (void)error_set(error, STATUS_NO_SPACE, "the map has grown too often");
            return ATTEMPT_FAILED;
        }
        if (lmdb_env_grow(&context->collection->env, error) != STATUS_OK)
            return ATTEMPT_FAILED;
        (void)FAULT_POINT("map.grown");
    }
}

static void finish_jobs(struct write_job *jobs, const struct error *failure) {
    while (jobs) {
        struct write_job *job = jobs;
        jobs = jobs->next; /* done gives the job's memory back */
        job->next = NULL;
        /* Why the map could not grow is more than that it was full. */
        if (failure && (job->status == STATUS_OK || job->status == STATUS_MAP_FULL)) {
            job->error = *failure;
            job->status = failure->status;
        }
        job->done(job);
    }
}

/* What one job wants may be too much for all. */
static bool is_worth_splitting(const struct write_job *jobs, enum group_kind kind,
                               const struct error *error) {
    return jobs && kind == GROUP_WHOLE &&
           (error->status == STATUS_NO_MEMORY || (error->status == STATUS_NO_SPACE && jobs->next));
}

/* Says when the next step of index building may run, if this one failed. */
static void settle_field_work(struct write_context *context, const struct write_job *jobs,
                              enum attempt attempt, const struct error *error) {
    if (context->step_error.status != STATUS_OK)
        field_work_put_off(context->collection, &context->step_error);
    else if (jobs || attempt == ATTEMPT_COMMITTED) /* a step alone tells what is wrong */
        return;
    else if (attempt != ATTEMPT_UNCHANGED)
        field_work_put_off(context->collection, error);
    else if (field_work_is_due(context)) /* too little space was left for it */
        field_work_put_off(context->collection, NULL);
    else
        context->collection->has_field_work = false;
}

/* False if nothing was done, and nobody told, since memory or map lacked that a whole group takes.
 */
static bool run_group(struct write_context *context, struct collection *collection,
                      struct write_job *jobs, enum group_kind kind) {
    struct error error = {.status = STATUS_IO};
    enum attempt attempt = ATTEMPT_FAILED;
    for (struct write_job *job = jobs; job; job = job->next)
        job->status = STATUS_OK;
    write_context_begin(context, collection);
    if (write_admission_collection(collection, &error) == STATUS_OK)
        attempt = run_until_settled(context, jobs, kind, &error);
    if (attempt == ATTEMPT_COMMITTED || attempt == ATTEMPT_DOUBTFUL)
        publish(context);
    else
        undo_changes(context);
    bool is_done = attempt != ATTEMPT_FAILED || !is_worth_splitting(jobs, kind, &error);
    bool has_failed = attempt == ATTEMPT_FAILED || attempt == ATTEMPT_DOUBTFUL;
    if (is_done) {
        storage_count_group(collection->storage, has_failed, jobs);
        finish_jobs(jobs, has_failed ? &error : NULL);
    }
    if (attempt == ATTEMPT_COMMITTED && context->changes.slots_count > 0)
        builder_pool_wake(&collection->storage->builders, collection);
    settle_field_work(context, jobs, attempt, &error);
    write_context_end(context);
    return is_done;
}

void write_group_run(struct write_context *context, struct collection *collection,
                     struct write_job *jobs) {
    assert(thread_role_may_act_as(THREAD_ROLE_WRITER));
    if (run_group(context, collection, jobs, GROUP_WHOLE))
        return;
    while (jobs) {
        struct write_job *job = jobs;
        jobs = job->next;
        job->next = NULL;
        (void)run_group(context, collection, job, GROUP_SINGLE);
    }
}
