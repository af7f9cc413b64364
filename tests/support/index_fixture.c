#include "tests/support/index_fixture.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLUSTERS = 60,
    BUILDERS_MAX = 8,
};

enum index_profile fixture_profile = INDEX_PROFILE_LEAN;

static void must(struct fixture *fixture, enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s: %s", status_text(status), fixture->error.message);
}

static const float *vector_of(void *context, uint32_t slot) {
    const struct fixture *fixture = context;
    return fixture_row(fixture, fixture->row_of[slot]);
}

void fixture_create(struct fixture *fixture, const struct vector_index_options *options,
                    uint32_t capacity) {
    *fixture = (struct fixture){.options = *options, .capacity = capacity};
    if (fixture->options.profile == INDEX_PROFILE_AUTO)
        fixture->options.profile = fixture_profile;
    fixture->rows = calloc((size_t)capacity * options->dimension, sizeof(float));
    fixture->row_of = calloc(capacity, sizeof(uint32_t));
    ck_assert_ptr_nonnull(fixture->rows);
    ck_assert_ptr_nonnull(fixture->row_of);
    fixture->owner = (struct vector_owner){.vector = vector_of, .context = fixture};
    must(fixture, slots_create(&fixture->slots, &fixture->error));
    must(fixture, slots_reserve(fixture->slots, capacity, &fixture->error));
    must(fixture,
         vector_index_create(&fixture->options, fixture->slots, &fixture->index, &fixture->error));
    must(fixture, vector_index_reserve(fixture->index, capacity, &fixture->error));
    must(fixture, index_scratch_create(&fixture->scratch, &fixture->error));
}

void fixture_free(struct fixture *fixture) {
    index_scratch_free(fixture->scratch);
    vector_index_free(fixture->index);
    slots_free(fixture->slots);
    free(fixture->rows);
    free(fixture->row_of);
}

void fixture_check(struct fixture *fixture) {
    must(fixture, vector_index_check(fixture->index, &fixture->error));
}

double fixture_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *state;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

/* About normal: the sum of four. */
static double spread(uint64_t *state) {
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += fixture_random(state) - 0.5;
    return sum * 1.7;
}

/* Coordinates fall off as those of embeddings do, and a few stick out. */
static void make_vector(const struct fixture *fixture, uint64_t seed, uint64_t number,
                        float *vector) {
    uint64_t state = seed * 1000003 + number * 7919;
    double pick = fixture_random(&state);
    uint64_t center = seed * 31 + (uint64_t)(pick * pick * CLUSTERS);
    uint32_t dimension = fixture->options.dimension;
    for (uint32_t i = 0; i < dimension; i++) {
        double scale = 1 / sqrt(1.0 + i * 8.0 / dimension) * (i % 61 == 7 ? 4 : 1);
        vector[i] = (float)(scale * (spread(&center) + 0.8 * spread(&state)));
    }
    if (fixture->options.distance == DISTANCE_COSINE)
        distance_normalise(vector, dimension);
}

float *fixture_row(const struct fixture *fixture, uint32_t row) {
    return fixture->rows + (size_t)row * fixture->options.dimension;
}

void fixture_fill_clusters(struct fixture *fixture, uint32_t first, uint32_t count, uint64_t seed) {
    for (uint32_t i = 0; i < count; i++)
        make_vector(fixture, seed, first + i, fixture_row(fixture, first + i));
}

void fixture_make_query(const struct fixture *fixture, uint64_t seed, uint64_t query,
                        float *vector) {
    make_vector(fixture, seed, UINT64_C(1) << 40 | query, vector);
}

void fixture_put_into(struct fixture *fixture, uint32_t slot, uint32_t row, uint64_t operation) {
    fixture->row_of[slot] = row;
    vector_index_put(fixture->index, slot, fixture_row(fixture, row), row);
    slots_born(fixture->slots, slot, operation);
}

void fixture_put(struct fixture *fixture, uint32_t first, uint32_t count, uint64_t operation) {
    for (uint32_t i = first; i < first + count; i++)
        fixture_put_into(fixture, i, i, operation);
}

