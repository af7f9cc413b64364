/* Cells, against centres looked at one by one in double precision. */
#include "index/cells.h"
#include "index/scratch.h"

#include "tests/support/run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIMENSION = 48,
    ROWS = 600,
    CELLS = 24,
    WANTED = 6,
};

static struct store store;
static struct code_space space;
static struct cells cells;
static struct index_scratch *scratch;
static uint32_t slots[ROWS];
static uint16_t found[ROWS * WANTED];

static float uniform(void) {
    return (float)rand() / (float)RAND_MAX - 0.5f;
}

static void set_up(int metric) {
    struct error error = {0};
    float vector[DIMENSION], rounding;
    ck_assert(codes_space_init(&space, metric == 0 ? DISTANCE_EUCLID : DISTANCE_DOT, DIMENSION));
    const struct store_layout layout = {.code_bytes = space.width, .link_count = 32};
    ck_assert(store_init(&store, &layout));
    ck_assert(store_reserve(&store, ROWS));
    ck_assert_int_eq(index_scratch_create(&scratch, &error), STATUS_OK);
    ck_assert(scratch_reserve(scratch, ROWS, space.width));
    srand(4);
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        for (size_t i = 0; i < DIMENSION; i++)
            vector[i] = uniform() + (float)(slot % CELLS == i);
        struct code_row row = {
            .code = store_code(&store, slot), .meta = store_meta(&store, slot), .error = &rounding};
        codes_encode(&space, vector, &scratch->query, &row);
        slots[slot] = slot;
    }
    ck_assert(cells_init(&cells, &store, &space, slots, ROWS, CELLS));
}

static void tear_down(void) {
    cells_free(&cells);
    index_scratch_free(scratch);
    store_free(&store);
    codes_space_free(&space);
}

static double value_of(const uint8_t *code, struct code_meta meta, size_t i) {
    return (double)meta.scale * (code[i] - 128);
}

static double distance_to(size_t cell, uint32_t slot) {
    double sum = 0;
    for (size_t i = 0; i < space.width; i++) {
        double apart =
            value_of(store_code(&store, slot), *store_meta(&store, slot), i) -
            value_of(cells.centres.rows + cell * space.width, cells.centres.metas[cell], i);
        sum += apart * apart;
    }
    return sum;
}

/* Sums in f32 may put two that are as near as this into another order. */
static const double hardly = 1e-4;

/* The nearest cell of each slot. All cells are looked at: there are few. */
static void assign_all(void) {
    for (size_t first = 0; first < ROWS; first += CELLS_TOGETHER) {
        size_t left = ROWS - first;
        ck_assert(cells_find(&cells, slots + first, left < CELLS_TOGETHER ? left : CELLS_TOGETHER,
                             1, &scratch->block, found + first));
    }
}

START_TEST(each_slot_is_assigned_to_its_nearest_centre) {
    set_up(_i);
    assign_all();
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        for (size_t cell = 0; cell < CELLS; cell++)
            ck_assert_double_le(distance_to(found[slot], slot), distance_to(cell, slot) + hardly);
    }
    tear_down();
}
END_TEST

START_TEST(the_nearest_cells_are_found_nearest_first) {
    set_up(_i);
    ck_assert(cells_find(&cells, slots, 0, WANTED, &scratch->block, found));
    for (size_t count = 1; count <= CELLS_TOGETHER; count += 7) {
        ck_assert(cells_find(&cells, slots + count, count, WANTED, &scratch->block, found));
        for (size_t i = 0; i < count; i++) {
            uint32_t slot = slots[count + i];
            const uint16_t *near = found + i * WANTED;
            size_t nearer = 0;
            for (size_t cell = 0; cell < CELLS; cell++)
                nearer += distance_to(cell, slot) < distance_to(near[0], slot) - hardly;
            ck_assert_uint_eq(nearer, 0);
            for (size_t place = 1; place < WANTED && near[place] != CELLS_NONE; place++) {
                ck_assert_uint_ne(near[place], near[place - 1]);
                ck_assert_double_ge(distance_to(near[place], slot) + hardly,
                                    distance_to(near[place - 1], slot));
            }
        }
    }
    tear_down();
}
END_TEST

/* Where there are many cells only those of near regions are looked at. Of the nearest there must be
 * many among them, also in a set as shapeless as this, where an eighth would be there by chance. */
