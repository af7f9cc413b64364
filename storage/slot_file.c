#include "storage/slot_file.h"
#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/*  0 magic | 8 u32 version | 12 u32 slots | 16 u64 operation | 24 u64 incarnation | 32 u64 points
 * 40 zeros | 56 u64 XXH3 of all that follows it, seed: XXH3 of the 56 bytes before | 64 born of
 * each
 */
enum {
    HEADER_BYTES = 64,
    SUM_AT = 56,
    SLOT_FILE_VERSION = 2, /* 1: may go with a graph that knows more slots than rows do */
};

static const char magic[8] = {'n', 'i', 'g', 'h', 's', 'l', 'o', 't'};

static bool file_name(const char *folder, char path[PATH_MAX]) {
    return file_path_join(path, PATH_MAX, folder, "slots.bin");
}

static void put_header(uint8_t *bytes, const struct collection_state *state) {
    memset(bytes, 0, HEADER_BYTES);
    memcpy(bytes, magic, sizeof(magic));
    row_put_u32(bytes + 8, SLOT_FILE_VERSION);
    row_put_u32(bytes + 12, state->next_slot);
    row_put_u64(bytes + 16, state->operation);
    row_put_u64(bytes + 24, state->incarnation);
    row_put_u64(bytes + 32, state->points);
}

static uint64_t sum_of(const uint8_t *bytes, size_t length) {
    return XXH3_64bits_withSeed(bytes + HEADER_BYTES, length - HEADER_BYTES,
                                XXH3_64bits(bytes, SUM_AT));
}

enum status slot_file_save(const char *folder, const struct slots *slots, uint64_t operation,
                           uint64_t incarnation, struct error *error) {
    char path[PATH_MAX];
    struct collection_state state = {
        .next_slot = slots_end(slots), .operation = operation, .incarnation = incarnation};
    size_t length = HEADER_BYTES + (size_t)state.next_slot * sizeof(uint64_t);
    if (!file_name(folder, path))
        return error_set(error, STATUS_INVALID, "path too long: %s", folder);
    uint8_t *bytes = malloc(length);
    if (!bytes)
        return error_set(error, STATUS_NO_MEMORY, "out of memory for the table of slots");
    for (uint32_t slot = 0; slot < state.next_slot; slot++) {
        bool is_visible = slots_visible(slots, slot, operation);
        state.points += is_visible;
        row_put_u64(bytes + HEADER_BYTES + (size_t)slot * sizeof(uint64_t),
                    is_visible ? slots_born_at(slots, slot) : 0);
    }
    put_header(bytes, &state);
    row_put_u64(bytes + SUM_AT, sum_of(bytes, length));
    enum status status = file_replace(path, bytes, length, error);
    free(bytes);
    return status;
}

/* Reads a file of whole numbers behind a header, not more of them than the collection has slots;
 * *slots tells how many. The rest of the memory is zero. */
static uint8_t *read_file(int fd, const struct collection_state *state, uint32_t *slots) {
    struct stat info;
    uint64_t most = HEADER_BYTES + (uint64_t)state->next_slot * sizeof(uint64_t);
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode) || info.st_size < HEADER_BYTES ||
        (uint64_t)info.st_size > most || info.st_size % (off_t)sizeof(uint64_t) != 0)
        return NULL;
    size_t length = (size_t)info.st_size;
    uint8_t *bytes = calloc(1, most);
    for (size_t at = 0; bytes && at < length;) {
        ssize_t count = pread(fd, bytes + at, length - at, (off_t)at);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            free(bytes);
            return NULL;
        }
        at += (size_t)count;
    }
    *slots = (uint32_t)((length - HEADER_BYTES) / sizeof(uint64_t));
    return bytes;
}

/* Of the collection as it is now, and whole. */
static bool is_usable(const uint8_t *bytes, uint32_t slots, const struct collection_state *state) {
    uint8_t expected[HEADER_BYTES];
    struct collection_state written = *state;
    size_t length = HEADER_BYTES + (size_t)slots * sizeof(uint64_t);
    uint64_t points = 0;
    written.next_slot = slots;
    put_header(expected, &written);
    if (memcmp(bytes, expected, SUM_AT) != 0 ||
        row_get_u64(bytes + SUM_AT) != sum_of(bytes, length))
        return false;
    for (size_t at = HEADER_BYTES; at < length; at += sizeof(uint64_t)) {
        uint64_t born = row_get_u64(bytes + at);
        points += born > 0;
        if (born > state->operation)
            return false;
    }
    return points == state->points;
}

uint64_t *slot_file_load(const char *folder, const struct collection_state *state) {
    char path[PATH_MAX];
    uint32_t slots = 0;
    if (!file_name(folder, path))
        return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    uint8_t *bytes = read_file(fd, state, &slots);
    close(fd);
    if (bytes && is_usable(bytes, slots, state)) {
        memmove(bytes, bytes + HEADER_BYTES, (size_t)state->next_slot * sizeof(uint64_t));
        return (uint64_t *)(void *)bytes;
    }
    free(bytes);
    slot_file_remove(folder);
    return NULL;
}

void slot_file_remove(const char *folder) {
    char path[PATH_MAX];
    if (file_name(folder, path))
        unlink(path);
}
