#include "storage/posting_chunk.h"

#include "storage/slot_set.h"
#include "tests/support/run_suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const uint8_t key[] = {0, 7, 16, 'a', 0, 0, 0, 3};
static struct posting_chunk_scratch scratch;
static uint8_t stored[POSTING_CHUNK_BYTES_MAX]; /* the chunk as LMDB would have it */
static size_t stored_length;                    /* 0: there is none */
static bool model[POSTING_CHUNK_SLOTS];
static struct posting_chunk_edit edits[POSTING_CHUNK_SLOTS];

static struct posting_chunk open_stored(void) {
    struct posting_chunk chunk;
    ck_assert(posting_chunk_open(key, sizeof(key), stored, stored_length, &chunk));
    ck_assert(posting_chunk_is_sound(&chunk));
    return chunk;
}

static void check_against_model(void) {
    static uint64_t words[POSTING_CHUNK_WORDS];
    uint32_t count = 0, runs = 0;
    for (uint32_t slot = 0; slot < POSTING_CHUNK_SLOTS; slot++) {
        count += model[slot];
        runs += model[slot] && (slot == 0 || !model[slot - 1]);
    }
    if (stored_length == 0) {
        ck_assert_uint_eq(count, 0);
        return;
    }
    struct posting_chunk chunk = open_stored();
    ck_assert_uint_eq(chunk.count, count);
    ck_assert_uint_eq(posting_chunk_peek_count(stored, stored_length), count);
    memset(words, 0, sizeof(words));
    posting_chunk_fill(&chunk, words);
    uint32_t wrong = 0; /* counted, as an assertion a slot would take minutes */
    for (uint32_t slot = 0; slot < POSTING_CHUNK_SLOTS; slot++) {
        wrong += (words[slot / 64] >> slot % 64 & 1) != model[slot];
        wrong += posting_chunk_has(&chunk, (uint16_t)slot) != model[slot];
    }
    ck_assert_uint_eq(wrong, 0);
    /* The smallest of the three kinds is what is stored. */
    size_t least = 8192;
    least = count <= POSTING_CHUNK_LIST_MAX && count * 2 < least ? count * 2 : least;
    least = runs * 4 < least ? runs * 4 : least;
    ck_assert_uint_eq(stored_length, POSTING_CHUNK_HEADER + least);
}

/* Applies the edits; slots in ascending order. */
static void edit(size_t count) {
    bool changed, is_different = false;
    struct posting_chunk chunk;
    bool is_there = stored_length != 0;
    if (is_there)
        chunk = open_stored();
    size_t length = posting_chunk_edit(key, sizeof(key), is_there ? &chunk : NULL, edits, count,
                                       &scratch, &changed);
    for (size_t i = 0; i < count; i++) {
        is_different |= model[edits[i].slot] != edits[i].add;
        model[edits[i].slot] = edits[i].add;
    }
    ck_assert_int_eq(changed, is_different);
    memcpy(stored, scratch.value, length);
    stored_length = length;
}

static void edit_range(uint32_t first, uint32_t count, uint32_t step, bool add) {
    size_t used = 0;
    for (uint32_t i = 0; i < count; i++)
        edits[used++] =
            (struct posting_chunk_edit){.slot = (uint16_t)(first + i * step), .add = add};
    edit(used);
    check_against_model();
}

static void setup(void) {
    memset(model, 0, sizeof(model));
    stored_length = 0;
}

START_TEST(a_list_becomes_a_bitmap_past_4096_slots_and_a_list_again) {
    edit_range(0, POSTING_CHUNK_LIST_MAX, 3, true);
    ck_assert_int_eq(open_stored().kind, POSTING_CHUNK_LIST);
    edit_range(3 * POSTING_CHUNK_LIST_MAX, 1, 3, true);
    ck_assert_int_eq(open_stored().kind, POSTING_CHUNK_BITMAP);
    edit_range(0, 1, 1, false);
    ck_assert_int_eq(open_stored().kind, POSTING_CHUNK_LIST);
    edit_range(0, POSTING_CHUNK_LIST_MAX + 1, 3, false);
    ck_assert_uint_eq(stored_length, 0);
}
END_TEST

