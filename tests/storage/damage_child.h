/* damage_child.h -- damaged data files, and processes that meet them: what such a process reads is
 * right, or it says so.
 *
 * Static functions in a header, as storage_fixture.h.
 */
#ifndef DAMAGE_CHILD_H
#define DAMAGE_CHILD_H

#include "tests/storage/storage_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
    DAMAGE_FILE_SPARE = 4096, /* bytes behind a file in memory */
    EXIT_SERVED = 0,          /* everything that was read was right */
    EXIT_GUARDED = 1,         /* map_guard ended the process */
    EXIT_REPORTED = 40,       /* damage was reported */
    EXIT_WRONG = 99,
};

/* ---- Files ------------------------------------------------------------------------------------
 */

struct file {
    char path[512];
    uint8_t *bytes; /* malloc'ed */
    size_t length;
};

FIXTURE void read_file(struct file *file) {
    struct stat info;
    int fd = open(file->path, O_RDONLY);
    ck_assert_msg(fd >= 0, "%s", file->path);
    ck_assert_int_eq(fstat(fd, &info), 0);
    file->length = (size_t)info.st_size;
    file->bytes = malloc(file->length + DAMAGE_FILE_SPARE);
    ck_assert_int_eq(read(fd, file->bytes, file->length), (ssize_t)file->length);
    close(fd);
}

/* A file of the n-th collection that was created. */
FIXTURE void read_file_of(struct file *file, const char *folder, unsigned number,
                          const char *name) {
    snprintf(file->path, sizeof(file->path), "%s/collections/%016x/%s", folder, number, name);
    read_file(file);
}

FIXTURE void write_file(const struct file *file, const uint8_t *bytes, size_t length) {
    int fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(file_write_all(fd, bytes, length), 0);
    close(fd);
}

/* ---- Chance -----------------------------------------------------------------------------------
 */

static uint64_t random_state;

FIXTURE uint64_t draw(uint64_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % below;
}

/* ---- The process that meets the damage --------------------------------------------------------
 */

FIXTURE void must(bool holds, const char *what) {
    if (holds)
        return;
    fprintf(stderr, "wrong: %s\n", what);
    _exit(EXIT_WRONG);
}

FIXTURE void may_fail(enum status status, const struct error *error) {
    if (status == STATUS_OK)
        return;
    must(status == STATUS_CORRUPT || status == STATUS_IO, error->message);
    _exit(EXIT_REPORTED);
}

/* Runs meet in a process of its own, and returns what it said. */
FIXTURE int run_child(struct fixture *fixture, void (*meet)(struct fixture *fixture)) {
    int status;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(EXIT_WRONG);
        meet(fixture);
        storage_close(fixture->storage, 1000);
        _exit(EXIT_SERVED);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

#endif
