/* Collections through the api: created, described, changed, deleted, refused. */
#include "storage/collection.h"
#include "storage/json_reader.h"
#include "storage/storage.h"
#include "tests/api/session.h"
#include "tests/support/run_suite.h"

static struct session session;

static void setup(void) {
    session_open(&session);
}

static void teardown(void) {
    session_close(&session);
}

#define RUN(steps) session_steps(&session, steps, sizeof(steps) / sizeof((steps)[0]))
#define OK(result) "{\"result\":" result ",\"status\":\"ok\""

START_TEST(a_collection_lives_from_create_to_delete) {
    static const struct step steps[] = {
        {"GET /collections", NULL, 200, OK("{\"collections\":[]}")},
        {"GET /collections/b/exists", NULL, 200, OK("{\"exists\":false}")},
        {"PUT /collections/b", "{\"vectors\":{\"size\":4,\"distance\":\"Dot\"}}", 200, OK("true")},
        {"PUT /collections/a", "{}", 200, OK("true")},
        {"GET /collections/b/exists", NULL, 200, OK("{\"exists\":true}")},
        {"GET /collections", NULL, 200,
         OK("{\"collections\":[{\"name\":\"a\"},{\"name\":\"b\"}]}")},
        {"PUT /collections/b", "{\"vectors\":{\"size\":4,\"distance\":\"Dot\"}}", 409,
         "Wrong input: Collection `b` already exists!"},
        {"DELETE /collections/b", NULL, 200, OK("true")},
        {"DELETE /collections/b", NULL, 200, OK("false")},
        {"GET /collections/b", NULL, 404, "Not found: Collection `b` doesn't exist!"},
        {"PATCH /collections/b", "{}", 404, "Not found: Collection `b` doesn't exist!"},
        {"GET /collections/b/aliases", NULL, 404, "Not found: Collection `b` doesn't exist!"},
        {"GET /collections/b/cluster", NULL, 404, "Not found: Collection `b` doesn't exist!"},
        {"PUT /collections/b/points", "{\"points\":[{\"id\":1,\"vector\":[1]}]}", 404,
         "Not found: Collection `b` doesn't exist!"},
        {"POST /collections/b/points/query", "{}", 404, "Not found: Collection `b` doesn't exist!"},
    };
    RUN(steps);
}
END_TEST

#define DEFAULT_REST                                                                            \
    "\"optimizer_config\":{\"deleted_threshold\":0.2,\"vacuum_min_vector_number\":1000,"        \
    "\"default_segment_number\":0,\"max_segment_size\":null,\"memmap_threshold\":null,"         \
    "\"indexing_threshold\":10000,\"flush_interval_sec\":5,\"max_optimization_threads\":null}," \
    "\"wal_config\":{\"wal_capacity_mb\":32,\"wal_segments_ahead\":0,\"wal_retain_closed\":1},"

START_TEST(a_description_has_every_required_key_with_its_default) {
    static const struct step steps[] = {
        {"PUT /collections/x", "{\"vectors\":{\"size\":4,\"distance\":\"Cosine\"}}", 200, NULL},
        {"GET /collections/x", NULL, 200,
         OK("{\"status\":\"green\",\"optimizer_status\":\"ok\",\"indexed_vectors_count\":0,"
            "\"points_count\":0,\"segments_count\":1,\"config\":{\"params\":{\"shard_number\":1,"
            "\"replication_factor\":1,\"write_consistency_factor\":1,\"on_disk_payload\":true,"
            "\"vectors\":{\"size\":4,\"distance\":\"Cosine\"}},\"hnsw_config\":{\"m\":16,"
            "\"ef_construct\":100,\"full_scan_threshold\":10000,\"max_indexing_threads\":0,"
            "\"on_disk\":false}," DEFAULT_REST "\"quantization_config\":null},\"payload_schema\":{}"
            ",\"vector_indexes\":{\"\":{\"profile\":\"lean\",\"edge_bits\":0,\"hnsw_ef\":128,"
            "\"linked\":0,"
            "\"waiting\":0,\"memory_bytes\":0}}"
            ",\"update_queue\":{\"length\":0}}")},
        {"GET /collections/x/cluster", NULL, 200,
         OK("{\"peer_id\":0,\"shard_count\":1,\"local_shards\":[{\"shard_id\":0,"
            "\"points_count\":0,\"state\":\"Active\"}],\"remote_shards\":[],"
            "\"shard_transfers\":[]}")},
        {"GET /collections/x/aliases", NULL, 200, OK("{\"aliases\":[]}")},
    };
    RUN(steps);
}
END_TEST

