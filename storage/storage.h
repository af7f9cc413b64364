/* storage.h -- the data folder: opening it, its collections, its threads.
 *
 * The folder holds one catalogue environment and one folder a collection. One process at a time
 * uses it (a lock file). The writers and builders are threads of storage; readers are the caller's
 * threads.
 */
#ifndef STORAGE_H
#define STORAGE_H

#include "storage/collection_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct storage;
struct collection;

struct storage_options {
    const char *path;            /* data folder; created if its parent exists */
    uint64_t map_bytes;          /* address space of a collection's map at first; it doubles */
    uint64_t map_bytes_max;      /* 0: no bound but the machine's */
    unsigned writers;            /* threads; 0: 2 */
    unsigned builders;           /* threads; 0: one a core, since a bulk load is to use all of
                                    them to its end; their low priority keeps reads first */
    unsigned readers_max;        /* concurrent readers: the server's workers and a few */
    uint32_t dead_slots_spare;   /* that a collection may have before its writes wait for repairs,
                                    however small it is; 0: 16,384, some 70 MB at 768 dimensions */
    uint64_t disk_reserve_bytes; /* writes are refused when less is free */
    uint64_t memory_limit_bytes; /* points that need new memory are refused beyond; 0: no limit */
    bool recover_damaged;        /* start although the folder holds what cannot be read */
};

/* Opens the folder, or fails with one line that says what to do: not writable, in use, newer
 * format, not a local file system. Starts writers and builders. Main thread. */
MUST_CHECK enum status storage_open(const struct storage_options *options, struct storage **storage,
                                    struct error *error);

/* Finishes queued writes, stops the threads, saves graphs if there is time, closes. Main thread,
 * when no reader is left. */
void storage_close(struct storage *storage, unsigned timeout_ms);

/* False while the folder cannot take writes (disk, commit failure); the reason for /readyz. */
bool storage_is_ready(struct storage *storage, char reason[256]);

/* ---- Collections ---------------------------------------------------------------------------- */

/* Finds a collection and holds it; opens it if this is its first use. Any thread but the loop.
 * STATUS_NOT_FOUND, _CORRUPT (quarantined), _NO_MEMORY, _IO. */
MUST_CHECK enum status storage_acquire_collection(struct storage *storage, const char *name,
                                                  struct collection **collection,
                                                  struct error *error);
void storage_release_collection(struct collection *collection);

/* Reads every record of a collection; report is told of each problem, in one line. STATUS_CORRUPT
 * if there were any, or if the collection cannot be opened. Any thread that may read. */
typedef void storage_problem_fn(void *context, const char *problem);
MUST_CHECK enum status storage_verify_collection(struct storage *storage, const char *name,
                                                 storage_problem_fn *report, void *context,
                                                 struct error *error);

bool storage_has_collection(struct storage *storage, const char *name);

/* Names in order, in the arena. */
MUST_CHECK enum status storage_list_collections(struct storage *storage, struct arena *arena,
                                                const char *const **names, size_t *count,
                                                struct error *error);

/* A change of the catalogue, run by a writer; on disk when done is called. Memory of the caller,
 * until done returns. */
enum catalogue_change_kind {
    CATALOGUE_CREATE,
    CATALOGUE_UPDATE, /* a new configuration: may add nothing to vectors but options */
    CATALOGUE_DELETE,
};

struct catalogue_job {
    enum catalogue_change_kind kind;
    const char *name;
    /* CREATE: config. UPDATE: change() makes the new one out of the present one, on the writer. */
    struct collection_config config;
    enum status (*change)(struct catalogue_job *job, const struct collection_config *present,
                          struct collection_config *changed, struct error *error);
    struct arena *arena;
    void *context;                           /* the caller's */
    void (*done)(struct catalogue_job *job); /* writer thread; exactly once */
    enum status status;
    struct error error;
    bool existed;               /* DELETE: false if there was none (no error) */
    struct catalogue_job *next; /* storage's */
};

/* Queues the job, or fails at once (STATUS_UNAVAILABLE: queue full or closing; done not called). */
MUST_CHECK enum status storage_submit_catalogue(struct storage *storage, struct catalogue_job *job,
                                                struct error *error);

/* ---- Figures for /metrics and /telemetry ------------------------------------------------------
 */

struct storage_figures {
    uint64_t collections, collections_open, points, vectors_waiting, index_bytes, disk_bytes;
    uint64_t commits, commit_failures, operations, write_queue_jobs, readers_over_1s;
    uint64_t quarantined;
    uint64_t memory_used_bytes, memory_limit_bytes; /* of the process; limit 0: none */
    uint64_t huge_page_bytes;                       /* of the memory in use */
};
void storage_figures(struct storage *storage, struct storage_figures *figures);

#endif
