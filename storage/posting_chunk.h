/* posting_chunk.h -- a set of up to 65,536 slots as one LMDB value.
 *
 * Three kinds, the smallest is written: a sorted list of u16 (few slots), runs (slots that were
 * given out one after the other: what marks like "live" are made of), a bitmap. Values lie in the
 * map at any even address, so all loads are memcpy. Layout, little-endian:
 *
 *   0  u16  count - 1
 *   2  u8   kind: 0 list, 1 bitmap, 2 runs
 *   3  u8   0
 *   4  u64  XXH3-64 of bytes 12.., seeded with the XXH3-64 of the key, seeded with bytes 0..3
 *  12       list: count u16, ascending
 *           bitmap: 8,192 bytes, bit s of little-endian u64 words is slot s
 *           runs: pairs of u16 (first slot, number of slots - 1), ascending, not touching
 *
 * Pure functions on memory of the caller; any thread.
 */
#ifndef POSTING_CHUNK_H
#define POSTING_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    POSTING_CHUNK_BITS = 16,
    POSTING_CHUNK_SLOTS = 1 << POSTING_CHUNK_BITS,
    POSTING_CHUNK_WORDS = POSTING_CHUNK_SLOTS / 64,
    POSTING_CHUNK_HEADER = 12,
    POSTING_CHUNK_LIST_MAX = 4096, /* slots; more are a bitmap or runs */
    POSTING_CHUNK_BYTES_MAX = POSTING_CHUNK_HEADER + POSTING_CHUNK_SLOTS / 8,
};

enum posting_chunk_kind {
    POSTING_CHUNK_LIST = 0,
    POSTING_CHUNK_BITMAP = 1,
    POSTING_CHUNK_RUNS = 2,
};

/* A chunk that was found to be whole; borrows the value. */
struct posting_chunk {
    enum posting_chunk_kind kind;
    uint32_t count; /* 1 .. POSTING_CHUNK_SLOTS */
    const uint8_t *data;
    size_t length; /* of data */
};

/* One slot to put into a chunk or to take out. */
struct posting_chunk_edit {
    uint16_t slot;
    bool add;
};

/* Memory for editing, so that the stack stays small. */
struct posting_chunk_scratch {
    uint64_t words[POSTING_CHUNK_WORDS];
    uint16_t list[POSTING_CHUNK_LIST_MAX];
    uint8_t value[POSTING_CHUNK_BYTES_MAX];
};

/* Reads a value that was stored under key. False if its checksum or its form is wrong. */
bool posting_chunk_open(const void *key, size_t key_length, const void *value, size_t length,
                        struct posting_chunk *chunk);

/* The number of slots as the header has it, without looking at the rest; 0 if there is none. */
uint32_t posting_chunk_peek_count(const void *value, size_t length);

/* False if an opened chunk's slots are not in order or not as many as its count. */
bool posting_chunk_is_sound(const struct posting_chunk *chunk);

bool posting_chunk_has(const struct posting_chunk *chunk, uint16_t slot);

/* Sets the chunk's bits. */
void posting_chunk_fill(const struct posting_chunk *chunk, uint64_t words[POSTING_CHUNK_WORDS]);

/* Applies edits, sorted by slot, each slot once, to a chunk (NULL: there is none). Returns the
 * length of the new value in scratch->value, 0 if no slot is left. *changed tells whether it
 * differs from the old at all. */
size_t posting_chunk_edit(const void *key, size_t key_length, const struct posting_chunk *chunk,
                          const struct posting_chunk_edit *edits, size_t count,
                          struct posting_chunk_scratch *scratch, bool *changed);

#endif