START_TEST(what_was_configured_is_echoed_and_survives_a_restart) {
    static const struct step create[] = {
        {"PUT /collections/x",
         "{\"vectors\":{\"image\":{\"size\":4,\"distance\":\"Euclid\",\"on_disk\":true,"
         "\"hnsw_config\":{\"m\":24}},\"text\":{\"size\":2,\"distance\":\"Manhattan\"}},"
         "\"optimizer_config\":{\"memmap_threshold_kb\":5,\"max_optimization_threads\":\"auto\"},"
         "\"hnsw_config\":{\"full_scan_threshold_kb\":99},\"on_disk_payload\":false,"
         "\"quantization\":{\"scalar\":{\"type\":\"int8\",\"quantile\":0.99,\"always_ram\":true}},"
         "\"strict_mode_config\":{\"enabled\":false},\"metadata\":{\"n\":1.50}}",
         200, NULL},
    };
    static const struct step look[] = {
        {"GET /collections/x", NULL, 200,
         "\"vectors\":{\"image\":{\"size\":4,\"distance\":\"Euclid\",\"hnsw_config\":{\"m\":24},"
         "\"on_disk\":true},\"text\":{\"size\":2,\"distance\":\"Manhattan\"}}"},
        {"GET /collections/x", NULL, 200, "\"memmap_threshold\":5"},
        {"GET /collections/x", NULL, 200, "\"full_scan_threshold\":99"},
        {"GET /collections/x", NULL, 200, "\"on_disk_payload\":false"},
        {"GET /collections/x", NULL, 200,
         "\"quantization_config\":{\"scalar\":{\"type\":\"int8\",\"quantile\":0.99,"
         "\"always_ram\":true}},\"strict_mode_config\":{\"enabled\":false},"
         "\"metadata\":{\"n\":1.50}"},
    };
    RUN(create);
    RUN(look);
    session_shut(&session);
    session_reopen(&session);
    RUN(look);
}
END_TEST

#define VECTORS(size, more) "{\"vectors\":{\"size\":" size ",\"distance\":\"Dot\"" more "}"
#define GRAPH(profile, bits) \
    "\"vector_indexes\":{\"\":{\"profile\":\"" profile "\",\"edge_bits\":" bits ",\"hnsw_ef\":"

/* A vector's own quantisation goes before the collection's. */
START_TEST(the_profile_of_a_graph_follows_from_the_quantisation_and_survives_a_restart) {
    static const struct step create[] = {
        {"PUT /collections/small", VECTORS("15", "") "}", 200, NULL},
        {"PUT /collections/large", VECTORS("512", "") "}", 200, NULL},
        {"PUT /collections/own",
         VECTORS("64", ",\"quantization_config\":{\"binary\":{}}") ",\"quantization_config\":{"
                                                                   "\"product\":{"
                                                                   "\"compression\":\"x4\"}}}",
         200, NULL},
    };
    static const struct step look[] = {
        {"GET /collections/small", NULL, 200, GRAPH("lean", "0")},
        {"GET /collections/large", NULL, 200, GRAPH("turbo", "1")},
        {"GET /collections/own", NULL, 200, GRAPH("turbo", "2")},
    };
    RUN(create);
    RUN(look);
    session_shut(&session);
    session_reopen(&session);
    RUN(look);
}
END_TEST