START_TEST(slots_in_a_row_are_runs) {
    edit_range(0, POSTING_CHUNK_SLOTS, 1, true);
    ck_assert_uint_eq(stored_length, POSTING_CHUNK_HEADER + 4);
    ck_assert_uint_eq(open_stored().count, POSTING_CHUNK_SLOTS);
    edit_range(100, 1, 1, false);
    ck_assert_uint_eq(stored_length, POSTING_CHUNK_HEADER + 8);
    edit_range(0, POSTING_CHUNK_SLOTS / 2, 2, false);
    ck_assert_int_eq(open_stored().kind, POSTING_CHUNK_BITMAP);
    edit_range(0, POSTING_CHUNK_SLOTS, 1, true);
    edit_range(0, POSTING_CHUNK_SLOTS, 1, false);
    ck_assert_uint_eq(stored_length, 0);
}
END_TEST

START_TEST(the_ends_of_a_chunk_are_slots_like_others) {
    edit_range(0, 1, 1, true);
    edit_range(POSTING_CHUNK_SLOTS - 1, 1, 1, true);
    edit_range(63, 2, 1, true);
    edit_range(POSTING_CHUNK_SLOTS - 65, 2, 1, true);
    edit_range(0, 1, 1, false);
    edit_range(POSTING_CHUNK_SLOTS - 1, 1, 1, false);
}
END_TEST

START_TEST(random_edits_agree_with_an_array_of_flags) {
    srand((unsigned)_i);
    for (int round = 0; round < 60; round++) {
        size_t count = 0;
        unsigned density = 1u << rand() % 16;
        uint32_t first = (uint32_t)rand() % POSTING_CHUNK_SLOTS, last = POSTING_CHUNK_SLOTS;
        if (rand() % 2)
            last = first + (uint32_t)rand() % (POSTING_CHUNK_SLOTS - first) + 1;
        int adds = rand() % 3; /* all, half, none */
        for (uint32_t slot = first; slot < last; slot++) {
            if ((unsigned)rand() % density == 0)
                edits[count++] = (struct posting_chunk_edit){
                    .slot = (uint16_t)slot, .add = adds == 0 || (adds == 1 && rand() % 2)};
        }
        edit(count);
        check_against_model();
    }
}
END_TEST

/* What a chunk of each kind looks like. */
static void store_kind(enum posting_chunk_kind kind) {
    if (kind == POSTING_CHUNK_LIST)
        edit_range(5, 40, 9, true);
    else if (kind == POSTING_CHUNK_BITMAP)
        edit_range(0, 20000, 3, true);
    else
        edit_range(1000, 3000, 1, true);
    ck_assert_int_eq(open_stored().kind, kind);
}

