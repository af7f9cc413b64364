#include "storage/map_guard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The handler may run on any thread at any instruction, so it reads atomics only. length 0 marks a
 * range that is free or being changed. */
struct guarded_range {
    atomic_uintptr_t base;
    atomic_size_t length;
    atomic_uint_fast64_t number;
};

static struct guarded_range ranges[MAP_GUARD_RANGES_MAX];
static bool is_taken[MAP_GUARD_RANGES_MAX]; /* under mutex */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_int report_fd = -1;
static struct sigaction previous_bus, previous_segv;

static bool find_range(uintptr_t address, uint64_t *number) {
    for (size_t i = 0; i < MAP_GUARD_RANGES_MAX; i++) {
        size_t length = atomic_load(&ranges[i].length);
        uintptr_t base = atomic_load(&ranges[i].base);
        if (length > 0 && address >= base && address - base < length) {
            *number = atomic_load(&ranges[i].number);
            return true;
        }
    }
    return false;
}

static void on_fatal_signal(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    uint64_t number;
    if (!find_range((uintptr_t)info->si_addr, &number)) {
        /* Not ours: the fault happens again under the handler that was there before. */
        sigaction(signal_number, signal_number == SIGBUS ? &previous_bus : &previous_segv, NULL);
        return;
    }
    static const char message[] = "fatal: the data file of a collection is damaged; it will be "
                                  "quarantined at the next start\n";
    int fd = atomic_load(&report_fd);
    if (fd >= 0 && write(fd, &number, sizeof(number)) < 0)
        _exit(2); /* the next start meets the file again, and says so again */
    if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
        _exit(1);
    if (fd >= 0)
        fsync(fd);
    _exit(1);
}

enum status map_guard_open(const char *path, uint64_t *numbers, size_t *count,
                           struct error *error) {
    assert(atomic_load(&report_fd) < 0);
    *count = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0640);
    if (fd < 0)
        return error_set(error, STATUS_IO, "open %s: %s", path, strerror(errno));
    ssize_t n = pread(fd, numbers, MAP_GUARD_NUMBERS_MAX * sizeof(*numbers), 0);
    if (n > 0)
        *count = (size_t)n / sizeof(*numbers);
    atomic_store(&report_fd, fd);

    struct sigaction action = {.sa_sigaction = on_fatal_signal, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous_bus);
    sigaction(SIGSEGV, &action, &previous_segv);
    return STATUS_OK;
}

void map_guard_close(void) {
    int fd = atomic_exchange(&report_fd, -1);
    if (fd < 0)
        return;
    sigaction(SIGBUS, &previous_bus, NULL);
    sigaction(SIGSEGV, &previous_segv, NULL);
    close(fd);
}

void map_guard_forgive(uint64_t number) {
    uint64_t numbers[MAP_GUARD_NUMBERS_MAX];
    int fd = atomic_load(&report_fd);
    if (fd < 0)
        return;
    pthread_mutex_lock(&mutex);
    ssize_t n = pread(fd, numbers, sizeof(numbers), 0);
    size_t count = n > 0 ? (size_t)n / sizeof(*numbers) : 0, kept = 0;
    for (size_t i = 0; i < count; i++)
        if (numbers[i] != number)
            numbers[kept++] = numbers[i];
    /* The file is a hint: if it cannot be rewritten, a folder that is gone is named in it. */
    if (kept < count && ftruncate(fd, 0) == 0) {
        ssize_t written = write(fd, numbers, kept * sizeof(*numbers));
        (void)written;
    }
    pthread_mutex_unlock(&mutex);
}

int map_guard_add(const void *base, size_t length, uint64_t number) {
    int handle = -1;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < MAP_GUARD_RANGES_MAX && handle < 0; i++)
        if (!is_taken[i])
            handle = i;
    if (handle >= 0) {
        is_taken[handle] = true;
        atomic_store(&ranges[handle].number, number);
        atomic_store(&ranges[handle].base, (uintptr_t)base);
        atomic_store(&ranges[handle].length, length);
    }
    pthread_mutex_unlock(&mutex);
    return handle;
}

void map_guard_move(int handle, const void *base, size_t length) {
    if (handle < 0)
        return;
    atomic_store(&ranges[handle].length, 0);
    atomic_store(&ranges[handle].base, (uintptr_t)base);
    atomic_store(&ranges[handle].length, length);
}

void map_guard_remove(int handle) {
    if (handle < 0)
        return;
    pthread_mutex_lock(&mutex);
    atomic_store(&ranges[handle].length, 0);
    is_taken[handle] = false;
    pthread_mutex_unlock(&mutex);
}