/* Each form, and what it makes of the graph of 128 numbers. */
static const struct {
    const char *settings, *graph;
} quantisations[] = {
    {"{\"scalar\":{\"type\":\"int8\"}}", GRAPH("lean", "0")},
    {"{\"product\":{\"compression\":\"x64\"}}", GRAPH("lean", "0")},
    {"{\"binary\":{}}", GRAPH("turbo", "2")},
    {"{\"binary\":{\"encoding\":\"one_bit\"}}", GRAPH("turbo", "1")},
    {"{\"binary\":{\"always_ram\":true,\"encoding\":\"one_and_half_bits\"}}", GRAPH("turbo", "2")},
    {"{\"binary\":{\"encoding\":\"two_bits\",\"query_encoding\":\"scalar4bits\"}}",
     GRAPH("turbo", "2")},
    {"{\"turbo\":{}}", GRAPH("turbo", "2")},
    {"{\"turbo\":{\"bits\":\"bits1\"}}", GRAPH("turbo", "1")},
    {"{\"turbo\":{\"bits\":\"bits1_5\"}}", GRAPH("turbo", "2")},
    {"{\"turbo\":{\"bits\":\"bits2\"}}", GRAPH("turbo", "2")},
    {"{\"turbo\":{\"bits\":\"bits4\",\"always_ram\":false}}", GRAPH("turbo", "4")},
    {"{\"turbo\":{\"bits\":\"bits8\"}}", GRAPH("lean", "0")},
};

START_TEST(a_quantisation_gets_the_bits_it_names_and_is_told_as_it_was_sent) {
    char body[256], echo[256];
    const char *settings = quantisations[_i].settings;
    snprintf(body, sizeof(body), VECTORS("128", "") ",\"quantization_config\":%s}", settings);
    snprintf(echo, sizeof(echo), "\"quantization_config\":%s", settings);
    const struct step steps[] = {
        {"PUT /collections/q", body, 200, NULL},
        {"GET /collections/q", NULL, 200, echo},
        {"GET /collections/q", NULL, 200, quantisations[_i].graph},
    };
    RUN(steps);
}
END_TEST

/* A graph that is to lie on disk keeps the least in memory; a vector's own word goes first. */
START_TEST(a_graph_that_is_to_lie_on_disk_is_lean_unless_the_quantisation_says_otherwise) {
    static const struct step steps[] = {
        {"PUT /collections/a", VECTORS("512", "") ",\"hnsw_config\":{\"on_disk\":true}}", 200,
         NULL},
        {"GET /collections/a", NULL, 200, GRAPH("lean", "0")},
        {"PUT /collections/b", VECTORS("512", ",\"hnsw_config\":{\"memory\":\"cold\"}") "}", 200,
         NULL},
        {"GET /collections/b", NULL, 200, GRAPH("lean", "0")},
        {"PUT /collections/c",
         VECTORS("512",
                 ",\"hnsw_config\":{\"on_disk\":false}") ",\"hnsw_config\":{\"on_disk\":true}}",
         200, NULL},
        {"GET /collections/c", NULL, 200, GRAPH("turbo", "1")},
        {"PUT /collections/d",
         VECTORS("512", ",\"hnsw_config\":{\"on_disk\":true,\"memory\":\"pinned\"}") "}", 200,
         NULL},
        {"GET /collections/d", NULL, 200, GRAPH("turbo", "1")},
        {"PUT /collections/e",
         VECTORS("512", ",\"hnsw_config\":{\"on_disk\":true,\"m\":8}") ",\"quantization_config\":{"
                                                                       "\"binary\":{}}}",
         200, NULL},
        {"GET /collections/e", NULL, 200, GRAPH("turbo", "1")},
    };
    RUN(steps);
}
END_TEST