START_TEST(near_cells_lie_in_near_regions) {
    enum {
        MANY = 500,
    };
    set_up(_i);
    cells_free(&cells);
    ck_assert(cells_init(&cells, &store, &space, slots, ROWS, MANY));
    size_t right = 0;
    for (uint32_t slot = 0; slot < ROWS; slot += CELLS_TOGETHER / 2) {
        ck_assert(cells_find(&cells, slots + slot, 1, WANTED, &scratch->block, found));
        for (size_t place = 0; place < WANTED; place++) {
            size_t nearer = 0;
            ck_assert_uint_ne(found[place], CELLS_NONE);
            for (size_t cell = 0; cell < MANY; cell++)
                nearer += distance_to(cell, slot) < distance_to(found[place], slot) - hardly;
            right += nearer < WANTED;
        }
    }
    double share = (double)right / (WANTED * ((ROWS - 1) / (CELLS_TOGETHER / 2) + 1));
    ck_assert_msg(share > 0.45 && share < 1, "%.3f", share);
    tear_down();
}
END_TEST

static double sum_of_distances(void) {
    double sum = 0;
    assign_all();
    for (uint32_t slot = 0; slot < ROWS; slot++)
        sum += distance_to(found[slot], slot);
    return sum;
}

START_TEST(centres_move_to_means_and_come_nearer) {
    set_up(_i);
    double before = sum_of_distances();
    uint8_t lost[KERNELS_BLOCK * 2];
    for (uint32_t slot = 0; slot < ROWS; slot++) /* a cell without slots stays where it is */
        found[slot] = found[slot] == 3 ? CELLS_NONE : found[slot];
    memcpy(lost, cells.centres.rows + 3 * space.width, space.width);
    ck_assert(cells_move(&cells, slots, ROWS, found));
    ck_assert_mem_eq(lost, cells.centres.rows + 3 * space.width, space.width);
    for (size_t cell = 0; cell < CELLS; cell++) {
        double mean[DIMENSION * 2] = {0}, count = 0;
        for (uint32_t slot = 0; slot < ROWS; slot++) {
            if (found[slot] != cell)
                continue;
            count++;
            for (size_t i = 0; i < space.width; i++)
                mean[i] += value_of(store_code(&store, slot), *store_meta(&store, slot), i);
        }
        for (size_t i = 0; i < space.width && count > 0; i++)
            ck_assert_double_eq_tol(
                mean[i] / count,
                value_of(cells.centres.rows + cell * space.width, cells.centres.metas[cell], i),
                (double)cells.centres.metas[cell].scale * 0.51);
    }
    ck_assert_double_lt(sum_of_distances(), before);
    tear_down();
}
END_TEST

START_TEST(lists_grow) {
    set_up(_i);
    assign_all();
    for (uint32_t slot = 0; slot < ROWS; slot++)
        ck_assert(cells_add(&cells, found[slot], slot));
    size_t count = 0;
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (uint32_t i = 0; i < cells.lists[cell].count; i++)
            ck_assert_uint_eq(found[cells.lists[cell].slots[i]], cell);
        count += cells.lists[cell].count;
    }
    ck_assert_uint_eq(count, ROWS);
    tear_down();
}
END_TEST

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, KERNELS_BLOCK);
}

/* Sorting changes the order of cells alone; regions have each cell once, and none has none. */
START_TEST(sorting_keeps_all_cells) {
    set_up(_i);
    size_t bytes = CELLS * space.width;
    uint8_t *before = malloc(bytes), *after = malloc(bytes);
    ck_assert_uint_eq(space.width, KERNELS_BLOCK);
    memcpy(before, cells.centres.rows, bytes);
    assign_all();
    ck_assert(cells_move(&cells, slots, ROWS, found));
    memcpy(before, cells.centres.rows, bytes);
    ck_assert(cells_sort(&cells));
    memcpy(after, cells.centres.rows, bytes);
    qsort(before, CELLS, KERNELS_BLOCK, by_bytes);
    qsort(after, CELLS, KERNELS_BLOCK, by_bytes);
    ck_assert_mem_eq(before, after, bytes);
    uint32_t next = 0;
    for (size_t i = 0; i < cells.regions_count; i++) {
        ck_assert_uint_eq(cells.regions[i].first, next);
        ck_assert_uint_ge(cells.regions[i].count, 1);
        ck_assert_uint_le(cells.regions[i].count, cells.region_max);
        next += cells.regions[i].count;
    }
    ck_assert_uint_eq(next, CELLS);
    ck_assert_uint_gt(cells.regions_count, 1);
    free(before);
    free(after);
    tear_down();
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("cells");
    TCase *tcase = tcase_create("cells");
    tcase_add_loop_test(tcase, each_slot_is_assigned_to_its_nearest_centre, 0, 2);
    tcase_add_loop_test(tcase, the_nearest_cells_are_found_nearest_first, 0, 2);
    tcase_add_loop_test(tcase, centres_move_to_means_and_come_nearer, 0, 2);
    tcase_add_loop_test(tcase, near_cells_lie_in_near_regions, 0, 2);
    tcase_add_test(tcase, lists_grow);
    tcase_add_loop_test(tcase, sorting_keeps_all_cells, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
