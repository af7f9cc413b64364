/* edges.h -- what a node knows of its neighbours: a few bits a coordinate of each edge.
 *
 * A walk that expands a node wants the distances of its 32 neighbours. Their codes lie at 32 random
 * places of memory; their edges lie beside the node, and one look at them estimates all distances.
 * (RaBitQ: Gao & Long, SIGMOD 2024, and Gao et al., SIGMOD 2025 for more bits; tables of sums:
 * Andre et al., VLDB 2015; edges beside the node: Gou et al., SIGMOD 2025.)
 *
 * With c the code of the node and o that of its neighbour, both decoded, in rotated space:
 * - r = o - c
 * - u: r in b bits a coordinate, odd numbers from 1 - 2^b to 2^b - 1; with one bit the signs of r
 * - f = <r,r> / <u,r>
 *
 * For a vector x that has nothing to do with r, f <u,x> estimates <r,x> without bias: of r it takes
 * the direction of u, stretched until its share along r has the length of r. So
 * - <q,o>   = <q,c> + <q,r> ~ <q,c> + f <u,q-c> + <c,r>
 * - |q-o|^2 = |q-c|^2 - 2 <q-c,r> + <r,r> ~ |q-c|^2 - 2 f <u,q-c> + <r,r>
 *
 * Only <u,q> depends on the query, so that one table of q's signed sums serves all nodes (the
 * papers turn each query towards each node instead). As a distance, both are
 * - distance(q,o) ~ distance(q,c) + offset - slope <u,q>, with two numbers an edge:
 * - dot: offset = f <u,c> - <c,r>, slope = f
 * - L2: offset = 2 f <u,c> + <r,r>, slope = 2 f
 *
 * The standard error of the dot is |q-c| |r| / sqrt(dimensions) times the tangent of the angle
 * between u and r: 0.756, 0.367, 0.197, 0.108 for 1, 2, 3, 4 bits, since the rotation makes
 * coordinates normal. Offsets keep the upper halves of their f32: 8 bits are finer than that, and
 * they cannot overflow. Slopes are a byte each (kernels_slope), in units of the node's own scale,
 * so that they hold while links beside them change: r is rarely longer than twice c, and what is
 * shorter by far than c is rounded in its code already. A block with a longer one counts in units
 * of twice as much, or four times, up to EDGES_POWER_MAX; the rest of it is told less well by then,
 * so that what is longer still has no edge. What the rounding adds depends on the slope that the
 * offset is made of, for the latter is finer: of the one that is kept for L2, whose distances do
 * not change where all vectors move, so that it adds some 0.01 <r,q-c>; of the exact one for a dot,
 * some 0.01 <r,q>, since q may be far shorter than c.
 *
 * u is the sum of b vectors of signs, the p-th 2^p times: its levels in binary. So a block holds b
 * planes of signs, and one scan of the table for each, weighted, gives <u,q> of any number of bits.
 *
 * A link may change at any time; its edge is written afterwards, at once or, of what is linked in
 * bulk, later (hnsw_edges.c). Until then the place is stale, and walks measure that neighbour by
 * its code. What is read in the moment of a change is a wrong estimate for one walk, never a wrong
 * answer: whatever is returned has been measured. Images hold edges: a change of what a block means
 * raises IMAGE_VERSION, and since each set of kernels lays planes in its own way, edges of another
 * set are written anew.
 *
 * A block: b planes of 4 * width bytes as the kernels lay them, that of the lowest bit first | 32
 * offsets, 2 bytes each. Their slopes lie elsewhere.
 */
#ifndef EDGES_H
#define EDGES_H

#include "index/codes.h"

enum {
    EDGES_PER_BLOCK = KERNELS_EDGES,
    EDGES_POWER_MAX = 7, /* all of its bits are ones */
};

/* A node: its code and what lies beside it. */
struct edge_end {
    const uint8_t *code;
    struct code_meta meta;
};

/* 0 if the space keeps no edges. */
size_t edges_block_bytes(const struct code_space *space);

/* Memory for writing edges; zeroed before its first use. */
struct edge_work {
    size_t width_max;
    float *from, *r;  /* owned, KERNELS_BLOCK-aligned: the node, and an edge */
    uint64_t *planes; /* owned: of an edge */
};

/* Makes room for codes of a width; false when memory ends. */
bool edges_work_reserve(struct edge_work *work, size_t width);
void edges_work_free(struct edge_work *work);

/* A block, and what lies elsewhere of it. */
struct edge_block {
    uint8_t *planes; /* edges_block_bytes, KERNELS_BLOCK-aligned */
    uint8_t *slopes; /* EDGES_PER_BLOCK */
    uint8_t power;   /* slopes are counted in 2^power units, at most EDGES_POWER_MAX */
};

/* What slopes of a node are counted in. Of a power above EDGES_POWER_MAX, anything. */
float edges_slope_unit(const struct code_space *space, struct code_meta node, uint8_t power);

/* Writes the edges to the neighbours of a block's places, bit i of `places` that to neighbours[i].
 * Returns the places that have theirs: the others must stay stale, for numbers leave f32, the edge
 * is longer than any power tells, or the node has no length. Where an edge is too long for the
 * block's power, raises it: then the edges of all places must be written again. Whoever holds the
 * node's lock. */
uint32_t edges_write(const struct code_space *space, const struct edge_end *node,
                     const struct edge_end neighbours[EDGES_PER_BLOCK], uint32_t places,
                     struct edge_work *work, struct edge_block *block);

/* True if one of these places' edges is too long for a power less. */
bool edges_want_power(const struct edge_block *block, uint32_t places);

#endif