START_TEST(a_patch_changes_what_it_names_and_nothing_else) {
    static const struct step steps[] = {
        {"PUT /collections/x",
         "{\"vectors\":{\"\":{\"size\":4,\"distance\":\"Dot\"},\"b\":{\"size\":2,\"distance\":"
         "\"Dot\"}},\"metadata\":{\"a\":1,\"b\":2}}",
         200, NULL},
        {"PATCH /collections/x",
         "{\"vectors\":{\"\":{\"hnsw_config\":{\"m\":8},\"on_disk\":true}},"
         "\"hnsw_config\":{\"ef_construct\":77},\"params\":{\"replication_factor\":1},"
         "\"metadata\":{\"a\":null,\"c\":3},\"strict_mode_config\":{\"enabled\":true}}",
         200, OK("true")},
        {"GET /collections/x", NULL, 200,
         "\"vectors\":{\"\":{\"size\":4,\"distance\":\"Dot\",\"hnsw_config\":{\"m\":8},"
         "\"on_disk\":true},\"b\":{\"size\":2,\"distance\":\"Dot\"}}"},
        {"GET /collections/x", NULL, 200, "\"hnsw_config\":{\"m\":16,\"ef_construct\":77"},
        {"GET /collections/x", NULL, 200, "\"metadata\":{\"b\":2,\"c\":3}"},
        {"PATCH /collections/x", "{\"vectors\":{\"\":{\"hnsw_config\":{\"ef_construct\":9}}}}", 200,
         NULL},
        {"GET /collections/x", NULL, 200, "\"hnsw_config\":{\"m\":8,\"ef_construct\":9}"},
        {"PATCH /collections/x", "{\"quantization_config\":{\"binary\":{\"always_ram\":true}}}",
         200, NULL},
        {"GET /collections/x", NULL, 200,
         "\"quantization_config\":{\"binary\":{\"always_ram\":true}}"},
        {"PATCH /collections/x", "{\"quantization_config\":\"Disabled\"}", 200, NULL},
        {"GET /collections/x", NULL, 200, "\"quantization_config\":null"},
        {"PATCH /collections/x", "{\"vectors\":{\"c\":{\"on_disk\":true}}}", 400,
         "Wrong input: Not existing vector name error: c"},
        {"PATCH /collections/x", "{\"hnsw_config\":{\"ef_construct\":1}}", 422,
         "[hnsw_config.ef_construct: value 1 invalid, must be from 4 to 10000]"},
        {"GET /collections/x", NULL, 200, "\"ef_construct\":77"},
        {"PATCH /collections/x", "{\"vectors\":{\"b\":{},\"b\":{}}}", 400, "duplicate vector name"},
        {"PATCH /collections/x", "", 400, "Format error in JSON body"},
        {"PATCH /collections/x", "{\"sparse_vectors\":{\"s\":{}}}", 400,
         "sparse_vectors: sparse vectors are not supported by this version"},
    };
    RUN(steps);
}
END_TEST

/* Above all not of the vector "", which every such name begins with. */
START_TEST(a_name_that_holds_nul_is_the_name_of_no_vector) {
    static const struct step creation = {
        "PUT /collections/x", "{\"vectors\":{\"size\":4,\"distance\":\"Dot\"}}", 200, NULL};
    static const char before[] = "{\"vectors\":{\"\\u0000", after[] = "\":{\"on_disk\":true}}}";
    enum {
        SHORT_MAX = 64,
        LONG = 24 << 20
    };
    char *body = malloc(LONG + sizeof(before) + sizeof(after));
    session_step(&session, &creation);
    for (int length = 0; length <= SHORT_MAX + 1; length++) {
        int filling = length <= SHORT_MAX ? length : LONG;
        memcpy(body, before, sizeof(before) - 1);
        memset(body + sizeof(before) - 1, 'x', (size_t)filling);
        memcpy(body + sizeof(before) - 1 + filling, after, sizeof(after));
        struct reply reply = session_call(&session, "PATCH /collections/x", body);
        ck_assert_msg(reply.status == 400, "%d bytes after the NUL: %u", filling, reply.status);
        ck_assert_ptr_nonnull(strstr(reply.body, "Not existing vector name error"));
        free(reply.body);
    }
    free(body);
}
END_TEST

#define SIXTEEN   "aaaaaaaaaaaaaaaa"
#define SIXTYFOUR SIXTEEN SIXTEEN SIXTEEN SIXTEEN
#define LONG_NAME SIXTYFOUR SIXTYFOUR SIXTYFOUR SIXTYFOUR /* one character too many */
#define VECTOR    "{\"vectors\":{\"size\":4,\"distance\":\"Dot\"}}"