static void *link_all(void *context) {
    struct fixture *fixture = context;
    struct index_scratch *scratch;
    struct error error;
    uint32_t linked = 1;
    ck_assert_int_eq(index_scratch_create(&scratch, &error), STATUS_OK);
    while (linked > 0)
        ck_assert_int_eq(vector_index_link(fixture->index, 16, scratch, &linked, &error),
                         STATUS_OK);
    while (vector_index_refresh(fixture->index, scratch))
        continue;
    index_scratch_free(scratch);
    return NULL;
}

void fixture_link(struct fixture *fixture, int builders) {
    pthread_t threads[BUILDERS_MAX];
    ck_assert_int_le(builders, BUILDERS_MAX);
    for (int i = 1; i < builders; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, link_all, fixture), 0);
    link_all(fixture);
    for (int i = 1; i < builders; i++)
        pthread_join(threads[i], NULL);
}

struct index_answer fixture_search(struct fixture *fixture, const struct index_query *query) {
    struct index_answer answer;
    must(fixture, vector_index_search(fixture->index, query, &fixture->owner, fixture->scratch,
                                      &answer, &fixture->error));
    return answer;
}

static float oracle_distance(const struct fixture *fixture, const float *a, const float *b) {
    double sum = 0;
    for (uint32_t i = 0; i < fixture->options.dimension; i++) {
        double x = (double)a[i], y = (double)b[i];
        switch (fixture->options.distance) {
        case DISTANCE_EUCLID:
            sum += (x - y) * (x - y);
            break;
        case DISTANCE_MANHATTAN:
            sum += fabs(x - y);
            break;
        default:
            sum -= x * y;
        }
    }
    return (float)sum;
}

static int by_distance(const void *a, const void *b, void *context) {
    const struct fixture *fixture = context;
    const struct hit *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    if (fixture->owner.compare)
        return fixture->owner.compare(fixture->owner.context, x->slot, y->slot);
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static bool passes(const struct slot_filter *filter, uint32_t slot) {
    if (!filter)
        return true;
    if (slot >= filter->slot_end || !(filter->words[slot / 64] >> (slot % 64) & 1))
        return false;
    return !filter->matches || filter->matches(filter->context, slot);
}

size_t fixture_oracle(const struct fixture *fixture, const struct index_query *query,
                      struct hit *hits) {
    size_t count = 0;
    for (uint32_t slot = 0; slot < fixture->capacity; slot++) {
        if (vector_index_has(fixture->index, slot) &&
            slots_visible(fixture->slots, slot, query->operation) && passes(query->filter, slot))
            hits[count++] = (struct hit){
                .slot = slot,
                .distance = oracle_distance(fixture, query->vector,
                                            fixture_row(fixture, fixture->row_of[slot]))};
    }
    qsort_r(hits, count, sizeof(hits[0]), by_distance, (void *)fixture);
    return count;
}

double fixture_recall(const struct fixture *fixture, const struct index_query *query,
                      const struct index_answer *answer) {
    struct hit *truth = calloc(fixture->capacity + 1, sizeof(*truth));
    ck_assert_ptr_nonnull(truth);
    size_t count = fixture_oracle(fixture, query, truth), found = 0;
    count = count < query->k ? count : query->k;
    for (size_t i = 0; i < answer->count && i < count; i++)
        found += answer->hits[i].distance <= truth[count - 1].distance;
    free(truth);
    return count == 0 ? 1 : (double)found / (double)count;
}

double fixture_mean_recall(struct fixture *fixture, const struct index_query *like, uint64_t seed,
                           uint32_t count, uint32_t k) {
    float *vector = calloc(fixture->options.dimension, sizeof(*vector));
    double sum = 0;
    ck_assert_ptr_nonnull(vector);
    for (uint32_t i = 0; i < count; i++) {
        struct index_query query = *like;
        query.vector = vector;
        query.k = k;
        fixture_make_query(fixture, seed, i, vector);
        struct index_answer answer = fixture_search(fixture, &query);
        sum += fixture_recall(fixture, &query, &answer);
    }
    free(vector);
    return sum / count;
}
