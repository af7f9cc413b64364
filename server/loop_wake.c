#include "server/loop_wake.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_poll(uv_poll_t *poll, int code, int events) {
    struct loop_wake *wake = poll->data;
    uint64_t calls;
    (void)code;
    (void)events;
    /* Emptied first: a call that comes from here on wakes the loop once more. */
    if (read(wake->fd, &calls, sizeof(calls)) == (ssize_t)sizeof(calls))
        wake->woken(wake->context);
}

enum status loop_wake_open(struct loop_wake *wake, uv_loop_t *loop, struct error *error) {
    assert(wake->woken);
    wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake->fd < 0)
        return error_set(error, STATUS_UNAVAILABLE, "no file can be opened: %s", strerror(errno));
    wake->poll.data = wake;
    int code = uv_poll_init(loop, &wake->poll, wake->fd);
    if (code == 0)
        code = uv_poll_start(&wake->poll, UV_READABLE, on_poll);
    if (code < 0)
        return error_set(error, STATUS_IO, "cannot wake the network loop: %s", uv_strerror(code));
    return STATUS_OK;
}

void loop_wake_close(struct loop_wake *wake) {
    if (wake->fd >= 0)
        close(wake->fd);
    wake->fd = -1;
}

void loop_wake_call(const struct loop_wake *wake) {
    const uint64_t one = 1;
    ssize_t written;
    do
        written = write(wake->fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
    /* EAGAIN would mean 2^64 - 2 calls that nobody has looked at. */
    assert(written == (ssize_t)sizeof(one));
}