static const struct step refused[] = {
    {"PUT /collections/x", "{\"vectors\":{\"size\":0,\"distance\":\"Dot\"}}", 400,
     "Format error in JSON body: vectors.size"},
    {"PUT /collections/x", "{\"vectors\":{\"size\":65537,\"distance\":\"Dot\"}}", 422,
     "Validation error in JSON body: [vectors.size: value 65537 invalid, must be from 1 to 65536]"},
    {"PUT /collections/x", "{\"vectors\":{\"size\":-1,\"distance\":\"Dot\"}}", 400, "vectors.size"},
    {"PUT /collections/x", "{\"vectors\":{\"size\":4}}", 400, "missing field `distance`"},
    {"PUT /collections/x", "{\"vectors\":{\"size\":4,\"distance\":\"cosine\"}}", 400,
     "unknown variant `cosine`, expected one of `Cosine`, `Euclid`, `Dot`, `Manhattan`"},
    {"PUT /collections/x",
     "{\"vectors\":{\"a\":{\"size\":4,\"distance\":\"Dot\"},\"a\":{\"size\":4,"
     "\"distance\":\"Dot\"}}}",
     400, "duplicate vector name"},
    {"PUT /collections/x", "{\"vectors\":{\"a/b\":{\"size\":4,\"distance\":\"Dot\"}}}", 422,
     "name"},
    {"PUT /collections/x",
     "{\"vectors\":{\"size\":4,\"distance\":\"Dot\",\"multivector_config\":{\"comparator\":"
     "\"max_sim\"}}}",
     400, "Bad request: vectors: multivectors are not supported by this version"},
    {"PUT /collections/x", "{\"vectors\":{\"size\":4,\"distance\":\"Dot\",\"datatype\":\"uint8\"}}",
     400, "Bad request: vectors: datatype `uint8` is not supported by this version"},
    {"PUT /collections/x", "{\"sparse_vectors\":{\"s\":{}}}", 400,
     "Bad request: sparse_vectors: sparse vectors are not supported by this version"},
    {"PUT /collections/x", "{\"quantization_config\":{}}", 400, "exactly one of"},
    {"PUT /collections/x", "{\"quantization_config\":{\"scalar\":{\"type\":\"int9\"}}}", 400,
     "int8"},
    {"PUT /collections/x",
     "{\"quantization_config\":{\"scalar\":{\"type\":\"int8\",\"quantile\":0.4}}}", 422,
     "quantile"},
    {"PUT /collections/x", "{\"quantization_config\":{\"product\":{\"compression\":\"x5\"}}}", 400,
     "compression"},
    {"PUT /collections/x", "{\"quantization_config\":{\"binary\":{\"encoding\":\"two\"}}}", 400,
     "encoding"},
    {"PUT /collections/x", "{\"quantization_config\":{\"binary\":{\"query_encoding\":\"\"}}}", 400,
     "query_encoding"},
    {"PUT /collections/x", "{\"quantization_config\":{\"turbo\":{\"bits\":\"bits3\"}}}", 400,
     "turbo.bits: unknown variant `bits3`, expected one of `bits1`, `bits1_5`, `bits2`, `bits4`, "
     "`bits8`"},
    {"PUT /collections/x", "{\"hnsw_config\":{\"memory\":\"zzz\"}}", 400,
     "hnsw_config.memory: unknown variant `zzz`, expected one of `cold`, `cached`, `pinned`"},
    {"PUT /collections/x",
     "{\"vectors\":{\"size\":4,\"distance\":\"Dot\",\"hnsw_config\":{\"memory\":\"\"}}}", 400,
     "vectors.hnsw_config.memory: unknown variant"},
    {"PUT /collections/x",
     "{\"quantization_config\":{\"scalar\":{\"type\":\"int8\",\"memory\":\"hot\"}}}", 400,
     "scalar.memory: unknown variant `hot`"},
    {"PUT /collections/x", "{\"optimizers_config\":{\"deleted_threshold\":1.5}}", 422,
     "deleted_threshold"},
    {"PUT /collections/x", "{\"shard_number\":0}", 400, "shard_number"},
    {"PUT /collections/x", "{\"sharding_method\":\"custom\"}", 400, "sharding_method"},
    {"PUT /collections/x", "{\"vectors\":{},\"vectors\":{}}", 400, "duplicate field `vectors`"},
    {"PUT /collections/x", "{\"vectors\":[]}", 400, "vectors: expected an object"},
    {"PUT /collections/x", "", 400, "Format error in JSON body: the body is empty"},
    {"PUT /collections/x", "nonsense", 400, "Format error in JSON body: expected an object"},
    {"PUT /collections/x?timeout=0", VECTOR, 422,
     "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]"},
    {"PUT /collections/x?timeout=x", VECTOR, 400, "Deserialize error in query parameters: timeout"},
    {"DELETE /collections/x?timeout=0", NULL, 422, "timeout"},
    {"PUT /collections/a%2Fb", VECTOR, 422,
     "Validation error in path parameters: [name: collection name cannot contain \\\"/\\\" char]"},
    {"PUT /collections/a%3Ab", VECTOR, 422, "path parameters"},
    {"PUT /collections/a%1Fb", VECTOR, 422, "path parameters"},
    {"PUT /collections/..", VECTOR, 422, "path parameters"},
    {"PUT /collections/" LONG_NAME, VECTOR, 422, "must have from 1 to 255"},
    {"GET /collections/" LONG_NAME, NULL, 422, "must have from 1 to 255"},
};

