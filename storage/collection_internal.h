/* collection_internal.h -- the inside of a collection; for storage's own files only.
 *
 * Each member says who may touch it: "writer" is the one writer that holds the collection
 * (is_scheduled makes it one at a time), "builder" the one that holds is_maintained, "any" any
 * thread by the means given. The order of locks stands in docs/THREADS.md.
 */
#ifndef COLLECTION_INTERNAL_H
#define COLLECTION_INTERNAL_H

#include "index/vector_index.h"
#include "storage/builder.h"
#include "storage/collection.h"
#include "storage/lmdb_env.h"
#include "storage/point_rows.h"
#include "storage/slot_pool.h"
#include "storage/vector_blocks.h"

enum {
    COLLECTION_WAITING_MAX = 131072, /* unlinked slots beyond which writes are held back: a
                                        search scans them, about 5 ms at 768 dimensions */
    COLLECTION_DEAD_SHARE = 32, /* ... and dead ones beyond a share 1 / so many of the points (and
                                   storage_options.dead_slots_spare): each takes memory until it is
                                   repaired */
    COLLECTION_REASON_MAX = 256,
    COLLECTION_REPAIR_LEAST = 256,   /* slots repaired at a time, where so many are dead; ... */
    COLLECTION_REPAIR_MAX = 4096,    /* ... more while that takes less than ... */
    COLLECTION_REPAIR_MS_MAX = 1000, /* ... so long, which a stop may have to wait for; ... */
    COLLECTION_REPAIR_SHARE = 4,     /* ... and of many dead at most 1 / so many: the rest of those
                                        that writes have replaced is soon to be used again */
};

/* One named vector. Fixed for the collection's life. */
struct collection_vector {
    struct vector_layout layout;
    enum distance distance;
    struct vector_index *index; /* owned */
};

/* A place in the registry of readers: a lower bound of the operation its snapshot is as of. */
struct reader_place {
    _Alignas(64) atomic_uint_fast64_t operation; /* READER_PLACE_IDLE: taken by nobody */
    atomic_uint_fast64_t since_ns;
};

#define READER_PLACE_IDLE UINT64_MAX

/* A field_retry_ns that never comes. */
#define FIELD_RETRY_NEVER UINT64_MAX

/* One way in which builders may be behind writes. */
struct write_pace {
    uint64_t slots; /* in the way when last looked at: that wait to be linked; that are in use */
    uint64_t slots_max;     /* to which writes may bring them; 0: any, builders are not behind */
    uint64_t slots_settled; /* of which slots_max knows */
};

struct collection {
    struct storage *storage;
    char *name;           /* owned */
    uint64_t number;      /* names the folder; never reused */
    uint64_t incarnation; /* see collection_state */
    char path[PATH_MAX];
    struct lmdb_env env;
    atomic_uint references;
    atomic_bool is_deleted; /* no write is accepted or done any more */

    pthread_mutex_t config_mutex; /* of config */
    struct shared_config *config;

    struct slots *slots;
    struct slot_pool pool;
    struct collection_vector *vectors; /* owned */
    size_t vectors_count;
    struct place_cache_pool caches; /* of readers */

    atomic_uint_fast64_t published; /* the last operation whose effects are in memory */
    atomic_uint_fast64_t points;    /* how many there are, as of published */
    struct reader_place *places;    /* owned; any, by compare-and-swap */
    unsigned places_count;

    pthread_mutex_t queue_mutex; /* of the six below */
    struct write_job *queue_first, *queue_last;
    size_t queue_jobs, queue_bytes;
    bool is_scheduled; /* in the writers' list or held by a writer */
    bool is_closing;
    struct collection *next_scheduled; /* the writers' list, under its mutex, as the three below */
    struct collection *next_later;     /* the list of those that wait for a time */
    uint64_t later_ns;                 /* that time */
    bool is_later;                     /* in that list */

    struct collection_state state; /* as of the last commit; writer */
    bool has_field_work;           /* a step of building or dropping an index may run; writer */
    uint64_t field_retry_ns;       /* when it may after one failed; 0: none did; writer */
    uint64_t field_pause_ns;       /* how long that was put off; writer */
    unsigned failed_commits;       /* in a row; writer */
    struct write_pace linking, repairing; /* writer */
    uint64_t backlog, backlog_ns; /* least that a job was held back for, and since when; writer */

