/* session.h -- the api on a real storage in a temporary folder, called without sockets.
 *
 * A call runs on the thread of the test, as a read worker would, and waits for whoever answers it.
 */
#ifndef SESSION_H
#define SESSION_H

#include "api/api.h"

#include <check.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct session {
    char path[64];
    struct storage *storage;
    struct api *api;
    bool is_read_only; /* calls are made with a key that may only read */
    bool is_clocked;   /* calls tell what their time went into */
    bool is_left;      /* clients leave before their call is run */
    uint64_t late_ns;  /* so long ago calls began */
};

/* An answer, in memory of malloc(). */
struct reply {
    enum route_match match;
    unsigned status; /* 404 and 405 where no route was found */
    char *body;
    size_t length;
    unsigned retry_after_s;
    struct stage_clock stages;
};

struct session_call {
    struct api_call call;
    struct arena arena;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done, is_free;
};

static void session_done(struct api_call *call) {
    struct session_call *own = call->context;
    pthread_mutex_lock(&own->mutex);
    own->is_done = true;
    pthread_cond_broadcast(&own->changed);
    pthread_mutex_unlock(&own->mutex);
}

static void session_free(struct api_call *call) {
    struct session_call *own = call->context;
    pthread_mutex_lock(&own->mutex);
    own->is_free = true;
    pthread_cond_broadcast(&own->changed);
    pthread_mutex_unlock(&own->mutex);
}

static void session_wait(struct session_call *own, const bool *flag) {
    pthread_mutex_lock(&own->mutex);
    while (!*flag)
        pthread_cond_wait(&own->changed, &own->mutex);
    pthread_mutex_unlock(&own->mutex);
}

static inline void session_reopen(struct session *session) {
    const struct storage_options options = {.path = session->path,
                                            .map_bytes = 64u << 20,
                                            .writers = 2,
                                            .builders = 1,
                                            .readers_max = 8};
    struct error error = {0};
    ck_assert_msg(storage_open(&options, &session->storage, &error) == STATUS_OK, "%s",
                  error.message);
    const struct api_options api_options = {.storage = session->storage,
                                            .version = "0.0.0",
                                            .commit = "0123456789012345678901234567890123456789",
                                            .timeout_ms = 60000,
                                            .memory_mb = 64};
    ck_assert_int_eq(api_create(&api_options, &session->api, &error), STATUS_OK);
}

static inline void session_open(struct session *session) {
    *session = (struct session){.path = "/tmp/nigh-api-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(session->path));
    session_reopen(session);
}

static inline void session_shut(struct session *session) {
    api_free(session->api);
    storage_close(session->storage, 5000);
}

static int session_remove(const char *path, const struct stat *status, int kind, struct FTW *ftw) {
    (void)status;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static inline void session_close(struct session *session) {
    session_shut(session);
    nftw(session->path, session_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* request: "PUT /collections/x?wait=true". A request that no route takes is answered as the server
 * would: 404 or 405. arena_limit: what the call may use. */
static inline struct reply session_call_limited(struct session *session, const char *request,
                                                const char *body, size_t body_length,
                                                size_t arena_limit) {
    struct session_call own = {.is_done = false};
    struct reply reply = {.status = 0};
    char method[16], allow[64];
    struct timespec now;
    pthread_mutex_init(&own.mutex, NULL);
    pthread_cond_init(&own.changed, NULL);
    arena_init(&own.arena, arena_limit);
    api_call_init(&own.call, session->api, &own.arena);
    size_t method_length = strcspn(request, " ");
    snprintf(method, sizeof(method), "%.*s", (int)method_length, request);
    const char *target = request + method_length + 1;
    size_t path_length = strcspn(target, "?");
    reply.match = routes_match(method, target, path_length, &own.arena, &own.call.route,
                               &own.call.arguments, allow);
    if (reply.match != ROUTE_FOUND) {
        reply.status = reply.match == ROUTE_WRONG_METHOD ? 405 : 404;
        arena_free(&own.arena);
        return reply;
    }
    if (target[path_length] == '?') {
        own.call.query = target + path_length + 1;
        own.call.query_length = strlen(own.call.query);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    own.call.started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    own.call.started_ns -= session->late_ns;
    atomic_store(&own.call.is_cancelled, session->is_left);
    own.call.body = body;
    own.call.body_length = body_length;
    own.call.is_read_only = session->is_read_only;
    own.call.context = &own;
    own.call.done = session_done;
    own.call.free_call = session_free;
    if (session->is_clocked)
        stage_clock_start(&own.call.stages);
    api_run(&own.call);
    session_wait(&own, &own.is_done);
    stage_clock_stop(&own.call.stages); /* of a read; of a write it stands */
    reply.stages = own.call.stages;
    reply.status = own.call.answer.http_status;
    reply.retry_after_s = own.call.answer.retry_after_s;
    reply.length = own.call.answer.length;
    reply.body = malloc(reply.length + 1);
    if (reply.length > 0)
        memcpy(reply.body, own.call.answer.body, reply.length);
    reply.body[reply.length] = '\0';
    api_call_release(&own.call);
    session_wait(&own, &own.is_free);
    arena_free(&own.arena);
    pthread_mutex_destroy(&own.mutex);
    pthread_cond_destroy(&own.changed);
    return reply;
}

static inline struct reply session_call(struct session *session, const char *request,
                                        const char *body) {
    return session_call_limited(session, request, body ? body : "", body ? strlen(body) : 0,
                                64u << 20);
}

/* One request and what must come of it. */
struct step {
    const char *request;
    const char *body; /* NULL: none */
    unsigned status;
    const char *answer; /* all of the answer before ,"time": if it begins with '{' or '['; else a
                           part of it; NULL: whatever */
};

static inline void session_step(struct session *session, const struct step *step) {
    struct reply reply = session_call(session, step->request, step->body);
    const char *body = reply.body ? reply.body : "";
    ck_assert_msg(reply.status == step->status, "%s %s\nis answered %u, not %u: %s", step->request,
                  step->body ? step->body : "", reply.status, step->status, body);
    if (step->answer && *step->answer == '{') {
        const char *time = strstr(body, ",\"time\":");
        size_t length = time ? (size_t)(time - body) : strlen(body);
        ck_assert_msg(strlen(step->answer) == length && memcmp(step->answer, body, length) == 0,
                      "%s %s\nis answered\n%s, not\n%s", step->request,
                      step->body ? step->body : "", body, step->answer);
    } else if (step->answer) {
        ck_assert_msg(strstr(body, step->answer) != NULL, "%s %s\nis answered\n%s, without\n%s",
                      step->request, step->body ? step->body : "", body, step->answer);
    }
    free(reply.body);
}

static inline void session_steps(struct session *session, const struct step *steps, size_t count) {
    for (size_t i = 0; i < count; i++)
        session_step(session, &steps[i]);
}

#endif
