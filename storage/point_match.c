#include "storage/point_match.h"

struct subject_context {
    const struct stored_row *row;
    const struct collection_config *config;
};

static bool has_vector(const void *context, const char *name) {
    const struct subject_context *subject = context;
    const struct vector_config *vector = collection_config_vector(subject->config, name);
    return vector && row_keys_row_has_vector(subject->row, vector->number);
}

bool point_match_row(const struct filter *filter, const struct stored_row *row,
                     const struct collection_config *config) {
    const struct subject_context context = {.row = row, .config = config};
    const struct filter_subject subject = {.id = &row->id,
                                           .payload = row->payload,
                                           .payload_length = row->payload_length,
                                           .has_vector = has_vector,
                                           .context = &context};
    return filter_matches(filter, &subject);
}
