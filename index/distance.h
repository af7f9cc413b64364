/* distance.h -- the four distances, and the vector kernels behind them. */
#ifndef DISTANCE_H
#define DISTANCE_H

#include "index/status.h"

#include <stdbool.h>
#include <stddef.h>

/* One row per distance: constant, the name in the API. */
#define DISTANCE_TABLE(X) \
    X(COSINE, "Cosine")   \
    X(EUCLID, "Euclid")   \
    X(DOT, "Dot")         \
    X(MANHATTAN, "Manhattan")

enum distance {
#define DISTANCE_ENUM(name, text) DISTANCE_##name,
    DISTANCE_TABLE(DISTANCE_ENUM)
#undef DISTANCE_ENUM
    DISTANCE_COUNT
};

/* The API's name of a distance. */
const char *distance_name(enum distance distance);

/* The exact distance of two f32 vectors, smaller is nearer: -dot, squared L2 or L1. */
float distance_between(enum distance distance, const float *a, const float *b, size_t dimension);

/* The same; meanwhile the vector that will be measured next is asked for. */
float distance_before(enum distance distance, const float *a, const float *b, size_t dimension,
                      const float *next);

/* What the API shows for a distance: cosine and dot -d, Euclid sqrt(d), Manhattan d. */
float distance_score(enum distance distance, float value);

/* True if a larger score is a better one (cosine, dot). */
bool distance_larger_is_better(enum distance distance);

/* Normalises in place for cosine the way the API promises: nothing happens to a vector whose
 * squared norm is below FLT_EPSILON or within 1e-6 of 1. */
void distance_normalise(float *vector, size_t dimension);

#endif
