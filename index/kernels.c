#include "index/kernels.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRIAL_BYTES = 448, /* seven blocks: not a power of two, odd in blocks of 64 */
    TRIAL_PAIRS = TRIAL_BYTES / (2 * KERNELS_BLOCK),
    TRIAL_ROWS = 11, /* whole groups and a rest */
    TRIALS = 8,
    TRIAL_TEXT_BYTES = 2048,
};

static bool runs_scalar(void) {
    return true;
}

#if defined(__x86_64__)
static bool runs_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool runs_avx512(void) {
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
}
#endif

/* Best first. */
static const struct {
    const struct kernels *kernels;
    bool (*runs)(void); /* can this machine execute it? */
} sets[] = {
#if defined(__x86_64__)
    {&kernels_avx512, runs_avx512},
    {&kernels_avx2, runs_avx2},
#elif defined(__aarch64__)
    {&kernels_neon, runs_scalar}, /* part of the base architecture */
#endif
    {&kernels_scalar, runs_scalar},
};

enum {
    SETS = sizeof(sets) / sizeof(sets[0])
};

static uint64_t next_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

struct trial {
    _Alignas(64) uint8_t rows[TRIAL_ROWS][TRIAL_BYTES];
    _Alignas(64) int8_t codes[TRIAL_BYTES];
    _Alignas(64) float values[TRIAL_BYTES];
    _Alignas(64) float others[TRIAL_BYTES];
    float scales[TRIAL_ROWS];
    uint64_t bits[TRIAL_BYTES / 64];
    const uint8_t *row_list[TRIAL_ROWS];
    struct kernel_query query;
};

static void make_trial(struct trial *trial, uint64_t seed) {
    uint64_t state = seed;
    int32_t sum = 0;
    for (size_t i = 0; i < TRIAL_ROWS; i++) {
        for (size_t j = 0; j < TRIAL_BYTES; j++)
            trial->rows[i][j] = (uint8_t)(1 + next_random(&state) % 255);
        trial->scales[i] = 0.001f + (float)(next_random(&state) % 1000) / 500;
        trial->row_list[i] = trial->rows[i];
    }
    for (size_t j = 0; j < TRIAL_BYTES; j++) {
        trial->codes[j] = (int8_t)((int)(next_random(&state) % 255) - 127);
        trial->values[j] = (float)((int)(next_random(&state) % 20001) - 10000) / 100;
        trial->others[j] = (float)((int)(next_random(&state) % 20001) - 10000) / 100;
        trial->bits[j / 64] = trial->bits[j / 64] << 1 | (next_random(&state) & 1);
        sum += trial->codes[j];
    }
    if (seed == 0) { /* the extremes: where narrow sums would overflow */
        memset(trial->rows, 255, sizeof(trial->rows));
        memset(trial->codes, 127, sizeof(trial->codes));
        sum = 127 * TRIAL_BYTES;
    }
    trial->query = (struct kernel_query){
        .codes = trial->codes, .values = trial->values, .bytes = TRIAL_BYTES, .offset = 128 * sum};
}

static bool is_close(double a, double b, double scale) {
    return fabs(a - b) <= 1e-5 * scale;
}

/* One query and several, which begin at different blocks of the codes. */
static bool agrees_on_scans(const struct kernels *kernels, const struct trial *trial) {
    struct kernel_query queries[KERNELS_QUERIES];
    for (size_t count = 1; count <= KERNELS_QUERIES; count += KERNELS_QUERIES - 1) {
        int32_t dots[2][KERNELS_QUERIES * TRIAL_ROWS] = {{0}};
        struct kernel_scan scan = {.queries_count = count,
                                   .rows = trial->row_list,
                                   .count = TRIAL_ROWS,
                                   .stride = TRIAL_ROWS};
        for (size_t q = 0; q < count; q++) {
            queries[q] = trial->query;
            queries[q].codes = trial->codes + q * KERNELS_BLOCK;
            queries[q].bytes = TRIAL_BYTES - KERNELS_QUERIES * KERNELS_BLOCK;
            queries[q].pairs = trial->query.pairs > 0;
            queries[q].offset = queries[q].pairs_sum = 0;
            for (size_t i = 0; i < queries[q].bytes; i++) {
                bool is_split = i >= kernels_split_at(queries[q].bytes, queries[q].pairs);
                queries[q].offset += 128 * queries[q].codes[i];
                queries[q].pairs_sum += is_split ? queries[q].codes[i] : 0;
            }
            scan.queries[q] = &queries[q];
        }
        scan.dots = dots[0];
        kernels->scan_rows(&scan);
        scan.dots = dots[1];
        kernels_scalar.scan_rows(&scan);
        if (memcmp(dots[0], dots[1], sizeof(dots[0])) != 0)
            return false;
    }
    return true;
}

