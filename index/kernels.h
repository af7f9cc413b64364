/* kernels.h -- the inner loops, one set an instruction set, chosen once at start.
 *
 * kernels_get() takes the best set that this machine runs and that agrees with the scalar one on
 * random input; the environment's NIGH__INDEX__ISA = scalar, avx2, avx512 or neon forces a choice
 * (one that the machine lacks falls back to scalar). Kernels keep no state: any thread.
 *
 * A code row is a multiple of KERNELS_BLOCK bytes, aligned to KERNELS_BLOCK; each of its bytes is a
 * number + 128. A row may be split: then the bytes of its last `pairs` pairs of blocks lie as
 * halves, so that a look at the upper halves alone, which tell them to within 8, reads half of the
 * memory:
 *
 *   blocks that are not split | pairs blocks of upper halves | pairs blocks of lower halves
 *
 * Byte j of a block of halves has that of byte j of the pair's first block in its upper four bits,
 * and that of the second block in its lower ones.
 *
 * Sums of codes are exact; sums of floats differ between sets in the last bits.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include "index/top_k.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    KERNELS_BLOCK = 64,
    KERNELS_EDGES = 32, /* edges that lie in one block; see edges.h */
    KERNELS_EDGE_BITS_MAX = 4,
    KERNELS_EDGE_ZERO = 64,      /* 0 among signed sums, which are less than that away from it: two
                                    of them added are a byte still */
    KERNELS_QUERIES = 4,         /* that share one pass over rows */
    KERNELS_DECIMAL_MARGIN = 96, /* bytes that may be looked at where a decimal is read */
};

/* Blocks of edges are read while a builder writes them: that is how readers need no lock. */
#define KERNELS_RACING __attribute__((no_sanitize("thread")))

/* A vector, as blocks of edges are asked about it. */
struct kernel_edge_query {
    const uint8_t *sums; /* 4 * width: for each four values their 16 signed sums, in steps from
                            KERNELS_EDGE_ZERO */
    size_t width;        /* values: a multiple of KERNELS_BLOCK */
    size_t bits;         /* planes of the blocks, 1 .. KERNELS_EDGE_BITS_MAX */
    float step;          /* 0: all values are 0, or leave f32 */
};

/* A look at a block of edges. The planes of the block that comes next are asked for between those
 * of this one, and its offsets last: a core waits for some two dozen lines at once, and more asked
 * for in a row make it stand still. */
struct kernel_edge_look {
    const uint8_t *block;
    const uint8_t *slopes; /* KERNELS_EDGES, as kernels_slope reads them */
    const uint8_t *next;   /* a block, or the same */
    float slope_unit;
    float distance; /* of the node */
    float limit;    /* estimates from here on are of no use */
};

enum {
    KERNELS_SLOPE_MANTISSA = 5, /* bits of a slope's byte; those above are its exponent */
    KERNELS_SLOPE_SHIFT = 23 - KERNELS_SLOPE_MANTISSA,
    KERNELS_SLOPE_ONE = 0x3f800000, /* the bits of 1.0f */
};

/* What a slope's byte stands for, in units: 0 to 251, in steps of 1/32 up to 1 and of a 16th to a
 * 62nd of itself beyond. */
static inline float kernels_slope(uint8_t slope) {
    uint32_t bits = KERNELS_SLOPE_ONE + ((uint32_t)slope << KERNELS_SLOPE_SHIFT);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value - 1;
}

/* An edge between two vectors, r = to - from. Arrays are aligned to KERNELS_BLOCK. */
struct kernel_edge_ends {
    const float *from;
    const uint8_t *to; /* a row of codes, which stand for to_scale * (code - 128) */
    float to_scale;
    size_t width;
};

struct kernel_edge {
    float square;    /* <r, r> */
    float from_edge; /* <from, r> */
};

/* r in so many bits a coordinate: level floor(r / step) + 2^(bits - 1), held between 0 and 2^bits
 * - 1, stands for u = 2 * level + 1 - 2^bits. So bit p of all levels makes a plane of signs, and u
 * is their sum, each 2^p times: one kernel scans any number of bits. */
