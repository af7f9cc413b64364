#include "index/distance.h"

#include "index/kernels.h"

#include <assert.h>
#include <float.h>
#include <math.h>

static const char *const names[DISTANCE_COUNT] = {
#define DISTANCE_ROW(name, text) [DISTANCE_##name] = text,
    DISTANCE_TABLE(DISTANCE_ROW)
#undef DISTANCE_ROW
};

const char *distance_name(enum distance distance) {
    assert(distance < DISTANCE_COUNT);
    return names[distance];
}

/* Vectors are finite, so the double is too; as a float it may not be, and an infinity would turn
 * into null in an answer. */
static float to_finite_float(double value) {
    if (value > (double)FLT_MAX)
        return FLT_MAX;
    return value < -(double)FLT_MAX ? -FLT_MAX : (float)value;
}

/* Summed in double: the order of results must not depend on the instruction set. */
float distance_before(enum distance distance, const float *a, const float *b, size_t dimension,
                      const float *next) {
    const struct kernels *kernels = kernels_get();
    switch (distance) {
    case DISTANCE_COSINE:
    case DISTANCE_DOT:
        return to_finite_float(0.0 - kernels->dot(a, b, dimension, next)); /* 0 - x: never -0 */
    case DISTANCE_EUCLID:
        return to_finite_float(kernels->squared_l2(a, b, dimension, next));
    case DISTANCE_MANHATTAN:
        return to_finite_float(kernels->l1(a, b, dimension, next));
    case DISTANCE_COUNT:
        break;
    }
    assert(0 && "not a distance");
    return 0;
}

float distance_between(enum distance distance, const float *a, const float *b, size_t dimension) {
    return distance_before(distance, a, b, dimension, b);
}

float distance_score(enum distance distance, float value) {
    if (distance_larger_is_better(distance))
        return 0.0f - value;
    return distance == DISTANCE_EUCLID ? sqrtf(value) : value;
}

bool distance_larger_is_better(enum distance distance) {
    return distance == DISTANCE_COSINE || distance == DISTANCE_DOT;
}

void distance_normalise(float *vector, size_t dimension) {
    double squared = kernels_get()->dot(vector, vector, dimension, vector);
    if (squared < (double)FLT_EPSILON || fabs(squared - 1.0) < 1e-6)
        return;
    double norm = sqrt(squared);
    for (size_t i = 0; i < dimension; i++)
        vector[i] = (float)((double)vector[i] / norm);
}
