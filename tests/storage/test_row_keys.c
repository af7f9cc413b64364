/* Keys and records: what is written is read back, and nothing else is. */
#include "storage/row_keys.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>

static const char payload[] = "{\"a\":[1,2,3]}";

static struct stored_row example_row(void) {
    static const uint8_t vectors[] = {1, 0, 0x34, 0x12};
    return (struct stored_row){.slot = 77,
                               .version = 900,
                               .born = 800,
                               .id = {.kind = POINT_ID_TEXT, .text = "tiger", .text_length = 5},
                               .vectors = vectors,
                               .vectors_count = 2,
                               .payload = payload,
                               .payload_length = sizeof(payload) - 1};
}

START_TEST(a_row_comes_back_as_it_was_written) {
    struct stored_row row = example_row(), read;
    size_t length = row_keys_row_bytes(&row);
    uint8_t *bytes = malloc(length);
    row_keys_write_row(bytes, &row);
    const MDB_val value = {length, bytes};
    struct error error = {0};
    ck_assert_int_eq(row_keys_read_row(77, &value, &read, &error), STATUS_OK);
    ck_assert_uint_eq(read.version, 900);
    ck_assert_uint_eq(read.born, 800);
    ck_assert_int_eq(point_id_compare(&read.id, &row.id), 0);
    ck_assert_uint_eq(read.vectors_count, 2);
    ck_assert_uint_eq(row_keys_row_vector(&read, 1), 0x1234);
    ck_assert(row_keys_row_has_vector(&read, 1));
    ck_assert(!row_keys_row_has_vector(&read, 2));
    ck_assert_uint_eq(read.payload_length, sizeof(payload) - 1);
    ck_assert_mem_eq(read.payload, payload, read.payload_length);
    free(bytes);
}
END_TEST

START_TEST(an_empty_payload_takes_no_byte_and_reads_as_an_object) {
    struct stored_row row = example_row(), read;
    row.payload = "{}";
    row.payload_length = 2;
    row.vectors_count = 0;
    uint8_t bytes[256];
    size_t length = row_keys_row_bytes(&row);
    ck_assert_uint_eq(length, ROW_HEADER_BYTES + 6);
    row_keys_write_row(bytes, &row);
    const MDB_val value = {length, bytes};
    ck_assert_int_eq(row_keys_read_row(77, &value, &read, NULL), STATUS_OK);
    ck_assert_uint_eq(read.payload_length, 2);
    ck_assert_mem_eq(read.payload, "{}", 2);
}
END_TEST