START_TEST(one_wrong_bit_anywhere_is_noticed) {
    struct posting_chunk chunk;
    store_kind((enum posting_chunk_kind)_i);
    size_t unnoticed = 0;
    for (size_t bit = 0; bit<stored_length * 8; bit += stored_length> 500 ? 37 : 1) {
        stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
        unnoticed += posting_chunk_open(key, sizeof(key), stored, stored_length, &chunk);
        stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ck_assert_uint_eq(unnoticed, 0);
    ck_assert(!posting_chunk_open(key, sizeof(key) - 1, stored, stored_length, &chunk));
    uint8_t other[sizeof(key)];
    memcpy(other, key, sizeof(key));
    other[3]++;
    ck_assert(!posting_chunk_open(other, sizeof(other), stored, stored_length, &chunk));
    for (size_t length = 0; length < stored_length; length++)
        unnoticed += posting_chunk_open(key, sizeof(key), stored, length, &chunk);
    ck_assert_uint_eq(unnoticed, 0);
}
END_TEST

START_TEST(sets_are_joined_as_flags_are) {
    enum {
        END = 3 * POSTING_CHUNK_SLOTS + 1000
    };
    static bool a[END], b[END];
    struct arena arena;
    arena_init(&arena, 64 << 20);
    srand((unsigned)_i);
    struct slot_set *x = slot_set_create(&arena, END), *y = slot_set_create(&arena, END),
                    *z = slot_set_create(&arena, END);
    uint32_t both = 0, either = 0, only = 0;
    for (uint32_t slot = 0; slot < END; slot++) {
        bool skips = slot / POSTING_CHUNK_SLOTS == 1; /* a chunk where a has nothing */
        a[slot] = !skips && rand() % 5 == 0;
        b[slot] = rand() % (_i + 1) == 0;
        if (a[slot])
            slot_set_add(x, slot);
        if (b[slot])
            slot_set_add(y, slot);
        both += a[slot] && b[slot];
        either += a[slot] || b[slot];
        only += a[slot] && !b[slot];
    }
    slot_set_or(z, x);
    slot_set_or(z, y);
    ck_assert_uint_eq(slot_set_count(z), either);
    slot_set_clear(z);
    ck_assert(slot_set_is_empty(z));
    slot_set_or(z, x);
    slot_set_and(z, y);
    ck_assert_uint_eq(slot_set_count(z), both);
    ck_assert_int_eq(slot_set_meets(x, y), both > 0);
    slot_set_clear(z);
    slot_set_or(z, x);
    slot_set_and_not(z, y);
    ck_assert_uint_eq(slot_set_count(z), only);
    ck_assert_int_eq(slot_set_is_empty(z), only == 0);
    ck_assert(!slot_set_meets(z, y));
    uint32_t wrong = 0;
    for (uint32_t slot = 0; slot < END; slot++)
        wrong += slot_set_has(z, slot) != (a[slot] && !b[slot]);
    ck_assert_uint_eq(wrong, 0);
    arena_free(&arena);
}
END_TEST

START_TEST(a_set_is_cut_at_any_slot) {
    static const uint32_t ends[] = {0, 1, 63, 64, 65, 65535, 65536, 65537, 131071, 131072};
    struct arena arena;
    arena_init(&arena, 64 << 20);
    struct slot_set *set = slot_set_create(&arena, 2 * POSTING_CHUNK_SLOTS);
    for (uint32_t slot = 0; slot < 2 * POSTING_CHUNK_SLOTS; slot++)
        slot_set_add(set, slot);
    slot_set_cut(set, ends[_i]);
    ck_assert_uint_eq(slot_set_count(set), ends[_i]);
    ck_assert(!slot_set_has(set, ends[_i]));
    arena_free(&arena);
}
END_TEST

START_TEST(a_set_fails_cleanly_when_the_arena_is_full) {
    struct arena arena;
    for (size_t limit = 0; limit < 10000; limit += 500) {
        arena_init(&arena, limit);
        slot_set_create(&arena, 100); /* NULL or a set; never a crash */
        arena_free(&arena);
    }
    arena_init(&arena, 1000);
    ck_assert_ptr_null(slot_set_create(&arena, 100));
    arena_free(&arena);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("posting_chunk");
    TCase *tcase = tcase_create("posting_chunk");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, a_list_becomes_a_bitmap_past_4096_slots_and_a_list_again);
    tcase_add_test(tcase, slots_in_a_row_are_runs);
    tcase_add_test(tcase, the_ends_of_a_chunk_are_slots_like_others);
    tcase_add_loop_test(tcase, random_edits_agree_with_an_array_of_flags, 0, 4);
    tcase_add_loop_test(tcase, one_wrong_bit_anywhere_is_noticed, 0, 3);
    tcase_add_loop_test(tcase, sets_are_joined_as_flags_are, 0, 4);
    tcase_add_loop_test(tcase, a_set_is_cut_at_any_slot, 0, 10);
    tcase_add_test(tcase, a_set_fails_cleanly_when_the_arena_is_full);
    suite_add_tcase(suite, tcase);
    return suite;
}
