/* Vectors in blocks against plain arrays, for dimensions from one number to one a block. */
#include "storage/row_keys.h"
#include "storage/vector_blocks.h"
#include "tests/support/posting_env.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 150,
    ROUNDS = 30,
    MAP_BYTES = 256 * 1024 * 1024,
};

static const uint32_t dimensions[] = {1, 3, 8, 384, 768, 1536, 16376, 16377, 65536};

static float value_of(uint32_t slot, uint64_t born, uint32_t index) {
    return (float)(slot * 31 + born * 7 + index % 97);
}

static void check_slot(MDB_txn *txn, MDB_dbi dbi, const struct vector_layout *layout, uint32_t slot,
                       uint64_t born, struct place_cache *cache) {
    const float *values;
    struct error error = {0};
    enum status status =
        vector_blocks_read(txn, dbi, layout, slot, born > 0 ? born : 1, cache, &values, &error);
    if (born == 0) {
        ck_assert_int_eq(status, STATUS_CORRUPT);
        return;
    }
    ck_assert_msg(status == STATUS_OK, "%s", error.message);
    ck_assert_uint_eq((uintptr_t)values % sizeof(float), 0);
    for (uint32_t i = 0; i < layout->dimension; i++)
        if (values[i] != value_of(slot, born, i))
            ck_abort_msg("slot %u number %u", slot, i);
    ck_assert_int_eq(vector_blocks_read(txn, dbi, layout, slot, born + 1, cache, &values, NULL),
                     STATUS_CORRUPT);
}

START_TEST(what_was_written_is_read_whatever_the_dimension) {
    struct posting_env env;
    struct vector_batch batch = {0};
    struct error error = {0};
    uint64_t born[SLOTS] = {0};
    const struct vector_layout layout = vector_blocks_layout(7, dimensions[_i]);
    uint32_t slots = layout.capacity == 1 ? 12 : SLOTS;
    struct place_cache_pool caches;
    place_cache_pool_init(&caches);
    float *values = malloc(20 * (size_t)layout.dimension * sizeof(*values));
    posting_env_open(&env, MAP_BYTES);
    srand((unsigned)_i);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        MDB_txn *txn = posting_env_begin(&env, 0);
        for (int part = 0; part < 2; part++) { /* two batches in one transaction */
            for (uint32_t k = 0; k < 10; k++) {
                uint32_t slot = (uint32_t)rand() % slots;
                float *at = values + (size_t)k * layout.dimension;
                uint64_t operation = round * 100 + (uint64_t)part * 10 + k;
                for (uint32_t i = 0; i < layout.dimension; i++)
                    at[i] = value_of(slot, operation, i);
                bool is_repeated = born[slot] > round * 100 + (uint64_t)part * 10;
                if (is_repeated) /* an operation writes a slot once */
                    continue;
                born[slot] = operation;
                const struct vector_write write = {
                    .layout = &layout, .slot = slot, .born = operation, .values = at};
                ck_assert_int_eq(vector_blocks_add(&batch, &write, &error), STATUS_OK);
            }
            ck_assert_int_eq(vector_blocks_apply(&batch, txn, env.dbi, &error), STATUS_OK);
        }
        posting_env_commit(txn);
        for (int reader = 0; reader < 2; reader++) { /* the second has what the first found */
            txn = posting_env_begin(&env, MDB_RDONLY);
            const struct place_cache_source source = {.snapshot = mdb_txn_id(txn)};
            const uint64_t records[PLACE_TABLES] = {[PLACE_BLOCKS] = slots};
            struct place_cache *cache = place_cache_take(&caches, &source, records);
            for (uint32_t slot = 0; slot < slots; slot++)
                check_slot(txn, env.dbi, &layout, slot, born[slot], slot % 2 == 0 ? cache : NULL);
            place_cache_give(&caches, cache);
            mdb_txn_abort(txn);
        }
    }
    posting_env_close(&env);
    place_cache_pool_free(&caches);
    vector_blocks_batch_free(&batch);
    free(values);
}
END_TEST

START_TEST(a_changed_bit_of_an_entry_is_noticed) {
    struct posting_env env;
    struct vector_batch batch = {0};
    struct error error = {0};
    const struct vector_layout layout = vector_blocks_layout(1, 8);
    const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const struct vector_write write = {.layout = &layout, .slot = 2, .born = 5, .values = values};
    uint8_t key_bytes[ROW_VECTOR_KEY];
    row_keys_vector(key_bytes, 1, 0);
    posting_env_open(&env, MAP_BYTES);
    MDB_txn *txn = posting_env_begin(&env, 0);
    ck_assert_int_eq(vector_blocks_add(&batch, &write, &error), STATUS_OK);
    ck_assert_int_eq(vector_blocks_apply(&batch, txn, env.dbi, &error), STATUS_OK);
    for (size_t bit = 0; bit < (size_t)layout.stride * 8; bit++) {
        MDB_val key = {sizeof(key_bytes), key_bytes}, value;
        const float *read;
        ck_assert_int_eq(mdb_get(txn, env.dbi, &key, &value), 0);
        uint8_t *entry = (uint8_t *)value.mv_data + 2 * (size_t)layout.stride;
        entry[bit / 8] ^= (uint8_t)(1 << (bit % 8)); /* a dirty page of our own */
        ck_assert_int_eq(vector_blocks_read(txn, env.dbi, &layout, 2, 5, NULL, &read, NULL),
                         STATUS_CORRUPT);
        entry[bit / 8] ^= (uint8_t)(1 << (bit % 8));
        ck_assert_int_eq(vector_blocks_read(txn, env.dbi, &layout, 2, 5, NULL, &read, NULL),
                         STATUS_OK);
    }
    uint64_t born = 0;
    ck_assert_int_eq(vector_blocks_born(txn, env.dbi, &layout, 2, NULL, &born, NULL), STATUS_OK);
    ck_assert_uint_eq(born, 5);
    ck_assert_int_eq(vector_blocks_born(txn, env.dbi, &layout, 1, NULL, &born, NULL), STATUS_OK);
    ck_assert_uint_eq(born, 0); /* an empty entry */
    ck_assert_int_eq(vector_blocks_born(txn, env.dbi, &layout, layout.capacity, NULL, &born, NULL),
                     STATUS_CORRUPT);
    mdb_txn_abort(txn);
    posting_env_close(&env);
    vector_blocks_batch_free(&batch);
}
END_TEST

START_TEST(blocks_fill_whole_pages) {
    for (uint32_t dimension = 1; dimension <= 16376; dimension += 13) {
        const struct vector_layout layout = vector_blocks_layout(0, dimension);
        ck_assert_uint_le((uint64_t)layout.capacity * layout.stride, ROW_VECTOR_BLOCK_BYTES);
        ck_assert_uint_gt(((uint64_t)layout.capacity + 1) * layout.stride, ROW_VECTOR_BLOCK_BYTES);
    }
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("vector blocks");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, what_was_written_is_read_whatever_the_dimension, 0,
                        sizeof(dimensions) / sizeof(dimensions[0]));
    tcase_add_test(tests, a_changed_bit_of_an_entry_is_noticed);
    tcase_add_test(tests, blocks_fill_whole_pages);
    suite_add_tcase(suite, tests);
    return suite;
}
