#include "server/lane_serve.h"

#include "server/lane.h"
#include "server/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct lane_hand {
    struct server *server;
    struct job_pool pool;
    struct http_head head;
    char buffer[LANE_REQUEST_BYTES_MAX];
};

enum status lane_hand_create(struct server *server, struct lane_hand **created,
                             struct error *error) {
    struct lane_hand *hand = calloc(1, sizeof(*hand));
    if (!hand)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the workers");
    hand->server = server;
    job_pool_init(&hand->pool, &server->totals);
    *created = hand;
    return STATUS_OK;
}

void lane_hand_free(struct lane_hand *hand) {
    if (hand)
        job_pool_free(&hand->pool);
    free(hand);
}

/* ---- Reading -------------------------------------------------------------------------------- */

enum outcome {
    READ_NOTHING, /* or not all of a request yet */
    READ_REQUEST,
    READ_OTHER, /* for the loop */
};

struct reading {
    struct job *job;
    bool is_body_lost; /* no memory for it */
};

static void on_body(void *context, const char *bytes, size_t length) {
    struct reading *reading = context;
    if (job_append_body(reading->job, bytes, length) != STATUS_OK)
        reading->is_body_lost = true;
}

static void drop_bytes(struct lane_hand *hand, struct lane_seat *seat) {
    job_totals_give(&hand->server->totals, seat->length);
    free(seat->bytes);
    seat->bytes = NULL;
    seat->length = 0;
}

/* Keeps all of the bytes, of which the seat has the first; without memory they are lost. With the
 * budget spent they are kept for the loop, which will refuse the request: false. */
static bool keep_bytes(struct lane_hand *hand, struct lane_seat *seat, size_t length) {
    size_t more = length - seat->length;
    char *grown = realloc(seat->bytes, length);
    seat->is_lost = !grown;
    if (!grown)
        return false;
    memcpy(grown + seat->length, hand->buffer + seat->length, more);
    seat->bytes = grown;
    seat->length = length;
    return job_totals_charge(&hand->server->totals, more);
}

/* True if a worker may answer the request of which the head is there. */
static bool is_usual(const struct lane_hand *hand, const struct lane_seat *seat,
                     const struct http_parser *parser) {
    return parser->is_keep_alive && !hand->head.is_chunked && !hand->head.expects_continue &&
           hand->head.content_length < LANE_REQUEST_BYTES_MAX &&
           lane_served(seat) < seat->served_max;
}

/* Judges the request and reads its body, all of which is there. */
static bool accept_request(struct lane_hand *hand, struct http_parser *parser,
                           struct reading *reading, const char *body, size_t length) {
    struct job *job = reading->job;
    size_t taken;
    job->reply.has_cors = hand->server->config->enable_cors;
    return request_judge(hand->server, &hand->head, job) == REQUEST_RUN &&
           job->call.route->access == ACCESS_READ &&
           (length == 0 ||
            http_parser_feed(parser, body, length, &taken, &hand->head) == HTTP_EVENT_COMPLETE) &&
           !reading->is_body_lost;
}

/* The connection's parser is not used: the loop will give it the same bytes if this fails. */
static enum outcome parse(struct lane_hand *hand, struct lane_seat *seat, size_t length,
                          struct job **job) {
    struct http_parser parser;
    struct reading reading = {0};
    enum outcome outcome = READ_OTHER;
    size_t head_length;
    http_parser_init(&parser, on_body, &reading);
    enum http_event event =
        http_parser_feed(&parser, hand->buffer, length, &head_length, &hand->head);
    size_t body_length = length - head_length;
    bool has_head = event == HTTP_EVENT_HEAD && is_usual(hand, seat, &parser);
    if (event == HTTP_EVENT_MORE || (has_head && body_length < hand->head.content_length))
        outcome = READ_NOTHING;
    else if (has_head && body_length == hand->head.content_length)
        reading.job = job_create(&hand->pool, seat->connection);
    if (reading.job &&
        accept_request(hand, &parser, &reading, hand->buffer + head_length, body_length)) {
        outcome = READ_REQUEST;
        *job = reading.job;
    } else if (reading.job) {
        job_release(reading.job);
    }
    http_parser_free(&parser);
    return outcome;
}