struct kernel_edge_levels {
    size_t bits;    /* 1 .. KERNELS_EDGE_BITS_MAX */
    float per_unit; /* 1 / step */
    /* Out: */
    float spread;      /* <u, r> */
    float from_levels; /* <from, u> */
};

/* What a row of codes is compared with. */
struct kernel_query {
    const int8_t *codes; /* bytes numbers from -127 to 127; for dot_rows */
    const float *values; /* bytes numbers; for l1_rows */
    size_t bytes;        /* of a row: a multiple of KERNELS_BLOCK, at most 65,536 */
    size_t pairs;        /* that rows are split into; 0 for l1_rows */
    int32_t offset;      /* 128 times the sum of codes: some sets multiply the unsigned bytes */
    int32_t pairs_sum;   /* of the codes that pairs are multiplied with */
};

/* What lower halves add to a product on average. */
static inline int32_t kernels_middle(const struct kernel_query *query) {
    return 15 * query->pairs_sum / 2;
}

/* Where a split row's upper halves begin. */
static inline size_t kernels_split_at(size_t bytes, size_t pairs) {
    return bytes - 2 * pairs * KERNELS_BLOCK;
}

/* Rows that are read in order, and the queries each of them is multiplied with. */
struct kernel_scan {
    const struct kernel_query *queries[KERNELS_QUERIES]; /* all of one width and split */
    size_t queries_count;                                /* 1 or KERNELS_QUERIES */
    const uint8_t *const *rows;
    size_t count;
    int32_t *dots; /* those of query q begin at q * stride */
    size_t stride; /* at least count */
};

/* What lies beside the codes of rows. */
struct kernel_rows {
    const float *scales, *lengths, *errors;
    size_t count;
};

/* What makes a distance of a sum of codes, and of that a floor: below it the true distance does not
 * lie (see codes.h).
 * distance = base + square * length^2 + scale * factor * dot. */
struct kernel_weights {
    float base, factor;
    float square; /* 1 for L2, else 0 */
    float floor_base, floor_error, floor_length, floor_value;
};

/* A number as it is written: +-digits / 10^places. */
struct kernel_decimal {
    uint64_t digits; /* less than 10^19 */
    uint32_t begin;  /* of its text, counted from where the reading began */
    uint8_t places;  /* 1 to 19 */
    bool is_negative;
};

struct kernels {
    const char *name;
    /* dots[i] = sum over j of number j of rows[i] * codes[j]. Prefetches rows ahead. */
    void (*dot_rows)(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                     int32_t *dots);
    /* The same with 7.5 in place of all lower halves, which are not read. */
    void (*coarse_rows)(const struct kernel_query *query, const uint8_t *const *rows, size_t count,
                        int32_t *dots);
    /* As dot_rows for several queries, and for rows that lie in the order of memory. */
    void (*scan_rows)(const struct kernel_scan *scan);
    /* From the sums of rows to their distances, and from these to floors (kernels_weigh.h). */
    void (*weigh_rows)(const struct kernel_weights *weights, const struct kernel_rows *rows,
                       const int32_t *dots, float *distances);
    void (*floor_rows)(const struct kernel_weights *weights, const struct kernel_rows *rows,
                       const float *distances, float *floors);
    /* Bit i tells that values[i] of 64 is not above the limit, or is no number. */
    uint64_t (*not_above)(const float *values, float limit);
    /* How many of the hits are not beyond the distance. */
    size_t (*rank)(const struct hit *hits, size_t count, float distance);
    /* sums[i] = sum over j of |scales[i] * (rows[i][j] - 128) - values[j]|. */
    void (*l1_rows)(const struct kernel_query *query, const uint8_t *const *rows,
                    const float *scales, size_t count, float *sums);
    /* Of two vectors in memory of any alignment, summed in double. As many numbers at `next`, or
     * at one of the two, are asked for between theirs. */
    double (*dot)(const float *a, const float *b, size_t count, const float *next);
    double (*squared_l2)(const float *a, const float *b, size_t count, const float *next);
    double (*l1)(const float *a, const float *b, size_t count, const float *next);
    /* Walsh-Hadamard transform in place, scaled to keep lengths; count is a power of two >= 64.
     * The same bits in every set, since the order of its additions is fixed. */
    void (*hadamard)(float *values, size_t count);
    /* Negates the values whose bit is set; count is a multiple of 64. */
    void (*flip)(float *values, const uint64_t *bits, size_t count);
    /* The largest |value|; count is a multiple of 64. */
    float (*max_abs)(const float *values, size_t count);
    /* The numbers of a row; returns their sum. bytes is a multiple of KERNELS_BLOCK. */
    int32_t (*decode)(const uint8_t *row, size_t pairs, int8_t *codes, size_t bytes);
    /* codes[j] = round(values[j] * factor), where |values[j] * factor| <= 127.5. */
    void (*quantise)(const float *values, float factor, int8_t *codes, size_t count);