static bool agrees_on_ranks(const struct kernels *kernels, const struct trial *trial) {
    struct hit hits[TRIAL_ROWS * 3];
    for (uint32_t i = 0; i < TRIAL_ROWS * 3; i++)
        hits[i] = (struct hit){.slot = UINT32_MAX - i, .distance = trial->values[i]};
    for (size_t count = 0; count <= TRIAL_ROWS * 3; count++) {
        float distance = trial->values[count / 2];
        if (kernels->rank(hits, count, distance) != kernels_scalar.rank(hits, count, distance))
            return false;
    }
    return true;
}

static bool agrees_on_dots(const struct kernels *kernels, const struct trial *trial) {
    int32_t dots[2][TRIAL_ROWS], coarse[2][TRIAL_ROWS], sums[2];
    _Alignas(64) int8_t codes[2][TRIAL_BYTES];
    const struct kernels *both[] = {kernels, &kernels_scalar};
    for (size_t i = 0; i < 2; i++) {
        both[i]->dot_rows(&trial->query, trial->row_list, TRIAL_ROWS, dots[i]);
        both[i]->coarse_rows(&trial->query, trial->row_list, TRIAL_ROWS, coarse[i]);
        sums[i] = both[i]->decode(trial->rows[0], trial->query.pairs, codes[i], TRIAL_BYTES);
    }
    return memcmp(dots[0], dots[1], sizeof(dots[0])) == 0 &&
           memcmp(coarse[0], coarse[1], sizeof(coarse[0])) == 0 &&
           memcmp(codes[0], codes[1], sizeof(codes[0])) == 0 && sums[0] == sums[1];
}

static bool agrees_on_codes(const struct kernels *kernels, struct trial *trial, size_t pairs) {
    trial->query.pairs = pairs;
    trial->query.pairs_sum = 0;
    for (size_t j = kernels_split_at(TRIAL_BYTES, pairs); j < TRIAL_BYTES; j++)
        trial->query.pairs_sum += trial->codes[j];
    return agrees_on_dots(kernels, trial) && agrees_on_scans(kernels, trial);
}

static bool agrees_on_distances(const struct kernels *kernels, const struct trial *trial) {
    float sums[TRIAL_ROWS], expected_sums[TRIAL_ROWS];
    kernels->l1_rows(&trial->query, trial->row_list, trial->scales, TRIAL_ROWS, sums);
    kernels_scalar.l1_rows(&trial->query, trial->row_list, trial->scales, TRIAL_ROWS,
                           expected_sums);
    for (size_t i = 0; i < TRIAL_ROWS; i++) {
        if (!is_close(sums[i], expected_sums[i], expected_sums[i]))
            return false;
    }
    return true;
}

static bool agrees_on_floats(const struct kernels *kernels, const struct trial *trial) {
    const float *a = trial->values, *b = trial->others;
    for (size_t count = TRIAL_BYTES - 17; count <= TRIAL_BYTES; count++) {
        double scale =
            sqrt(kernels_scalar.dot(a, a, count, a) * kernels_scalar.dot(b, b, count, b));
        if (!is_close(kernels->dot(a, b, count, a), kernels_scalar.dot(a, b, count, a), scale) ||
            !is_close(kernels->squared_l2(a, b, count, a),
                      kernels_scalar.squared_l2(a, b, count, a), scale) ||
            !is_close(kernels->l1(a, b, count, a), kernels_scalar.l1(a, b, count, a), scale))
            return false;
    }
    return true;
}

