#include "api/answers.h"

#define REF(name)   "{\"$ref\":\"#/components/schemas/" name "\"}"
#define LIST(items) "{\"type\":\"array\",\"items\":" items "}"
#define OBJECT(required, properties) \
    "{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties "}}"
#define STRING  "{\"type\":\"string\"}"
#define BOOLEAN "{\"type\":\"boolean\"}"
#define COUNT   "{\"type\":\"integer\",\"minimum\":0}"
#define ANY     "{\"type\":\"object\",\"additionalProperties\":true}"

const struct answer answers_text = {.form = ANSWER_TEXT, .schema = {.schema = STRING}};

const struct answer answers_version = {
    .form = ANSWER_BARE,
    .schema = {.name = "VersionInfo",
               .schema =
                   OBJECT("\"title\",\"version\"", "\"title\":" STRING ",\"version\":" STRING
                                                   ",\"commit\":" STRING ",\"nigh\":" STRING)},
};

const struct answer answers_document = {.form = ANSWER_BARE, .schema = {.schema = ANY}};

const struct answer answers_boolean = {.schema = {.schema = BOOLEAN}};

const struct answer answers_telemetry = {
    .schema = {.name = "Telemetry",
               .schema = OBJECT("\"id\",\"app\"",
                                "\"id\":" STRING
                                ",\"app\":" OBJECT("\"name\",\"version\"",
                                                   "\"name\":" STRING ",\"version\":" STRING
                                                   ",\"startup\":" STRING) ",\"collections\":" ANY
                                                                           ",\"cluster\":" ANY)},
};

const struct answer answers_issues = {
    .schema = {.schema = OBJECT("\"issues\"", "\"issues\":" LIST(ANY))},
};

const struct answer answers_cluster = {
    .schema = {.schema = OBJECT("\"status\"", "\"status\":" STRING)},
};

const struct answer answers_aliases = {
    .schema = {.name = "CollectionsAliases",
               .schema = OBJECT("\"aliases\"",
                                "\"aliases\":" LIST(OBJECT("\"alias_name\",\"collection_name\"",
                                                           "\"alias_name\":" STRING
                                                           ",\"collection_name\":" STRING)))},
};

const struct answer answers_collections = {
    .schema = {.name = "CollectionsResponse",
               .schema = OBJECT("\"collections\"",
                                "\"collections\":" LIST(OBJECT("\"name\"", "\"name\":" STRING)))},
};

#define MAP_OF(value)       "{\"type\":\"object\",\"additionalProperties\":" value "}"
#define ONE_OF_TEXTS(texts) "{\"type\":\"string\",\"enum\":[" texts "]}"

#define COLLECTION_STATUS ONE_OF_TEXTS("\"green\",\"yellow\",\"grey\",\"red\"")
#define OPTIMIZER_STATUS  "{\"oneOf\":[" STRING "," OBJECT("\"error\"", "\"error\":" STRING) "]}"
#define PAYLOAD_INDEX_INFO             \
    OBJECT("\"data_type\",\"points\"", \
           "\"data_type\":" STRING ",\"params\":" ANY ",\"points\":" COUNT)
/* clang-format off */ /* a property a line */
#define VECTOR_INDEX_INFO                                                     \
    OBJECT("\"profile\",\"edge_bits\",\"hnsw_ef\",\"linked\",\"waiting\",\"memory_bytes\"", \
           "\"profile\":" ONE_OF_TEXTS("\"lean\",\"turbo\"")                  \
           ",\"edge_bits\":" COUNT                                            \
           ",\"hnsw_ef\":" COUNT                                              \
           ",\"linked\":" COUNT                                               \
           ",\"waiting\":" COUNT                                              \
           ",\"memory_bytes\":" COUNT)

const struct answer answers_collection = {
    .schema = {.name = "CollectionInfo", .schema = OBJECT(
        "\"status\",\"optimizer_status\",\"segments_count\",\"config\",\"payload_schema\"",
        "\"status\":" COLLECTION_STATUS
        ",\"optimizer_status\":" OPTIMIZER_STATUS
        ",\"segments_count\":" COUNT
        ",\"points_count\":" COUNT
        ",\"indexed_vectors_count\":" COUNT
        ",\"config\":" REF("CollectionConfig")
        ",\"payload_schema\":" MAP_OF(PAYLOAD_INDEX_INFO)
        ",\"vector_indexes\":" MAP_OF(VECTOR_INDEX_INFO)
        ",\"update_queue\":" OBJECT("\"length\"", "\"length\":" COUNT))},
};
/* clang-format on */

const struct answer answers_exists = {
    .schema = {.schema = OBJECT("\"exists\"", "\"exists\":" BOOLEAN)},
};

const struct answer answers_collection_cluster = {
    .schema = {.name = "CollectionClusterInfo",
               .schema = OBJECT("\"peer_id\",\"shard_count\",\"local_shards\"",
                                "\"peer_id\":" COUNT ",\"shard_count\":" COUNT
                                ",\"local_shards\":" LIST(ANY) ",\"remote_shards\":" LIST(
                                    ANY) ",\"shard_transfers\":" LIST(ANY))},
};

#define UPDATE_RESULT                                                                   \
    OBJECT("\"status\"", "\"operation_id\":" COUNT                                      \
                         ",\"status\":{\"type\":\"string\",\"enum\":[\"acknowledged\"," \
                         "\"completed\"]}")

const struct answer answers_update = {
    .schema = {.name = "UpdateResult", .schema = UPDATE_RESULT},
};

const struct answer answers_update_list = {.schema = {.schema = LIST(REF("UpdateResult"))}};

#define POINT_PARTS "\"payload\":" REF("Payload") ",\"vector\":" REF("VectorStruct")

const struct json_custom answers_record_point = {
    .name = "Record",
    .schema = OBJECT("\"id\"", "\"id\":" REF("PointId") "," POINT_PARTS),
};

const struct json_custom answers_scored_point = {
    .name = "ScoredPoint",
    .schema =
        OBJECT("\"id\",\"version\",\"score\"",
               "\"id\":" REF(
                   "PointId") ",\"version\":" COUNT
                              ",\"score\":{\"type\":\"number\",\"format\":\"float\"}," POINT_PARTS),
};

const struct answer answers_record = {.schema = {.schema = REF("Record")}};
const struct answer answers_records = {.schema = {.schema = LIST(REF("Record"))}};

const struct answer answers_scroll = {
    .schema = {.name = "ScrollResult",
               .schema = OBJECT(
                   "\"points\"",
                   "\"points\":" LIST(REF("Record")) ",\"next_page_offset\":{\"nullable\":true,"
                                                     "\"allOf\":[" REF("PointId") "]}")},
};

const struct answer answers_count = {
    .schema = {.name = "CountResult", .schema = OBJECT("\"count\"", "\"count\":" COUNT)},
};

const struct answer answers_query = {
    .schema = {.name = "QueryResponse",
               .schema = OBJECT("\"points\"", "\"points\":" LIST(REF("ScoredPoint")))},
};

const struct answer answers_query_list = {.schema = {.schema = LIST(REF("QueryResponse"))}};
const struct answer answers_scored = {.schema = {.schema = LIST(REF("ScoredPoint"))}};
const struct answer answers_scored_list = {.schema = {.schema = LIST(LIST(REF("ScoredPoint")))}};
