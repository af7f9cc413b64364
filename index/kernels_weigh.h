/* kernels_weigh.h -- from sums of codes to distances and their floors: plain loops that each set
 * compiles for its own instructions, to the same bits.
 *
 * For index/kernels_*.c and codes.c. Memory is the caller's; nothing fails.
 */
#ifndef KERNELS_WEIGH_H
#define KERNELS_WEIGH_H

#include "index/kernels.h"

#include <float.h>
#include <math.h>

/* Sums beyond f32 become its ends, as true distances do (distance.c); what is no number at all
 * sorts last. */
static inline float kernels_weigh(const struct kernel_weights *weights, float scale, float length,
                                  int32_t dot) {
    float distance =
        weights->base + weights->square * length * length + scale * weights->factor * (float)dot;
    distance = distance < FLT_MAX ? distance : FLT_MAX;
    return distance > -FLT_MAX ? distance : -FLT_MAX;
}

static inline float kernels_slack(const struct kernel_weights *weights, float length, float error) {
    return weights->floor_base + weights->floor_error * error + weights->floor_length * length;
}

/* Of a dot product, or of a Manhattan distance. */
static inline float kernels_floor(const struct kernel_weights *weights, float distance,
                                  float length, float error) {
    return distance - kernels_slack(weights, length, error) -
           weights->floor_value * fabsf(distance);
}

static inline float kernels_floor_l2(const struct kernel_weights *weights, float distance,
                                     float length, float error) {
    float square = distance - weights->floor_value * (weights->base + length * length);
    float near = sqrtf(square > 0 ? square : 0) * (1 - weights->floor_value) -
                 kernels_slack(weights, length, error);
    return near > 0 ? near * near * (1 - weights->floor_value) : 0;
}

/* The same on the other side: the true distance does not lie above. No number where it may lie
 * anywhere. */
static inline float kernels_ceiling(const struct kernel_weights *weights, float distance,
                                    float length, float error) {
    float slack = kernels_slack(weights, length, error);
    if (weights->square <= 0)
        return distance + slack + weights->floor_value * fabsf(distance);
    float square = distance + weights->floor_value * (weights->base + length * length);
    float far = sqrtf(square > 0 ? square : 0) * (1 + weights->floor_value) + slack;
    return far * far * (1 + weights->floor_value);
}

/* See struct kernels. */
static inline void kernels_weigh_rows(const struct kernel_weights *weights,
                                      const struct kernel_rows *rows, const int32_t *dots,
                                      float *distances) {
    /* Locals: the compiler cannot know that the output does not lie over the weights. */
    const struct kernel_weights own = *weights;
    const float *scales = rows->scales, *lengths = rows->lengths;
    size_t count = rows->count;
    for (size_t i = 0; i < count; i++)
        distances[i] = kernels_weigh(&own, scales[i], lengths[i], dots[i]);
}

static inline void kernels_floor_rows(const struct kernel_weights *weights,
                                      const struct kernel_rows *rows, const float *distances,
                                      float *floors) {
    const struct kernel_weights own = *weights;
    const float *lengths = rows->lengths, *errors = rows->errors;
    size_t count = rows->count;
    if (own.square > 0) {
        for (size_t i = 0; i < count; i++)
            floors[i] = kernels_floor_l2(&own, distances[i], lengths[i], errors[i]);
        return;
    }
    for (size_t i = 0; i < count; i++)
        floors[i] = kernels_floor(&own, distances[i], lengths[i], errors[i]);
}

#endif
