/* What the kernel tells of limits, in folders made for the test. */
#include "index/memory.h"
#include "storage/process_memory.h"
#include "tests/support/run_suite.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MACHINE_BYTES ((uint64_t)8 << 30)

static char folder[] = "/tmp/nigh-memory-XXXXXX";

static void write_file(const char *name, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void set_up(void) {
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    write_file("meminfo", "MemTotal:        8388608 kB\nMemFree:          100 kB\n");
}

static void tear_down(void) {
    char command[PATH_MAX + 16];
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0); /* NOLINT: the path is our own */
}

static uint64_t limit(void) {
    char groups[PATH_MAX], tree[PATH_MAX], machine[PATH_MAX];
    snprintf(groups, sizeof(groups), "%s/cgroup", folder);
    snprintf(tree, sizeof(tree), "%s/tree", folder);
    snprintf(machine, sizeof(machine), "%s/meminfo", folder);
    return process_memory_limit(
        &(struct process_memory_sources){.groups = groups, .group_tree = tree, .machine = machine});
}

static const struct group_case {
    const char *what, *groups;
    const char *file, *text; /* "": none */
    const char *file_2, *text_2;
    uint64_t expected;
} group_cases[] = {
    {"no group", "", "", "", "", "", MACHINE_BYTES},
    {"no limit", "0::/a\n", "tree/a/memory.max", "max\n", "", "", MACHINE_BYTES},
    {"its own limit", "0::/a/b\n", "tree/a/b/memory.max", "1048576\n", "", "", 1048576},
    {"the limit of a group above", "0::/a/b\n", "tree/a/b/memory.max", "max\n", "tree/a/memory.max",
     "4096\n", 4096},
    {"the smallest of several", "0::/a/b\n", "tree/a/b/memory.max", "8192\n", "tree/a/memory.max",
     "4096\n", 4096},
    {"a container's root", "0::/\n", "tree/memory.max", "12288\n", "", "", 12288},
    {"a path of the host", "0::/../host\n", "tree/memory.max", "12288\n", "", "", 12288},
    {"version 1", "4:cpu,cpuacct:/x\n9:memory:/x\n", "tree/memory/x/memory.limit_in_bytes",
     "65536\n", "tree/cpu,cpuacct/x/memory.limit_in_bytes", "1\n", 65536},
    {"version 1 without a limit", "9:memory:/x\n", "tree/memory/x/memory.limit_in_bytes",
     "9223372036854771712\n", "", "", MACHINE_BYTES},
    {"more than the machine has", "0::/a\n", "tree/a/memory.max", "99999999999999\n", "", "",
     MACHINE_BYTES},
    {"lines that are none", "nonsense\n0:\n0::/a\n", "tree/a/memory.max", "4096\n", "", "", 4096},
};

START_TEST(the_smallest_limit_above_a_process_counts) {
    const struct group_case *row = &group_cases[_i];
    write_file("cgroup", row->groups);
    if (*row->file)
        write_file(row->file, row->text);
    if (*row->file_2)
        write_file(row->file_2, row->text_2);
    ck_assert_msg(limit() == row->expected, "%s: %llu", row->what, (unsigned long long)limit());
}
END_TEST

START_TEST(without_anything_to_read_there_is_no_limit) {
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/meminfo", folder);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_uint_eq(limit(), UINT64_MAX);
    write_file("meminfo", "nothing of use\n");
    ck_assert_uint_eq(limit(), UINT64_MAX);
}
END_TEST

START_TEST(this_process_has_a_limit) {
    uint64_t found = process_memory_limit(NULL);
    ck_assert_uint_gt(found, (uint64_t)64 << 20);
    ck_assert_uint_lt(found, UINT64_MAX);
}
END_TEST

START_TEST(pages_count_once_they_are_written) {
    size_t bytes = (size_t)32 << 20;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    uint64_t before = process_memory_used();
    ck_assert_uint_gt(before, 0);
    memset(memory, 1, bytes);
    uint64_t after = process_memory_used();
    ck_assert_uint_ge(after - before, bytes * 3 / 4); /* the kernel counts in steps */
    munmap(memory, bytes);
    ck_assert_uint_lt(process_memory_used(), after - bytes / 2);
}
END_TEST

START_TEST(memory_that_is_mapped_for_an_index_may_lie_in_huge_pages) {
    size_t bytes = 8 * MEMORY_HUGE_PAGE;
    char *memory = memory_map(bytes);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 1, bytes);
    uint64_t before = process_memory_huge();
    memory_use_huge_pages(memory, bytes);
    uint64_t after = process_memory_huge();
    /* Whether the kernel gives any is its own affair; more than there are it does not tell. */
    ck_assert_uint_ge(after, before);
    ck_assert_uint_le(after, process_memory_used() + MEMORY_HUGE_PAGE);
    memory_unmap(memory, bytes);
    ck_assert_uint_eq(process_memory_huge(), before);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("process_memory");
    TCase *told = tcase_create("told");
    tcase_add_checked_fixture(told, set_up, tear_down);
    tcase_add_loop_test(told, the_smallest_limit_above_a_process_counts, 0,
                        sizeof(group_cases) / sizeof(group_cases[0]));
    tcase_add_test(told, without_anything_to_read_there_is_no_limit);
    suite_add_tcase(suite, told);
    TCase *used = tcase_create("used");
    tcase_add_test(used, this_process_has_a_limit);
    tcase_add_test(used, pages_count_once_they_are_written);
    tcase_add_test(used, memory_that_is_mapped_for_an_index_may_lie_in_huge_pages);
    suite_add_tcase(suite, used);
    return suite;
}
