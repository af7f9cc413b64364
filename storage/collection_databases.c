#include "storage/collection_databases.h"
#include "storage/posting_chunk.h"
#include "storage/row_keys.h"

#include <string.h>

/* The state is read by whoever opens the collection, who can say more of it. */
static bool is_meta_sealed(const MDB_val *key, const MDB_val *value) {
    struct field_record record;
    bool is_state = key->mv_size == strlen(ROW_STATE_KEY) &&
                    memcmp(key->mv_data, ROW_STATE_KEY, key->mv_size) == 0;
    return is_state || row_keys_read_field(key, value, &record, NULL) == STATUS_OK;
}

static bool is_point_sealed(const MDB_val *key, const MDB_val *value) {
    uint32_t slot;
    return row_keys_read_point(key, value, &slot, NULL) == STATUS_OK;
}

static bool is_posting_sealed(const MDB_val *key, const MDB_val *value) {
    struct posting_chunk chunk;
    return posting_chunk_open(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &chunk);
}

const struct lmdb_check_database collection_databases[COLLECTION_DBI_COUNT] = {
    [COLLECTION_DBI_META] = {"meta", is_meta_sealed},
    [COLLECTION_DBI_POINTS] = {"points", is_point_sealed},
    [COLLECTION_DBI_ROWS] = {"rows", NULL},
    [COLLECTION_DBI_VECTORS] = {"vectors", NULL},
    [COLLECTION_DBI_POSTINGS] = {"postings", is_posting_sealed},
};
