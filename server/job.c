#include "server/job.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PIECE_BYTES_MIN = 16 * 1024, /* of a chunked body; they double up to */
    PIECE_BYTES_MAX = 1024 * 1024,
    BUDGET_STEP = 16 * 1024,
    INPUT_BYTES_MAX = 256 * 1024, /* beside the body: path, query, a refusal */
    SPARE_JOBS_MAX = 256,
    LARGE_BYTES = 128 * 1024,
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_done(struct api_call *call) {
    struct job *job = call->context;
    job->totals->done(job->totals->context, job);
}

/* By the last owner, whichever thread that is. */
static void on_free(struct api_call *call) {
    struct job *job = call->context;
    struct job_totals *totals = job->totals;
    job_totals_give(totals, job->budget_bytes);
    for (struct job_piece *piece = job->first_piece; piece; piece = piece->next)
        if (piece->block)
            body_store_give(&totals->bodies, piece->block);
    arena_free(&job->arena);
    (void)job_stack_put(&job->pool->spent, job);
    /* Last: whoever waits for zero may then free what is spent. */
    atomic_fetch_sub_explicit(&totals->jobs, 1, memory_order_release);
}

/* ---- Pools ----------------------------------------------------------------------------------- */

void job_pool_init(struct job_pool *pool, struct job_totals *totals) {
    *pool = (struct job_pool){.totals = totals};
}

void job_pool_collect(struct job_pool *pool) {
    struct job *next;
    for (struct job *job = job_stack_take_all(&pool->spent); job; job = next) {
        next = job->next;
        arena_free(&job->input);
        if (pool->spare_count >= SPARE_JOBS_MAX) {
            free(job);
            continue;
        }
        job->next = pool->spare;
        pool->spare = job;
        pool->spare_count++;
    }
}

void job_pool_free(struct job_pool *pool) {
    job_pool_collect(pool);
    while (pool->spare) {
        struct job *job = pool->spare;
        pool->spare = job->next;
        free(job);
    }
}

static struct job *take_spare(struct job_pool *pool) {
    job_pool_collect(pool);
    struct job *job = pool->spare;
    if (!job)
        return malloc(sizeof(*job));
    pool->spare = job->next;
    pool->spare_count--;
    return job;
}

struct job *job_create(struct job_pool *pool, struct connection *connection) {
    struct job_totals *totals = pool->totals;
    struct job *job = take_spare(pool);
    if (!job)
        return NULL;
    /* The head is written before it is read. */
    memset(job, 0, offsetof(struct job, reply) + offsetof(struct reply, head));
    arena_init(&job->input, INPUT_BYTES_MAX);
    arena_init(&job->arena, totals->arena_bytes_fixed);
    api_call_init(&job->call, totals->api, &job->input);
    job->call.context = job;
    job->call.done = on_done;
    job->call.free_call = on_free;
    job->call.started_ns = now_ns();
    job->is_clocked = pool->created++ % JOB_CLOCKED_EVERY == 0;
    job->totals = totals;
    job->pool = pool;
    job->connection = connection;
    atomic_fetch_add_explicit(&totals->jobs, 1, memory_order_relaxed);
    return job;
}

/* ---- The budget of bodies -------------------------------------------------------------------- */

void job_totals_free(struct job_totals *totals) {
    body_store_free(&totals->bodies);
}

bool job_totals_charge(struct job_totals *totals, size_t bytes) {
    size_t used = atomic_fetch_add_explicit(&totals->body_bytes, bytes, memory_order_relaxed);
    return used <= totals->body_bytes_max && bytes <= totals->body_bytes_max - used;
}

bool job_totals_take(struct job_totals *totals, size_t bytes) {
    bool is_taken = job_totals_charge(totals, bytes);
    if (!is_taken) /* the sum may have passed SIZE_MAX and come back */
        atomic_fetch_sub_explicit(&totals->body_bytes, bytes, memory_order_relaxed);
    return is_taken;
}