START_TEST(a_wrong_request_is_refused_and_leaves_nothing) {
    session_step(&session, &refused[_i]);
    RUN(((const struct step[]){{"GET /collections", NULL, 200, OK("{\"collections\":[]}")}}));
}
END_TEST

START_TEST(names_of_255_characters_of_any_script_are_taken) {
    char request[2000] = "PUT /collections/";
    for (int i = 0; i < 255; i++)
        strcat(request, "\xf0\x9f\x98\x80");
    const struct step steps[] = {{request, VECTOR, 200, OK("true")}};
    RUN(steps);
}
END_TEST

START_TEST(a_key_that_may_only_read_changes_nothing) {
    static const struct step steps[] = {
        {"PUT /collections/x", VECTOR, 403, "Forbidden: "},
        {"PATCH /collections/x", "{}", 403, "Forbidden: "},
        {"DELETE /collections/x", NULL, 403, "Forbidden: "},
        {"PUT /collections/x/points", "{}", 403, "Forbidden: "},
        {"POST /collections/x/points/delete", "{}", 403, "Forbidden: "},
        {"GET /collections", NULL, 200, OK("{\"collections\":[]}")},
        {"POST /collections/x/points/count", "{}", 404, "Not found"},
    };
    session.is_read_only = true;
    RUN(steps);
}
END_TEST

START_TEST(payload_indexes_are_described) {
    static const struct step steps[] = {
        {"PUT /collections/x", VECTOR, 200, NULL},
        {"PUT /collections/x/index?wait=true",
         "{\"field_name\":\"a.b[].c\",\"field_schema\":\"keyword\"}", 200, "\"completed\""},
        {"PUT /collections/x/index?wait=true",
         "{\"field_name\":\"n\",\"field_type\":{\"type\":\"integer\",\"lookup\":true,\"range\":"
         "false}}",
         200, "\"completed\""},
        {"GET /collections/x", NULL, 200,
         "\"payload_schema\":{\"a.b[].c\":{\"data_type\":\"keyword\",\"points\":0},\"n\":{"
         "\"data_type\":\"integer\",\"params\":{\"type\":\"integer\",\"lookup\":true,\"range\":"
         "false},\"points\":0}}"},
        {"DELETE /collections/x/index/a.b%5B%5D.c?wait=true", NULL, 200, "\"completed\""},
        {"DELETE /collections/x/index/missing?wait=true", NULL, 200, "\"completed\""},
        {"GET /collections/x", NULL, 200, "\"payload_schema\":{\"n\":"},
        {"PUT /collections/x/index", "{\"field_name\":\"n\",\"field_schema\":\"text\"}", 400,
         "Bad request: field_schema: payload indexes of type `text` are not supported"},
        {"PUT /collections/x/index", "{\"field_name\":\"n\",\"field_schema\":\"nope\"}", 400,
         "unknown variant `nope`"},
        {"PUT /collections/x/index", "{\"field_name\":\"n\"}", 400, "missing field `field_schema`"},
        {"PUT /collections/x/index", "{\"field_name\":\"a..b\",\"field_schema\":\"keyword\"}", 400,
         NULL},
        {"PUT /collections/x/index",
         "{\"field_name\":\"n\",\"field_schema\":{\"type\":\"integer\",\"lookup\":false,\"range\":"
         "false}}",
         422, "field_schema"},
    };
    RUN(steps);
}
END_TEST

static void restart(void) {
    session_shut(&session);
    session_reopen(&session);
}

/* head, then spaces up to `length` bytes, then tail; in memory of malloc(). */
static char *padded(const char *head, size_t length, const char *tail) {
    size_t head_length = strlen(head);
    char *text = malloc(head_length + length + strlen(tail) + 1);
    memcpy(text, head, head_length);
    memset(text + head_length, ' ', length);
    strcpy(text + head_length + length, tail);
    return text;
}

