#include "index/rotation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 */
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

bool rotation_init(struct rotation *rotation, size_t dimension) {
    size_t width = rotation_width(dimension), words = ROTATION_ROUNDS * width / 64;
    assert(dimension > 0 && width <= ROTATION_WIDTH_MAX);
    *rotation = (struct rotation){.dimension = dimension, .width = width, .window = 64};
    int steps = 6 + 2; /* additions one number goes through in a round, and two to scale it */
    for (; rotation->window * 2 <= width; steps++)
        rotation->window *= 2;
    rotation->error = ROTATION_ROUNDS * steps * 0x1p-24;
    rotation->signs = malloc(words * sizeof(rotation->signs[0]));
    for (size_t i = 0; rotation->signs && i < words; i++)
        rotation->signs[i] = mix(i);
    return rotation->signs != NULL;
}

void rotation_free(struct rotation *rotation) {
    free(rotation->signs);
    rotation->signs = NULL;
}

void rotation_apply(const struct rotation *rotation, const struct kernels *kernels,
                    const float *vector, float *rotated) {
    size_t width = rotation->width, rest = width - rotation->window;
    memcpy(rotated, vector, rotation->dimension * sizeof(rotated[0]));
    memset(rotated + rotation->dimension, 0, (width - rotation->dimension) * sizeof(rotated[0]));
    for (size_t round = 0; round < ROTATION_ROUNDS; round++) {
        kernels->flip(rotated, rotation->signs + round * width / 64, width);
        kernels->hadamard(rotated + (round % 2 == 0 ? 0 : rest), rotation->window);
    }
}
