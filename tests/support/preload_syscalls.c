/* preload_syscalls.c -- a shared object for LD_PRELOAD: makes chosen system calls of a running
 * server fail, be cut short, or be interrupted.
 *
 * The test maps the file that NIGH_PRELOAD_CONTROL names and writes one fault into it: which call,
 * on what kind of file, the how-manieth, with which error. LMDB and libuv come as shared libraries,
 * so their calls pass here too. The real work is done by syscall(2): no dlsym, nothing to recurse.
 *
 * It is not linked with nigh nor with its unit tests. Threads: any; the control is atomic words.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The order is known to tests/support/preload.py. */
enum call {
    CALL_NONE,
    CALL_PWRITE,
    CALL_PWRITEV,
    CALL_WRITE,
    CALL_WRITEV,
    CALL_READ,
    CALL_PREAD,
    CALL_FDATASYNC,
    CALL_FSYNC,
    CALL_OPEN,
    CALL_MMAP,
    CALL_FTRUNCATE,
    CALL_RENAME,
    CALL_UNLINK,
    CALL_MKDIR,
    CALL_ACCEPT,
    CALL_EPOLL_CTL,
    CALL_SENDMSG,
    CALL_RECV,
    CALL_COUNT,
};

enum target {
    TARGET_ANY,
    TARGET_FILE, /* regular files and folders */
    TARGET_SOCKET,
};

enum {
    PATH_PART_MAX = 128,
    SHORT_ERROR = 10000,
    LATE_ERROR = 10001,
};

/* Known to tests/support/preload.py. */
struct preload_syscalls_control {
    atomic_uint_fast64_t is_mapped;        /* set here once faults can be armed */
    atomic_uint_fast64_t call;             /* enum call; written last by the test: it arms */
    atomic_uint_fast64_t target;           /* enum target */
    atomic_uint_fast64_t first;            /* the how-manieth matching call fails first, from 1 */
    atomic_uint_fast64_t count;            /* how many fail from there on */
    atomic_uint_fast64_t error;            /* an errno; SHORT_ERROR: half is done; LATE_ERROR, of
                                              pwrite: the first is done, and EIO told of all */
    atomic_uint_fast64_t offset_end;       /* pwrite: only below this offset; 0: anywhere */
    atomic_uint_fast64_t matched;          /* matching calls since the test wrote 0 */
    atomic_uint_fast64_t failed;           /* of those, how many failed */
    char path_part[PATH_PART_MAX];         /* the file's path must hold it; "": any */
    atomic_uint_fast64_t seen[CALL_COUNT]; /* all calls, whatever is armed */
};

static_assert(offsetof(struct preload_syscalls_control, path_part) == 72, "the test writes there");
static_assert(offsetof(struct preload_syscalls_control, seen) == 200, "the test reads there");

static struct preload_syscalls_control *control;

/* What _FORTIFY_SOURCE makes of read() and of open() without a mode; no header declares them. */
ssize_t __read_chk(int fd, void *bytes, size_t length, size_t room);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);
int __openat64_2(int folder, const char *path, int flags);

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("NIGH_PRELOAD_CONTROL");
    long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;

    if (fd < 0)
        return;
    long mapped =
        syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
    syscall(SYS_close, fd);
    if (mapped == -1)
        return;
    control = (struct preload_syscalls_control *)mapped;
    atomic_store(&control->is_mapped, 1);
}

/* ---- Is it this call's turn? --------------------------------------------------------------------
 */

static bool is_target_fd(int fd) {
    enum target target = (enum target)atomic_load(&control->target);
    struct stat stat;

    if (target == TARGET_ANY)
        return true;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return false;
    if (target == TARGET_SOCKET)
        return S_ISSOCK(stat.st_mode);
    return S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode);
}

static bool holds_path_part(const char *path) {
    return control->path_part[0] == '\0' || strstr(path, control->path_part) != NULL;
}