START_TEST(a_row_is_refused_after_any_changed_bit_any_cut_and_in_another_place) {
    struct stored_row row = example_row(), read;
    size_t length = row_keys_row_bytes(&row);
    uint8_t bytes[256];
    ck_assert_uint_le(length, sizeof(bytes));
    row_keys_write_row(bytes, &row);
    for (size_t bit = 0; bit < length * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
        const MDB_val value = {length, bytes};
        ck_assert_int_eq(row_keys_read_row(77, &value, &read, NULL), STATUS_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
    }
    for (size_t cut = 0; cut < length; cut++) {
        const MDB_val value = {cut, bytes};
        ck_assert_int_eq(row_keys_read_row(77, &value, &read, NULL), STATUS_CORRUPT);
    }
    const MDB_val value = {length, bytes};
    ck_assert_int_eq(row_keys_read_row(78, &value, &read, NULL), STATUS_CORRUPT);
}
END_TEST

START_TEST(the_state_comes_back_and_is_refused_after_any_changed_bit) {
    const struct collection_state state = {.next_slot = 123456,
                                           .incarnation = UINT64_MAX - 5,
                                           .operation = 1ULL << 60,
                                           .points = 99,
                                           .next_field = 65534};
    struct collection_state read;
    uint8_t bytes[ROW_STATE_BYTES];
    row_keys_write_state(bytes, &state);
    const MDB_val value = {sizeof(bytes), bytes};
    ck_assert_int_eq(row_keys_read_state(&value, &read, NULL), STATUS_OK);
    ck_assert_uint_eq(read.next_slot, state.next_slot);
    ck_assert_uint_eq(read.incarnation, state.incarnation);
    ck_assert_uint_eq(read.operation, state.operation);
    ck_assert_uint_eq(read.points, state.points);
    ck_assert_uint_eq(read.next_field, state.next_field);
    for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
        ck_assert_int_eq(row_keys_read_state(&value, &read, NULL), STATUS_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
    }
}
END_TEST

START_TEST(a_payload_index_comes_back_and_is_refused_under_another_number) {
    const struct field_record record = {.number = 258,
                                        .type = 3,
                                        .state = FIELD_STATE_BUILDING,
                                        .next_slot = 7,
                                        .path = "a[].b",
                                        .path_length = 5,
                                        .params = "{\"type\":\"bool\"}",
                                        .params_length = 15};
    struct field_record read;
    uint8_t bytes[128], key_bytes[ROW_FIELD_KEY];
    row_keys_write_field(bytes, &record);
    row_keys_field(key_bytes, record.number);
    MDB_val key = {sizeof(key_bytes), key_bytes}, value = {row_keys_field_bytes(&record), bytes};
    ck_assert_int_eq(row_keys_read_field(&key, &value, &read, NULL), STATUS_OK);
    ck_assert_uint_eq(read.number, 258);
    ck_assert_int_eq(read.state, FIELD_STATE_BUILDING);
    ck_assert_uint_eq(read.path_length, 5);
    ck_assert_mem_eq(read.path, "a[].b", 5);
    ck_assert_mem_eq(read.params, record.params, 15);
    row_keys_field(key_bytes, 259);
    ck_assert_int_eq(row_keys_read_field(&key, &value, &read, NULL), STATUS_CORRUPT);
}
END_TEST

START_TEST(keys_are_ordered_as_their_numbers) {
    static const uint32_t numbers[] = {0, 1, 255, 256, 65535, 65536, 1 << 24, UINT32_MAX};
    uint8_t before[ROW_SLOT_KEY], after[ROW_SLOT_KEY];
    for (size_t i = 1; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        row_keys_slot(before, numbers[i - 1]);
        row_keys_slot(after, numbers[i]);
        ck_assert_int_lt(memcmp(before, after, sizeof(before)), 0);
        ck_assert_uint_eq(row_keys_slot_of(after), numbers[i]);
    }
}
END_TEST

START_TEST(an_id_leads_to_its_slot_and_only_under_its_own_key) {
    uint8_t bytes[ROW_POINT_BYTES];
    uint32_t slot;
    row_keys_write_point(bytes, "key", 3, 4242);
    MDB_val key = {3, (void *)"key"}, other = {3, (void *)"kez"}, value = {sizeof(bytes), bytes};
    ck_assert_int_eq(row_keys_read_point(&key, &value, &slot, NULL), STATUS_OK);
    ck_assert_uint_eq(slot, 4242);
    ck_assert_int_eq(row_keys_read_point(&other, &value, &slot, NULL), STATUS_CORRUPT);
    value.mv_size--;
    ck_assert_int_eq(row_keys_read_point(&key, &value, &slot, NULL), STATUS_CORRUPT);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("row keys");
    TCase *tests = tcase_create("tests");
    tcase_add_test(tests, a_row_comes_back_as_it_was_written);
    tcase_add_test(tests, an_empty_payload_takes_no_byte_and_reads_as_an_object);
    tcase_add_test(tests, a_row_is_refused_after_any_changed_bit_any_cut_and_in_another_place);
    tcase_add_test(tests, the_state_comes_back_and_is_refused_after_any_changed_bit);
    tcase_add_test(tests, a_payload_index_comes_back_and_is_refused_under_another_number);
    tcase_add_test(tests, keys_are_ordered_as_their_numbers);
    tcase_add_test(tests, an_id_leads_to_its_slot_and_only_under_its_own_key);
    suite_add_tcase(suite, tests);
    return suite;
}
