/* index_fixture.h -- an index over a matrix that the test holds, with a slow scan as its oracle.
 *
 * Row i is slot i unless a test puts rows itself. One thread, but for fixture_link.
 */
#ifndef INDEX_FIXTURE_H
#define INDEX_FIXTURE_H

#include "index/vector_index.h"

struct fixture {
    struct vector_index_options options;
    uint32_t capacity; /* rows there is room for */
    float *rows;       /* capacity times dimension */
    uint32_t *row_of;  /* of each slot: which row it holds */
    struct slots *slots;
    struct vector_index *index;
    struct index_scratch *scratch;
    struct vector_owner owner; /* ties by slot; a test may set compare */
    struct error error;
};

/* What fixture_create makes of INDEX_PROFILE_AUTO; for suites that run once for each profile. */
extern enum index_profile fixture_profile;

/* Rows of a graph that is large enough to show what graphs do. Under tsan, which takes twenty times
 * as long, fewer: races need no large ones. */
#ifdef __SANITIZE_THREAD__
enum {
    FIXTURE_GRAPH_ROWS = 1500
};
#else
enum {
    FIXTURE_GRAPH_ROWS = 6000
};
#endif

/* Fails the test on any error. rows are zero. */
void fixture_create(struct fixture *fixture, const struct vector_index_options *options,
                    uint32_t capacity);
void fixture_free(struct fixture *fixture);
/* The graph keeps its invariants. */
void fixture_check(struct fixture *fixture);

/* Seeded vectors in clusters of uneven sizes, as embeddings are; normalised for cosine. */
void fixture_fill_clusters(struct fixture *fixture, uint32_t first, uint32_t count, uint64_t seed);
/* A vector like those of the fill, into `vector`. */
void fixture_make_query(const struct fixture *fixture, uint64_t seed, uint64_t query,
                        float *vector);

float *fixture_row(const struct fixture *fixture, uint32_t row);

/* Puts and gives birth at `operation`; the row goes into the slot of its number. */
void fixture_put(struct fixture *fixture, uint32_t first, uint32_t count, uint64_t operation);
void fixture_put_into(struct fixture *fixture, uint32_t slot, uint32_t row, uint64_t operation);

/* Links all that waits with so many threads, and leaves them nothing else to do. */
void fixture_link(struct fixture *fixture, int builders);

/* Runs a search that must succeed. */
struct index_answer fixture_search(struct fixture *fixture, const struct index_query *query);

/* The true answer: all slots below capacity that are visible, have a vector and pass, in double,
 * rounded to float, ties by the owner's order. hits has room for capacity; returns their number. */
size_t fixture_oracle(const struct fixture *fixture, const struct index_query *query,
                      struct hit *hits);

/* Of the k nearest of the oracle, the share that the answer has (or equally near ones). */
double fixture_recall(const struct fixture *fixture, const struct index_query *query,
                      const struct index_answer *answer);

/* Mean recall@k of `count` seeded queries like `like`, whose vector and k are set here. */
double fixture_mean_recall(struct fixture *fixture, const struct index_query *like, uint64_t seed,
                           uint32_t count, uint32_t k);

/* A seeded number in [0, 1). */
double fixture_random(uint64_t *state);

#endif