START_TEST(a_schema_is_as_long_as_can_be_kept_for_each_index) {
    static const char head[] = "{\"field_name\":\"a\",\"field_schema\":{\"type\":\"keyword\"";
    const size_t bare = strlen("{\"type\":\"keyword\"}");
    char *longest = padded(head, PAYLOAD_INDEX_PARAMS_MAX - bare, "}}");
    char *longer = padded(head, PAYLOAD_INDEX_PARAMS_MAX - bare + 1, "}}");
    const struct step steps[] = {
        {"PUT /collections/x", VECTOR, 200, NULL},
        {"PUT /collections/x/index?wait=true", longest, 200, "\"completed\""},
        {"PUT /collections/x/index", longer, 422,
         "field_schema: has 16385 bytes, at most 16384 are allowed"},
    };
    const struct step after[] = {
        {"GET /collections/x", NULL, 200, "\"points\":0}}"},
    };
    RUN(steps);
    restart();
    RUN(after);
    free(longest);
    free(longer);
}
END_TEST

/* What a client may store as it likes, at its most: it can be read again and changed. */
START_TEST(the_largest_and_deepest_metadata_survive_a_restart) {
    enum {
        DEPTH = JSON_DEPTH_MAX - 2 /* of the arrays: around them are metadata and the request */
    };
    static const char head[] =
        "{\"vectors\":{\"size\":4,\"distance\":\"Dot\"},\"metadata\":{\"a\":";
    char deep[sizeof(head) + 2 * DEPTH + 4], *wide = padded(head, 0, "\"");
    size_t length = strlen(head);
    memcpy(deep, head, length);
    memset(deep + length, '[', DEPTH);
    memset(deep + length + DEPTH, ']', DEPTH);
    strcpy(deep + length + 2 * DEPTH, "}}");
    wide = realloc(wide, COLLECTION_DOCUMENT_MAX + sizeof(head));
    memset(wide + length + 1, 'x', COLLECTION_DOCUMENT_MAX - 4096);
    strcpy(wide + length + 1 + COLLECTION_DOCUMENT_MAX - 4096, "\"}}");
    const struct step steps[] = {
        {"PUT /collections/deep", deep, 200, NULL},
        {"PUT /collections/wide", wide, 200, NULL},
    };
    static const struct step after[] = {
        {"GET /collections/deep", NULL, 200, "[[[["},
        {"PATCH /collections/deep", "{\"metadata\":{\"b\":1}}", 200, NULL},
        {"GET /collections/deep", NULL, 200, "\"b\":1"},
        {"GET /collections/wide", NULL, 200, "xxxx"},
        {"PATCH /collections/wide", "{\"metadata\":{\"b\":1}}", 200, NULL},
        {"GET /collections/wide", NULL, 200, "\"b\":1"},
    };
    RUN(steps);
    restart();
    RUN(after);
    free(wide);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("handle_collections");
    TCase *tcase = tcase_create("handle_collections");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_collection_lives_from_create_to_delete);
    tcase_add_test(tcase, a_description_has_every_required_key_with_its_default);
    tcase_add_test(tcase, what_was_configured_is_echoed_and_survives_a_restart);
    tcase_add_test(tcase,
                   the_profile_of_a_graph_follows_from_the_quantisation_and_survives_a_restart);
    tcase_add_loop_test(tcase, a_quantisation_gets_the_bits_it_names_and_is_told_as_it_was_sent, 0,
                        (int)(sizeof(quantisations) / sizeof(quantisations[0])));
    tcase_add_test(tcase,
                   a_graph_that_is_to_lie_on_disk_is_lean_unless_the_quantisation_says_otherwise);
    tcase_add_test(tcase, a_patch_changes_what_it_names_and_nothing_else);
    tcase_add_test(tcase, a_name_that_holds_nul_is_the_name_of_no_vector);
    tcase_add_loop_test(tcase, a_wrong_request_is_refused_and_leaves_nothing, 0,
                        (int)(sizeof(refused) / sizeof(refused[0])));
    tcase_add_test(tcase, names_of_255_characters_of_any_script_are_taken);
    tcase_add_test(tcase, a_key_that_may_only_read_changes_nothing);
    tcase_add_test(tcase, payload_indexes_are_described);
    tcase_add_test(tcase, a_schema_is_as_long_as_can_be_kept_for_each_index);
    tcase_add_test(tcase, the_largest_and_deepest_metadata_survive_a_restart);
    suite_add_tcase(suite, tcase);
    return suite;
}
