/* slots.bin: what it says, and when nobody listens. */
#include "storage/slot_file.h"

#include "tests/support/run_suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SLOTS = 300,
    OPERATION = 40,
    HEADER = 64,
};

static const struct collection_state now = {
    .next_slot = SLOTS + 5, .incarnation = 9, .operation = OPERATION, .points = 198};

static char folder[64], path[96];

/* A third of the slots died before the operation, some afterwards, and some were born afterwards.
 */
static struct slots *make_slots(void) {
    struct slots *slots;
    struct error error;
    ck_assert_int_eq(slots_create(&slots, &error), STATUS_OK);
    ck_assert_int_eq(slots_reserve(slots, SLOTS, &error), STATUS_OK);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        slots_born(slots, slot, slot % 150 == 1 ? OPERATION + 1 : 1 + slot % 30);
        if (slot % 3 == 0)
            slots_died(slots, slot, OPERATION);
        else if (slot % 7 == 0)
            slots_died(slots, slot, OPERATION + 2);
    }
    return slots;
}

static void save(void) {
    struct error error;
    struct slots *slots = make_slots();
    strcpy(folder, "/tmp/nigh-slots-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/slots.bin", folder);
    ck_assert_int_eq(slot_file_save(folder, slots, OPERATION, now.incarnation, &error), STATUS_OK);
    slots_free(slots);
}

static void end(void) {
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void must_refuse(const struct collection_state *state, const char *what) {
    uint64_t *born = slot_file_load(folder, state);
    ck_assert_msg(!born, "%s was taken", what);
    ck_assert_msg(access(path, F_OK) < 0, "%s was left", what);
}

START_TEST(tells_who_lived_as_of_the_operation) {
    save();
    for (int i = 0; i < 2; i++) { /* reading changes nothing */
        uint64_t *born = slot_file_load(folder, &now);
        ck_assert_ptr_nonnull(born);
        for (uint32_t slot = 0; slot < now.next_slot; slot++) {
            bool lives = slot < SLOTS && slot % 3 != 0 && slot % 150 != 1;
            ck_assert_uint_eq(born[slot], lives ? 1 + slot % 30 : 0);
        }
        free(born);
    }
    end();
}
END_TEST

START_TEST(is_ignored_as_of_another_state) {
    struct collection_state others[] = {now, now, now, now, now};
    others[0].operation++;
    others[1].operation--;
    others[2].incarnation++;
    others[3].points++;
    others[4].next_slot = SLOTS - 1; /* more slots than there are */
    save();
    must_refuse(&others[_i], "a file of another state");
    ck_assert_ptr_null(slot_file_load(folder, &now)); /* gone */
    end();
}
END_TEST

START_TEST(is_ignored_if_a_byte_is_wrong) {
    save();
    int fd = open(path, O_RDONLY);
    unsigned char bytes[HEADER + SLOTS * 8];
    ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
    close(fd);
    for (size_t at = 0; at < sizeof(bytes); at += at < HEADER ? 1 : 5) {
        bytes[at] ^= 4;
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
        ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
        close(fd);
        must_refuse(&now, "a changed byte");
        bytes[at] ^= 4;
    }
    end();
}
END_TEST

START_TEST(is_ignored_at_any_other_length) {
    for (size_t length = 0; length < HEADER + SLOTS * 8 + 16; length += length < 80 ? 1 : 37) {
        save();
        ck_assert_int_eq(truncate(path, (off_t)length), 0);
        if (length != HEADER + SLOTS * 8)
            must_refuse(&now, "another length");
        end();
    }
}
END_TEST

START_TEST(tells_that_it_cannot_be_written) {
    struct error error;
    struct slots *slots = make_slots();
    ck_assert_int_eq(slot_file_save("/proc/self/no-such-folder", slots, 1, 1, &error), STATUS_IO);
    slots_free(slots);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("slot_file");
    TCase *tcase = tcase_create("slot_file");
    tcase_add_test(tcase, tells_who_lived_as_of_the_operation);
    tcase_add_loop_test(tcase, is_ignored_as_of_another_state, 0, 5);
    tcase_add_test(tcase, is_ignored_if_a_byte_is_wrong);
    tcase_add_test(tcase, is_ignored_at_any_other_length);
    tcase_add_test(tcase, tells_that_it_cannot_be_written);
    suite_add_tcase(suite, tcase);
    return suite;
}