static bool agrees_on_transforms(const struct kernels *kernels, const struct trial *trial) {
    float a[TRIAL_BYTES], b[TRIAL_BYTES];
    int8_t codes[TRIAL_BYTES], expected[TRIAL_BYTES];
    memcpy(a, trial->values, sizeof(a));
    memcpy(b, trial->values, sizeof(b));
    kernels->flip(a, trial->bits, TRIAL_BYTES);
    kernels_scalar.flip(b, trial->bits, TRIAL_BYTES);
    for (size_t count = 64; count <= TRIAL_BYTES; count *= 2) {
        kernels->hadamard(a + TRIAL_BYTES - count, count);
        kernels_scalar.hadamard(b + TRIAL_BYTES - count, count);
    }
    /* Bit for bit, as kernels.h promises. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    if (memcmp(a, b, sizeof(a)) != 0)
        return false;
    float max = kernels_scalar.max_abs(b, TRIAL_BYTES);
    kernels->quantise(b, 127 / max, codes, TRIAL_BYTES);
    kernels_scalar.quantise(b, 127 / max, expected, TRIAL_BYTES);
    if (kernels->not_above(trial->values, trial->values[5]) !=
        kernels_scalar.not_above(trial->values, trial->values[5]))
        return false;
    return kernels->max_abs(a, TRIAL_BYTES) == max && memcmp(codes, expected, sizeof(codes)) == 0;
}

/* The edge between two rows in so many bits, and what a block of such edges says of the values. */
struct edge_trial {
    struct kernel_edge edge;
    struct kernel_edge_levels levels;
    uint64_t planes[KERNELS_EDGE_BITS_MAX * TRIAL_BYTES / 64];
    _Alignas(64) uint8_t sums[4 * TRIAL_BYTES];
    float estimates[KERNELS_EDGES];
};

static void try_edges(const struct kernels *kernels, const struct trial *trial, size_t bits,
                      struct edge_trial *out) {
    _Alignas(64) uint8_t block[4 * KERNELS_EDGE_BITS_MAX * TRIAL_BYTES + 4 * KERNELS_EDGES];
    _Alignas(64) float r[TRIAL_BYTES];
    const struct kernel_edge_ends ends = {.from = trial->values,
                                          .to = trial->rows[1],
                                          .to_scale = trial->scales[1],
                                          .width = TRIAL_BYTES};
    struct kernel_edge_query query = {.sums = out->sums, .width = TRIAL_BYTES, .bits = bits};
    uint8_t slopes[KERNELS_EDGES];
    memset(block, 0x3f, sizeof(block)); /* offsets are ordinary numbers */
    for (size_t place = 0; place < KERNELS_EDGES; place++)
        slopes[place] = (uint8_t)(UINT8_MAX - 7 * place);
    query.step = kernels->edge_sums(trial->values, TRIAL_BYTES, out->sums);
    out->edge = kernels->edge_measure(&ends, r);
    out->levels = (struct kernel_edge_levels){.bits = bits, .per_unit = 0.02f};
    kernels->edge_levels(ends.from, r, TRIAL_BYTES, &out->levels, out->planes);
    for (size_t place = 0; place < KERNELS_EDGES; place++) {
        for (size_t bit = 0; bit < bits; bit++) {
            const uint64_t *plane = &out->planes[bit * (TRIAL_BYTES / 64)];
            kernels->edge_write(block + 4 * bit * TRIAL_BYTES, place,
                                place % 3 ? trial->bits : plane, TRIAL_BYTES);
        }
    }
    const struct kernel_edge_look look = {
        .block = block, .slopes = slopes, .next = block, .slope_unit = 0.01f};
    kernels->edge_estimates(&query, &look, out->estimates);
}

static bool agrees_on_edges(const struct kernels *kernels, const struct trial *trial) {
    struct edge_trial found = {0}, wanted = {0};
    for (size_t bits = 1; bits <= KERNELS_EDGE_BITS_MAX; bits++) {
        try_edges(kernels, trial, bits, &found);
        try_edges(&kernels_scalar, trial, bits, &wanted);
        float spread = wanted.levels.spread, from = wanted.levels.from_levels;
        for (size_t i = 0; i < KERNELS_EDGES; i++) {
            if (!is_close(found.estimates[i], wanted.estimates[i], fabsf(wanted.estimates[i]) + 1))
                return false;
        }
        if (memcmp(found.sums, wanted.sums, sizeof(found.sums)) != 0 ||
            memcmp(found.planes, wanted.planes, sizeof(found.planes)) != 0 ||
            !is_close(found.edge.square, wanted.edge.square, wanted.edge.square) ||
            !is_close(found.edge.from_edge, wanted.edge.from_edge,
                      wanted.edge.square + fabsf(wanted.edge.from_edge)) ||
            !is_close(found.levels.spread, spread, spread) ||
            !is_close(found.levels.from_levels, from, spread + fabsf(from)))
            return false;
    }
    return true;
}

/* Random texts of what numbers are made of, most of them numbers. */
static bool agrees_on_text(const struct kernels *kernels, uint64_t seed) {
    static const char parts[] = "0123456789.-, e]";
    char text[TRIAL_TEXT_BYTES];
    struct kernel_decimal found[2][TRIAL_TEXT_BYTES / 4];
    const char *behind[2];
    size_t used = 0, counts[2];
    while (used + 32 < sizeof(text)) {
        size_t places = 1 + next_random(&seed) % 19;
        if (next_random(&seed) % 2)
            text[used++] = '-';
        text[used++] = (char)('0' + next_random(&seed) % 10 * (places < 19));
        text[used++] = '.';
        for (; places > 0; places--)
            text[used++] = (char)('0' + next_random(&seed) % 10);
        text[used++] = ',';
        if (next_random(&seed) % 2)
            text[used++] = ' ';
        if (next_random(&seed) % 128 == 0)
            text[used - 2] = parts[next_random(&seed) % (sizeof(parts) - 1)];
    }
    memset(text + used, ' ', sizeof(text) - used);
    for (const char *at = text; at < text + used; at = behind[1] + 1) {
        const struct kernels *both[] = {kernels, &kernels_scalar};
        memset(found, 0, sizeof(found));
        for (size_t i = 0; i < 2; i++)
            counts[i] = both[i]->decimals(at, text + sizeof(text), found[i],
                                          sizeof(found[i]) / sizeof(found[i][0]), &behind[i]);
        if (counts[0] != counts[1] || behind[0] != behind[1] ||
            memcmp(found[0], found[1], counts[0] * sizeof(found[0][0])) != 0)
            return false;
    }
    return true;
}

static bool agrees_with_scalar(const struct kernels *kernels) {
    struct trial trial = {0};
    for (uint64_t seed = 0; seed < TRIALS; seed++) {
        make_trial(&trial, seed);
        if (!agrees_on_codes(kernels, &trial, TRIAL_PAIRS) ||
            !agrees_on_codes(kernels, &trial, 0) || !agrees_on_distances(kernels, &trial) ||
            !agrees_on_ranks(kernels, &trial) || !agrees_on_floats(kernels, &trial) ||
            !agrees_on_transforms(kernels, &trial) || !agrees_on_edges(kernels, &trial) ||
            !agrees_on_text(kernels, seed))
            return false;
    }
    return true;
}

const struct kernels *kernels_by_name(const char *name) {
    for (size_t i = 0; i < SETS; i++) {
        if (strcmp(sets[i].kernels->name, name) == 0)
            return sets[i].runs() ? sets[i].kernels : NULL;
    }
    return NULL;
}

static const struct kernels *chosen = &kernels_scalar;

static void choose(void) {
    const char *forced = getenv("NIGH__INDEX__ISA");
    for (size_t i = 0; i < SETS; i++) {
        const struct kernels *kernels = sets[i].kernels;
        if (forced && *forced && strcmp(forced, kernels->name) != 0)
            continue;
        if (sets[i].runs() && agrees_with_scalar(kernels)) {
            chosen = kernels;
            return;
        }
    }
}

const struct kernels *kernels_get(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen;
}