static bool is_path_of_fd(int fd) {
    char link[64], path[PATH_MAX];

    if (control->path_part[0] == '\0')
        return true;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    return holds_path_part(path);
}

/* Counts a matching call; the error it is to fail with, 0 if it is spared. */
static int count_match(void) {
    uint64_t turn = atomic_fetch_add(&control->matched, 1) + 1;
    uint64_t first = atomic_load(&control->first);

    if (turn < first || turn - first >= atomic_load(&control->count))
        return 0;
    atomic_fetch_add(&control->failed, 1);
    int error = (int)atomic_load(&control->error);
    return error == LATE_ERROR && turn > first ? EIO : error;
}

static bool is_armed(enum call call) {
    if (!control)
        return false;
    atomic_fetch_add(&control->seen[call], 1);
    return atomic_load(&control->call) == call;
}

static int fault_fd(enum call call, int fd) {
    if (!is_armed(call) || !is_target_fd(fd) || !is_path_of_fd(fd))
        return 0;
    return count_match();
}

static int fault_path(enum call call, const char *path) {
    if (!is_armed(call) || !holds_path_part(path))
        return 0;
    return count_match();
}

static int fault_offset(enum call call, int fd, off_t offset) {
    if (!is_armed(call) || !is_target_fd(fd) || !is_path_of_fd(fd))
        return 0;
    uint64_t end = atomic_load(&control->offset_end);
    if (end != 0 && (uint64_t)offset >= end)
        return 0;
    return count_match();
}

static bool is_failure(int fault) {
    if (fault == 0 || fault == SHORT_ERROR || fault == LATE_ERROR)
        return false;
    errno = fault;
    return true;
}

/* Half of a transfer, but never none: zero would mean the end of the file. */
static size_t cut(int fault, size_t length) {
    return fault == SHORT_ERROR && length > 1 ? length / 2 : length;
}

/* The first buffer of several, halved if it is the only one that holds anything. */
static ssize_t write_cut(int fd, const struct iovec *vector, int count) {
    for (int i = 0; i < count; i++) {
        if (vector[i].iov_len > 0)
            return syscall(SYS_write, fd, vector[i].iov_base, cut(SHORT_ERROR, vector[i].iov_len));
    }
    return 0;
}

/* ---- Reading and writing ------------------------------------------------------------------------
 */

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    int fault = fault_offset(CALL_PWRITE, fd, offset);
    if (is_failure(fault))
        return -1;
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, cut(fault, length), offset);
    if (fault != LATE_ERROR)
        return done;
    errno = EIO;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite(fd, bytes, length, offset);
}

ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset) {
    int fault = fault_offset(CALL_PWRITEV, fd, offset);
    if (is_failure(fault))
        return -1;
    if (fault == SHORT_ERROR && count > 0)
        return syscall(SYS_pwrite64, fd, vector[0].iov_base, cut(fault, vector[0].iov_len), offset);
    return syscall(SYS_pwritev, fd, vector, count, offset, 0L);
}

ssize_t pwritev64(int fd, const struct iovec *vector, int count, off_t offset) {
    return pwritev(fd, vector, count, offset);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    int fault = fault_fd(CALL_WRITE, fd);
    if (is_failure(fault))
        return -1;
    return syscall(SYS_write, fd, bytes, cut(fault, length));
}