void job_totals_give(struct job_totals *totals, size_t bytes) {
    size_t used = atomic_fetch_sub_explicit(&totals->body_bytes, bytes, memory_order_relaxed);
    assert(used >= bytes);
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

/* Adds an empty piece, and lets the arena grow with it. Memory counts when it is filled: a client
 * that announces much and sends little takes nothing from the others. */
static enum status add_piece(struct job *job, size_t capacity) {
    job->arena.limit += capacity * (1 + API_ARENA_FACTOR);
    job->input.limit += capacity + sizeof(struct job_piece);
    struct job_piece *piece = arena_alloc(&job->input, sizeof(*piece));
    if (!piece)
        return STATUS_NO_MEMORY;
    *piece = (struct job_piece){.capacity = capacity};
    if (capacity >= BODY_STORE_BLOCK_MIN) {
        piece->block = body_store_take(&job->totals->bodies, capacity);
        piece->bytes = piece->block ? piece->block->bytes : NULL;
    } else {
        piece->bytes = arena_alloc(&job->input, capacity);
    }
    if (!piece->bytes)
        return STATUS_NO_MEMORY;
    if (job->last_piece)
        job->last_piece->next = piece;
    else
        job->first_piece = piece;
    job->last_piece = piece;
    return STATUS_OK;
}

/* Takes what the body has grown by out of the budget, in steps. */
static enum status pay(struct job *job, size_t length) {
    if (length <= job->budget_bytes)
        return STATUS_OK;
    size_t step = (length - job->budget_bytes + BUDGET_STEP - 1) / BUDGET_STEP * BUDGET_STEP;
    if (!job_totals_take(job->totals, step))
        return STATUS_UNAVAILABLE;
    job->budget_bytes += step;
    return STATUS_OK;
}

enum status job_expect_body(struct job *job, size_t length) {
    assert(!job->first_piece);
    size_t used = atomic_load_explicit(&job->totals->body_bytes, memory_order_relaxed);
    if (used > job->totals->body_bytes_max || length > job->totals->body_bytes_max - used)
        return STATUS_UNAVAILABLE;
    return length > 0 ? add_piece(job, length) : STATUS_OK;
}

enum status job_append_body(struct job *job, const char *bytes, size_t length) {
    enum status status = pay(job, job->body_length + length);
    while (status == STATUS_OK && length > 0) {
        struct job_piece *piece = job->last_piece;
        if (!piece || piece->length == piece->capacity) {
            size_t capacity = piece ? piece->capacity * 2 : PIECE_BYTES_MIN;
            status = add_piece(job, capacity < PIECE_BYTES_MAX ? capacity : PIECE_BYTES_MAX);
            continue;
        }
        size_t here = piece->capacity - piece->length;
        if (here > length)
            here = length;
        char *to = piece->bytes + piece->length;
        if (to != bytes) /* else it was read where it belongs */
            memcpy(to, bytes, here);
        piece->length += here;
        job->body_length += here;
        bytes += here;
        length -= here;
    }
    return status;
}

char *job_body_room(struct job *job, size_t *room) {
    struct job_piece *piece = job->last_piece;
    *room = piece ? piece->capacity - piece->length : 0;
    return piece ? piece->bytes + piece->length : NULL;
}

/* Makes one block of the pieces. */
static enum status join_body(struct job *job) {
    struct job_piece *piece = job->first_piece;
    if (!piece)
        return STATUS_OK;
    job->call.body_length = job->body_length;
    if (!piece->next) {
        job->call.body = piece->bytes;
        return STATUS_OK;
    }
    char *joined = arena_alloc(&job->arena, job->body_length);
    if (!joined)
        return STATUS_NO_MEMORY;
    job->call.body = joined;
    for (; piece; piece = piece->next) {
        memcpy(joined, piece->bytes, piece->length);
        joined += piece->length;
    }
    return STATUS_OK;
}

void job_run(struct job *job) {
    job->call.arena = &job->arena;
    if (job->is_clocked)
        stage_clock_start(&job->call.stages);
    if (join_body(job) != STATUS_OK) {
        api_fail(&job->call, STATUS_NO_MEMORY, "no memory for the body");
        on_done(&job->call);
        return;
    }
    api_run(&job->call);
}

void job_release(struct job *job) {
    api_call_release(&job->call);
}

bool job_is_large(const struct job *job) {
    return job->budget_bytes + job->call.answer.length > LARGE_BYTES;
}
