#include "storage/process_memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = PATH_MAX + 256,
    KIBIBYTE = 1024,
};

static const struct process_memory_sources kernel = {
    .groups = "/proc/self/cgroup", .group_tree = "/sys/fs/cgroup", .machine = "/proc/meminfo"};

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* The number in the file; UINT64_MAX if there is none, as where it says "max". */
static uint64_t read_number(const char *path) {
    uint64_t number = UINT64_MAX;
    FILE *file = fopen(path, "re");
    if (!file)
        return number;
    if (fscanf(file, "%" SCNu64, &number) != 1)
        number = UINT64_MAX;
    fclose(file);
    return number;
}

/* The limit of a group and of all above it. In a container the path may be one of the host, which
 * is not seen here: the root of what is seen is the container's own group then. */
static uint64_t read_groups(const char *tree, const char *file_name, char *group) {
    uint64_t limit = UINT64_MAX;
    for (;;) {
        char path[LINE_MAX_BYTES];
        int n = snprintf(path, sizeof(path), "%s%s/%s", tree, group, file_name);
        if (n > 0 && (size_t)n < sizeof(path))
            limit = smaller(limit, read_number(path));
        char *last = strrchr(group, '/');
        if (!last)
            return limit;
        *last = '\0';
    }
}

/* Lines are "number:controllers:/path"; version 2 has number 0 and no controllers. */
static uint64_t read_limit_of_groups(const struct process_memory_sources *sources) {
    uint64_t limit = UINT64_MAX;
    char line[LINE_MAX_BYTES], tree[PATH_MAX];
    FILE *file = fopen(sources->groups, "re");
    if (!file)
        return limit;
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        controllers++;
        int n = snprintf(tree, sizeof(tree), "%s%s", sources->group_tree,
                         *controllers == '\0' ? "" : "/memory");
        if (n < 0 || (size_t)n >= sizeof(tree))
            continue;
        if (*controllers == '\0')
            limit = smaller(limit, read_groups(tree, "memory.max", path));
        else if (strcmp(controllers, "memory") == 0)
            limit = smaller(limit, read_groups(tree, "memory.limit_in_bytes", path));
    }
    fclose(file);
    return limit;
}

static uint64_t read_memory_of_machine(const char *path) {
    uint64_t kibibytes = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return UINT64_MAX;
    int found = fscanf(file, "MemTotal: %" SCNu64, &kibibytes);
    fclose(file);
    return found == 1 ? kibibytes * KIBIBYTE : UINT64_MAX;
}

uint64_t process_memory_limit(const struct process_memory_sources *sources) {
    if (!sources)
        sources = &kernel;
    return smaller(read_limit_of_groups(sources), read_memory_of_machine(sources->machine));
}

uint64_t process_memory_used(void) {
    uint64_t mapped, resident = 0, shared = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    int found = fscanf(file, "%" SCNu64 " %" SCNu64 " %" SCNu64, &mapped, &resident, &shared);
    fclose(file);
    return found == 3 && resident > shared ? (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE)
                                           : 0;
}

uint64_t process_memory_huge(void) {
    uint64_t kibibytes = 0;
    char line[LINE_MAX_BYTES];
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "AnonHugePages: %" SCNu64, &kibibytes) == 1)
            break;
    fclose(file);
    return kibibytes * KIBIBYTE;
}
