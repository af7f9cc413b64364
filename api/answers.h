/* answers.h -- what endpoints answer, for the OpenAPI document. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include "api/json_shape.h"

enum answer_form {
    ANSWER_RESULT, /* {"result": schema, "status": "ok", "time": seconds} */
    ANSWER_BARE,   /* the schema itself */
    ANSWER_TEXT,   /* text/plain */
};

struct answer {
    enum answer_form form;
    struct json_custom schema; /* named, or in place */
};

extern const struct answer answers_text, answers_version, answers_document, answers_boolean,
    answers_telemetry, answers_issues, answers_cluster, answers_aliases, answers_collections,
    answers_collection, answers_exists, answers_collection_cluster, answers_update,
    answers_update_list, answers_records, answers_record, answers_scroll, answers_count,
    answers_query, answers_query_list, answers_scored, answers_scored_list;

/* Schemas that those above refer to. */
extern const struct json_custom answers_scored_point, answers_record_point;

#endif