static ssize_t receive(int fd, char *to, size_t room) {
    ssize_t got;
    do
        got = recv(fd, to, room, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Reads what there is. Whatever is not a whole request stays at the seat. */
static enum outcome read_request(struct lane_hand *hand, struct lane_seat *seat, struct job **job) {
    size_t length = seat->length;
    if (length > 0)
        memcpy(hand->buffer, seat->bytes, length);
    ssize_t got = receive(seat->fd, hand->buffer + length, sizeof(hand->buffer) - length);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return READ_NOTHING;
    if (got <= 0) /* an end or an error, which the loop will meet again */
        return READ_OTHER;
    length += (size_t)got;
    /* With the buffer full there may be more, of which nobody would be told. */
    enum outcome outcome =
        length < sizeof(hand->buffer) ? parse(hand, seat, length, job) : READ_OTHER;
    if (outcome == READ_REQUEST) {
        drop_bytes(hand, seat);
        return READ_REQUEST;
    }
    seat->is_unusual = outcome == READ_OTHER;
    return keep_bytes(hand, seat, length) ? outcome : READ_OTHER;
}

/* ---- Running -------------------------------------------------------------------------------- */

/* The job has run. If the seat is to be given back, because the loop asks for it or the answer is
 * not all sent, the job goes along: while the loop may cancel it, it stays alive. */
static enum lane_verdict settle(struct lane_hand *hand, struct lane_seat *seat, struct job *job) {
    enum lane_verdict verdict = LANE_IS_ASKED;
    bool is_sent = reply_is_sent(&job->reply);
    atomic_store(&seat->running, NULL);
    atomic_fetch_add_explicit(&seat->served, 1, memory_order_relaxed);
    if (is_sent)
        verdict = lane_rest(hand->server->lane, seat);
    if (verdict != LANE_IS_ASKED) {
        job_release(job);
        return verdict;
    }
    atomic_fetch_sub_explicit(&seat->served, 1, memory_order_relaxed); /* the loop counts it */
    seat->job = job;
    return verdict;
}

static enum lane_verdict run_job(struct lane_hand *hand, struct lane_seat *seat, struct job *job) {
    metrics_add(hand->server->metrics, METRICS_jobs_run, 1);
    job->was_handed_over = true;
    job->seat = seat;
    reply_allow(&job->reply, seat->fd);
    atomic_store(&seat->running, job);
    job_run(job);
    return settle(hand, seat, job);
}

/* Serves until nothing is left to read. A client that is always there again is given to the loop
 * in the end, behind the others. */
static void go_on(struct lane_hand *hand, struct lane_seat *seat, enum lane_verdict verdict) {
    struct lane *lane = hand->server->lane;
    for (unsigned i = 0; verdict == LANE_GOES_ON && i < LANE_REQUESTS_A_TURN; i++) {
        struct job *job = NULL;
        enum outcome outcome = read_request(hand, seat, &job);
        if (outcome == READ_REQUEST)
            verdict = run_job(hand, seat, job);
        else
            verdict = outcome == READ_NOTHING ? lane_rest(lane, seat) : LANE_IS_ASKED;
    }
    if (verdict != LANE_RESTS)
        lane_give_back(lane, seat);
}

void lane_serve(struct lane_hand *hand, uint64_t key) {
    struct lane_seat *seat = lane_take(hand->server->lane, key);
    if (seat)
        go_on(hand, seat, LANE_GOES_ON);
}

void lane_run(struct lane_hand *hand, struct job *job) {
    struct lane_seat *seat = job->seat; /* without one the job may be gone when it has run */
    job_run(job);
    if (seat)
        go_on(hand, seat, settle(hand, seat, job));
}