ssize_t writev(int fd, const struct iovec *vector, int count) {
    int fault = fault_fd(CALL_WRITEV, fd);
    if (is_failure(fault))
        return -1;
    if (fault == SHORT_ERROR)
        return write_cut(fd, vector, count);
    return syscall(SYS_writev, fd, vector, count);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    int fault = fault_fd(CALL_SENDMSG, fd);
    if (is_failure(fault))
        return -1;
    if (fault == SHORT_ERROR)
        return write_cut(fd, message->msg_iov, (int)message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    int fault = fault_fd(CALL_RECV, fd);
    if (is_failure(fault))
        return -1;
    return syscall(SYS_recvfrom, fd, bytes, cut(fault, length), flags, NULL, NULL);
}

ssize_t __recv_chk(int fd, void *bytes, size_t length, size_t room, int flags) {
    if (length > room)
        abort();
    return recv(fd, bytes, length, flags);
}

ssize_t read(int fd, void *bytes, size_t length) {
    int fault = fault_fd(CALL_READ, fd);
    if (is_failure(fault))
        return -1;
    return syscall(SYS_read, fd, bytes, cut(fault, length));
}

ssize_t __read_chk(int fd, void *bytes, size_t length, size_t room) {
    if (length > room)
        abort();
    return read(fd, bytes, length);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
    int fault = fault_offset(CALL_PREAD, fd, offset);
    if (is_failure(fault))
        return -1;
    return syscall(SYS_pread64, fd, bytes, cut(fault, length), offset);
}

ssize_t pread64(int fd, void *bytes, size_t length, off_t offset) {
    return pread(fd, bytes, length, offset);
}

/* ---- Making it last -----------------------------------------------------------------------------
 */

int fdatasync(int fd) {
    return is_failure(fault_fd(CALL_FDATASYNC, fd)) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    return is_failure(fault_fd(CALL_FSYNC, fd)) ? -1 : (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t length) {
    return is_failure(fault_fd(CALL_FTRUNCATE, fd)) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate64(int fd, off_t length) {
    return ftruncate(fd, length);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (is_failure(fault_fd(CALL_MMAP, fd)))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(address, length, protection, flags, fd, offset);
}

/* ---- Names --------------------------------------------------------------------------------------
 */

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    if (is_failure(fault_path(CALL_OPEN, path)))
        return -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

/* The mode is there only if the flags say that a file may be made. */
#define TAKE_MODE(flags, mode)                            \
    do {                                                  \
        if ((flags) & (O_CREAT | O_TMPFILE)) {            \
            va_list arguments;                            \
            va_start(arguments, flags);                   \
            (mode) = (mode_t)va_arg(arguments, unsigned); \
            va_end(arguments);                            \
        }                                                 \
    } while (0)

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    TAKE_MODE(flags, mode);
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    TAKE_MODE(flags, mode);
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    mode_t mode = 0;
    TAKE_MODE(flags, mode);
    return open_at(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    mode_t mode = 0;
    TAKE_MODE(flags, mode);
    return open_at(folder, path, flags, mode);
}

int __open_2(const char *path, int flags) {
    return open_at(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags) {
    return open_at(AT_FDCWD, path, flags, 0);
}

int __openat_2(int folder, const char *path, int flags) {
    return open_at(folder, path, flags, 0);
}

int __openat64_2(int folder, const char *path, int flags) {
    return open_at(folder, path, flags, 0);
}

int renameat(int folder, const char *from, int to_folder, const char *to) {
    if (is_failure(fault_path(CALL_RENAME, to)))
        return -1;
    return (int)syscall(SYS_renameat2, folder, from, to_folder, to, 0);
}

int rename(const char *from, const char *to) {
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int folder, const char *path, int flags) {
    if (is_failure(fault_path(CALL_UNLINK, path)))
        return -1;
    return (int)syscall(SYS_unlinkat, folder, path, flags);
}

int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    if (is_failure(fault_path(CALL_MKDIR, path)))
        return -1;
    return (int)syscall(SYS_mkdirat, folder, path, mode);
}

int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}

/* ---- Sockets ------------------------------------------------------------------------------------
 */

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *length, int flags) {
    if (is_failure(fault_fd(CALL_ACCEPT, fd)))
        return -1;
    return (int)syscall(SYS_accept4, fd, address.__sockaddr__, length, flags);
}

int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event) {
    if (is_failure(fault_fd(CALL_EPOLL_CTL, fd)))
        return -1;
    return (int)syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event);
}
