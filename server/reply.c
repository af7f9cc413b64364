#include "server/reply.h"

#include <assert.h>
#include <sys/socket.h>
#include <sys/uio.h>

void reply_begin(struct reply *reply, const struct api_answer *answer, bool is_closing) {
    size_t head_length = http_response_write_head(
        &(struct http_response){
            .http_status = answer->http_status,
            .content_type = answer->content_type,
            .length = answer->length,
            .retry_after_s = answer->retry_after_s,
            .allow = reply->allow,
            .is_closing = is_closing,
            .is_http_1_0 = reply->is_http_1_0,
            .has_cors = reply->has_cors,
            .is_preflight = reply->is_preflight,
            .now = time(NULL),
        },
        reply->head);
    reply->is_begun = true;
    reply->left[0] = (struct http_text){.bytes = reply->head, .length = head_length};
    reply->left[1] =
        (struct http_text){.bytes = answer->body, .length = reply->is_head ? 0 : answer->length};
}

unsigned reply_next(const struct reply *reply, size_t bytes_max, uv_buf_t buffers[REPLY_BUFFERS]) {
    unsigned count = 0;
    for (size_t i = 0; i < REPLY_BUFFERS; i++) {
        const struct http_text *left = &reply->left[i];
        size_t length = left->length < bytes_max ? left->length : bytes_max;
        if (length > 0)
            buffers[count++] = (uv_buf_t){.base = (char *)(uintptr_t)left->bytes, .len = length};
        bytes_max -= length;
    }
    return count;
}

void reply_pass(struct reply *reply, size_t sent) {
    for (size_t i = 0; i < REPLY_BUFFERS; i++) {
        struct http_text *left = &reply->left[i];
        size_t length = sent < left->length ? sent : left->length;
        left->bytes += length;
        left->length -= length;
        sent -= length;
    }
    assert(sent == 0);
}

/* ---- The loop ------------------------------------------------------------------------------- */

void reply_allow(struct reply *reply, int fd) {
    assert(!reply->is_begun && fd >= 0);
    reply->fd = fd;
    /* The queue of the workers publishes it. */
    atomic_store_explicit(&reply->stage, REPLY_ALLOWED, memory_order_relaxed);
}

enum reply_stage reply_recall(struct reply *reply) {
    enum reply_stage stage = atomic_load_explicit(&reply->stage, memory_order_acquire);
    while (stage == REPLY_ALLOWED || stage == REPLY_UNDERWAY) {
        enum reply_stage wanted = stage == REPLY_ALLOWED ? REPLY_KEPT : REPLY_AWAITED;
        if (atomic_compare_exchange_weak_explicit(&reply->stage, &stage, wanted,
                                                  memory_order_acq_rel, memory_order_acquire))
            return wanted;
    }
    return stage;
}

bool reply_is_sent(const struct reply *reply) {
    return atomic_load_explicit(&reply->stage, memory_order_acquire) == REPLY_SENT;
}

/* ---- The worker ----------------------------------------------------------------------------- */

bool reply_claim(struct reply *reply) {
    enum reply_stage stage = REPLY_ALLOWED;
    return atomic_load_explicit(&reply->stage, memory_order_relaxed) == REPLY_ALLOWED &&
           atomic_compare_exchange_strong_explicit(&reply->stage, &stage, REPLY_UNDERWAY,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* An error of the socket is left to the loop, which will meet it again. */
static bool send_all(struct reply *reply) {
    uv_buf_t buffers[REPLY_BUFFERS];
    struct msghdr message = {.msg_iov = (struct iovec *)buffers}; /* libuv's promise for Unix */
    message.msg_iovlen = reply_next(reply, SIZE_MAX, buffers);
    ssize_t sent = sendmsg(reply->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
        reply_pass(reply, (size_t)sent);
    return reply_next(reply, SIZE_MAX, buffers) == 0;
}

enum reply_stage reply_send(struct reply *reply, const struct api_answer *answer, bool is_awaited) {
    assert(atomic_load(&reply->stage) >= REPLY_UNDERWAY && !reply->is_begun);
    reply_begin(reply, answer, false);
    if (!send_all(reply) || is_awaited)
        return REPLY_AWAITED;
    enum reply_stage stage = REPLY_UNDERWAY;
    return atomic_compare_exchange_strong_explicit(&reply->stage, &stage, REPLY_SENT,
                                                   memory_order_acq_rel, memory_order_acquire)
               ? REPLY_SENT
               : stage;
}
