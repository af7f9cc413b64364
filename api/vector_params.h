/* vector_params.h -- the parameters of vectors in JSON: one unnamed vector, or a map of names. */
#ifndef VECTOR_PARAMS_H
#define VECTOR_PARAMS_H

#include "api/collection_shapes.h"

extern const struct json_shape vector_params_hnsw_shape;

/* What `memory` may be, wherever it stands. */
extern const char *const vector_params_memory_words[];

/* A struct vectors_params. */
extern const struct json_custom vector_params_json;

/* Reads a map of changes over a struct vectors_params: its vectors must exist, unless it is empty.
 */
extern const struct json_custom vector_params_patch_json;

/* A struct quantization_settings *; "Disabled" makes it NULL. */
extern const struct json_custom vector_params_quantization_json;
/* What graph fits it best; NULL: no quantisation is asked for. `scalar`, `product` and 8 bits of
 * `turbo` get one byte a number, the coarsest code that the engine has by itself. `binary` and
 * `turbo` get edges of as many bits as they name, 2 for one and a half, or as many as are fastest.
 */
enum index_profile vector_params_profile(const struct quantization_settings *settings);

#endif
