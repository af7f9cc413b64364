/* storage_internal.h -- the inside of storage; for storage's own files only. */
#ifndef STORAGE_INTERNAL_H
#define STORAGE_INTERNAL_H

#include "index/vector_index.h"
#include "storage/builder.h"
#include "storage/catalogue.h"
#include "storage/storage.h"
#include "storage/writer.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    STORAGE_SCRATCH_MAX = 256, /* idle search scratches kept */
    STORAGE_REASON_MAX = 256,
};

struct write_job;

/* One collection as the registry knows it, open or not. */
struct registry_entry {
    char *name; /* owned */
    uint64_t number, incarnation;
    uint16_t next_vector;
    struct shared_config *config;  /* owned reference */
    struct collection *collection; /* NULL until it is first used; owned reference */
    bool is_opening;               /* some thread opens it; wait on opened */
    char *damage;                  /* why it is quarantined; NULL: it is not. Owned */
};

struct storage {
    struct storage_options options;
    char path[PATH_MAX];
    char collections_path[PATH_MAX];
    int lock_fd;
    unsigned cores;
    struct catalogue catalogue; /* writer that runs catalogue jobs */

    pthread_mutex_t registry_mutex; /* of the registry; never held across a commit or an opening */
    pthread_cond_t opened;
    struct registry_entry **entries; /* by name */
    size_t entries_count, entries_capacity;

    struct writer_pool writers;
    struct builder_pool builders;

    pthread_mutex_t scratch_mutex;
    struct index_scratch *scratches[STORAGE_SCRATCH_MAX];
    size_t scratches_count;

    atomic_uint active_readers;
    atomic_uint_fast64_t read_ns; /* when the last reader ended */
    pthread_mutex_t reason_mutex;
    char failure[STORAGE_REASON_MAX]; /* of the last collection that became read-only */
    atomic_bool has_failed;

    atomic_uint_fast64_t commits, commit_failures, operations, readers_over_1s;
};

/* ---- storage.c --------------------------------------------------------------------------------
 */

MUST_CHECK enum status storage_collection_path(const struct storage *storage, uint64_t number,
                                               char path[PATH_MAX], struct error *error);

/* True if less than the reserve is free: only deletions are accepted. */
bool storage_disk_is_low(const struct storage *storage);

/* True if the limit is reached: what takes no new memory is still accepted. */
bool storage_memory_is_low(const struct storage *storage);

void storage_note_failure(struct storage *storage, const char *name, const char *reason);
void storage_count_group(struct storage *storage, bool has_failed, const struct write_job *jobs);

/* Lends a scratch for searching; any thread. */
MUST_CHECK enum status storage_take_scratch(struct storage *storage, struct index_scratch **scratch,
                                            struct error *error);
void storage_give_scratch(struct storage *storage, struct index_scratch *scratch);

/* ---- catalogue_job.c: runs one change; sets the job's status. Writer. -------------------------
 */
void storage_run_catalogue_job(struct storage *storage, struct catalogue_job *job);

/* ---- registry.c: call with registry_mutex held ------------------------------------------------
 */

/* The entry of this name, or NULL. */
struct registry_entry *registry_find(const struct storage *storage, const char *name);

/* Makes an entry and puts it in its place; takes nothing over. NULL out of memory. */
struct registry_entry *registry_add(struct storage *storage, const struct catalogue_record *record);

/* Takes the entry out and frees it; the collection's reference goes to the caller. */
void registry_remove(struct storage *storage, struct registry_entry *entry);
void registry_free(struct storage *storage);

#endif
