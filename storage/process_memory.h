/* process_memory.h -- how much memory the process may take, and how much it has taken.
 *
 * Counted are anonymous pages: graphs, codes, requests. Pages of data files are not, since the
 * kernel takes them back when it needs them. Threads: any.
 */
#ifndef PROCESS_MEMORY_H
#define PROCESS_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Where the kernel tells; a test has folders of its own. */
struct process_memory_sources {
    const char *groups;     /* file: the groups of this process, "/proc/self/cgroup" */
    const char *group_tree; /* folder: "/sys/fs/cgroup" */
    const char *machine;    /* file: "/proc/meminfo" */
};

/* The smallest of the machine's memory and of what its control groups (either version, each up to
 * the root) may use, in bytes; UINT64_MAX if nothing can be read. NULL: the kernel's own. */
uint64_t process_memory_limit(const struct process_memory_sources *sources);

/* Resident anonymous bytes of this process; 0 if they cannot be read. */
uint64_t process_memory_used(void);

/* Of those, the bytes that lie in huge pages; 0 if it cannot be told. Walks the page tables: some
 * milliseconds for many gigabytes. */
uint64_t process_memory_huge(void);

#endif