    /* ---- Edges. How a plane lies in a block is the set's own affair. */

    /* Bit j of b tells the sign of values[4 i + j] in sums[16 i + b]; returns the step. */
    float (*edge_sums)(const float *values, size_t width, uint8_t *sums);
    /* Fills r, the same in every set. */
    struct kernel_edge (*edge_measure)(const struct kernel_edge_ends *ends, float *r);
    /* Fills planes[width / 64 * p + j / 64] with bit p of the level of coordinate j. The same
     * planes in every set. */
    void (*edge_levels)(const float *from, const float *r, size_t width,
                        struct kernel_edge_levels *levels, uint64_t *planes);
    /* One plane of one edge; `block` is where the plane of the block begins, 4 * width bytes. */
    void (*edge_write)(uint8_t *block, size_t place, const uint64_t *plane, size_t width);
    /* estimates[i] = distance + offset[i] - slope[i] * <u[i], values>, where the upper halves of
     * f32 offsets follow the planes. Returns the places below limit. */
    uint32_t (*edge_estimates)(const struct kernel_edge_query *query,
                               const struct kernel_edge_look *look, float *estimates);

    /* ---- Text */

    /* Reads up to max numbers of the form -?D.D+ of at most 19 digits, a first 0 not counted, each
     * followed by a comma and perhaps preceded by one space, while more than
     * KERNELS_DECIMAL_MARGIN bytes lie before the end. Returns how many; *behind is where the first
     * lies that was not read. The text is less than 4 GiB long. */
    size_t (*decimals)(const char *text, const char *end, struct kernel_decimal *decimals,
                       size_t max, const char **behind);
};

const struct kernels *kernels_get(void);

/* The set of that name if this build has it and this machine runs it, else NULL. For tests. */
const struct kernels *kernels_by_name(const char *name);

/* Parts that lie in files of their own, or that other sets use, too. */
struct kernel_edge kernels_scalar_edge_measure(const struct kernel_edge_ends *ends, float *r);
void kernels_scalar_edge_levels(const float *from, const float *r, size_t width,
                                struct kernel_edge_levels *levels, uint64_t *planes);
void kernels_scalar_edge_write(uint8_t *block, size_t place, const uint64_t *plane, size_t width);

size_t kernels_scalar_decimals(const char *text, const char *end, struct kernel_decimal *decimals,
                               size_t max, const char **behind);

extern const struct kernels kernels_scalar;
#if defined(__x86_64__)
void kernels_avx2_dot_rows(const struct kernel_query *query, const uint8_t *const *rows,
                           size_t count, int32_t *dots);
void kernels_avx2_coarse_rows(const struct kernel_query *query, const uint8_t *const *rows,
                              size_t count, int32_t *dots);
void kernels_avx2_scan_rows(const struct kernel_scan *scan);
int32_t kernels_avx2_decode(const uint8_t *row, size_t pairs, int8_t *codes, size_t bytes);

void kernels_avx512_dot_rows(const struct kernel_query *query, const uint8_t *const *rows,
                             size_t count, int32_t *dots);
void kernels_avx512_coarse_rows(const struct kernel_query *query, const uint8_t *const *rows,
                                size_t count, int32_t *dots);
void kernels_avx512_scan_rows(const struct kernel_scan *scan);
int32_t kernels_avx512_decode(const uint8_t *row, size_t pairs, int8_t *codes, size_t bytes);

size_t kernels_avx2_decimals(const char *text, const char *end, struct kernel_decimal *decimals,
                             size_t max, const char **behind);

extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;
#elif defined(__aarch64__)
extern const struct kernels kernels_neon;
#endif

#endif