    atomic_bool is_read_only; /* until restart; reason says why */
    pthread_mutex_t reason_mutex;
    char reason[COLLECTION_REASON_MAX];
    char field_reason[COLLECTION_REASON_MAX]; /* of the last step of an index that failed, until one
                                                 succeeds; under reason_mutex, as the next */
    bool is_field_stuck;                      /* it will not be tried again */

    enum builder_list listed; /* under the builders' mutex, as is next_listed */
    struct collection *next_listed;
    atomic_flag is_maintained;         /* a builder repairs, frees or saves */
    struct repaired_batch *repaired;   /* wait for searches to end, oldest first; builder */
    struct repaired_batch *unrepaired; /* memory lacked: to be tried again; builder */
    size_t repair_count;               /* slots to be repaired at a time; 0: the least; builder */
    atomic_uint_fast64_t saved_operation; /* what the graph files cover */
    atomic_uint_fast64_t unsaved_changes; /* births, deaths and links that they do not have */
    uint64_t saved_ns,
        save_cost_ns; /* when they were last written, and how long it took; builder */
    atomic_uint_fast64_t written_ns; /* when the last commit was published */
};

/* Slots that no graph points at, and the epoch of each index that must have passed before they may
 * be used again. */
struct repaired_batch {
    struct repaired_batch *next;
    size_t count;
    uint32_t slots[COLLECTION_REPAIR_MAX];
    uint64_t epochs[];
};

/* Where a collection comes from. */
struct collection_source {
    struct storage *storage;
    const char *name;
    uint64_t number;
    uint64_t incarnation;
    struct shared_config *config; /* a reference is taken */
};

/* The collection's folder: makes it with an empty environment, durable but for its name in the
 * parent, which the caller syncs. */
MUST_CHECK enum status collection_create_folder(const struct collection_source *source,
                                                struct error *error);

/* Opens an existing folder: environment, graphs, slots. The caller holds the first reference. */
MUST_CHECK enum status collection_open(const struct collection_source *source,
                                       struct collection **collection, struct error *error);
struct collection *collection_acquire(struct collection *collection);
void collection_release(struct collection *collection); /* closes at the last one */

/* Reads the folder's content into memory: the second half of collection_open (collection_load.c).
 * operations: what the graph file of each vector covers. */
MUST_CHECK enum status collection_load(struct collection *collection, const uint64_t *operations,
                                       struct error *error);

/* Makes an empty index for a vector whose layout is known. Before the collection is shared. */
MUST_CHECK enum status collection_create_index(struct collection *collection,
                                               struct collection_vector *vector,
                                               struct error *error);

/* The vector of this number; NULL if there is none. */
struct collection_vector *collection_vector_of(struct collection *collection, uint16_t number);

/* True if more than `least` slots wait to be linked in some index. Any thread. */
bool collection_has_waiting(struct collection *collection, uint64_t least);

/* The smallest operation that some reader may be as of. Any thread. */
uint64_t collection_oldest_reader(const struct collection *collection);

/* Makes the collection read-only until restart. Any thread. */
void collection_fail(struct collection *collection, const char *reason);

/* Takes up to WRITE_GROUP_* jobs off the queue, linked by next; of those that take slots no more
 * than slots_max allows, but always one. Writer. */
struct write_job *collection_take_jobs(struct collection *collection, uint64_t slots_max);

/* True while the next job is to wait since builders are behind: with linking, which each search
 * pays for (invariant 3), or with dead slots, which take memory. It waits until they have given
 * back a third more slots than it takes, or are no longer behind; but not for long if they make no
 * headway. *slots_max: what the next group may take; UINT64_MAX: any. Writer. */
bool collection_is_held_back(struct collection *collection, uint64_t *slots_max);

/* After a group: true if there is more to do; else the collection is no longer scheduled. Writer.
 */
bool collection_stays_scheduled(struct collection *collection);

/* Accepts no more writes; those that are queued still run. Any thread. */
void collection_close_queue(struct collection *collection);

/* Has a writer look at the collection although no job waits: an index is to be built on. */
void collection_schedule(struct collection *collection);

/* Monotonic time. */
uint64_t collection_now_ns(void);

#endif
