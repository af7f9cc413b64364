#include "storage/posting_chunk.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "chunks are read in place");
static_assert(POSTING_CHUNK_LIST_MAX * 2 == POSTING_CHUNK_SLOTS / 8,
              "a list is never larger than a bitmap");

enum {
    BITMAP_BYTES = POSTING_CHUNK_SLOTS / 8,
    RUN_BYTES = 4,
    RUNS_MAX = BITMAP_BYTES / RUN_BYTES - 1,
};

static uint16_t load_u16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static void store_u16(uint8_t *at, uint16_t value) {
    memcpy(at, &value, sizeof(value));
}

static uint64_t checksum(const void *key, size_t key_length, const uint8_t header[4],
                         const uint8_t *data, size_t length) {
    uint32_t head;
    memcpy(&head, header, sizeof(head));
    return XXH3_64bits_withSeed(data, length, XXH3_64bits_withSeed(key, key_length, head));
}

/* ---- Reading -------------------------------------------------------------------------------- */

static bool runs_are_whole(const uint8_t *data, size_t length, uint32_t count) {
    uint32_t total = 0, next = 0;
    for (size_t i = 0; i < length; i += RUN_BYTES) {
        uint32_t first = load_u16(data + i), size = load_u16(data + i + 2) + 1u;
        if ((i && first <= next) || first + size > POSTING_CHUNK_SLOTS)
            return false;
        next = first + size;
        total += size;
    }
    return total == count;
}

bool posting_chunk_open(const void *key, size_t key_length, const void *value, size_t length,
                        struct posting_chunk *chunk) {
    const uint8_t *bytes = value;
    uint64_t stored;
    if (length <= POSTING_CHUNK_HEADER || length > POSTING_CHUNK_BYTES_MAX)
        return false;
    memcpy(&stored, bytes + 4, sizeof(stored));
    *chunk = (struct posting_chunk){.count = load_u16(bytes) + 1u,
                                    .data = bytes + POSTING_CHUNK_HEADER,
                                    .length = length - POSTING_CHUNK_HEADER};
    if (checksum(key, key_length, bytes, chunk->data, chunk->length) != stored || bytes[3] != 0)
        return false;
    switch (bytes[2]) {
    case POSTING_CHUNK_LIST:
        chunk->kind = POSTING_CHUNK_LIST;
        return chunk->count <= POSTING_CHUNK_LIST_MAX && chunk->length == chunk->count * 2;
    case POSTING_CHUNK_BITMAP:
        chunk->kind = POSTING_CHUNK_BITMAP;
        return chunk->length == BITMAP_BYTES;
    case POSTING_CHUNK_RUNS:
        chunk->kind = POSTING_CHUNK_RUNS;
        return chunk->length % RUN_BYTES == 0 &&
               runs_are_whole(chunk->data, chunk->length, chunk->count);
    default:
        return false;
    }
}

uint32_t posting_chunk_peek_count(const void *value, size_t length) {
    return length > POSTING_CHUNK_HEADER ? load_u16(value) + 1u : 0;
}

static uint32_t count_bits(const uint8_t *data) {
    uint32_t count = 0;
    for (size_t i = 0; i < POSTING_CHUNK_WORDS; i++) {
        uint64_t word;
        memcpy(&word, data + i * 8, sizeof(word));
        count += (uint32_t)__builtin_popcountll(word);
    }
    return count;
}

bool posting_chunk_is_sound(const struct posting_chunk *chunk) {
    switch (chunk->kind) {
    case POSTING_CHUNK_LIST:
        for (size_t i = 2; i < chunk->length; i += 2) {
            if (load_u16(chunk->data + i) <= load_u16(chunk->data + i - 2))
                return false;
        }
        return true;
    case POSTING_CHUNK_BITMAP:
        return count_bits(chunk->data) == chunk->count;
    case POSTING_CHUNK_RUNS:
        break; /* looked at when it was opened */
    }
    return true;
}

/* Index of the last of `count` ascending u16, `stride` bytes apart, that is at most slot; -1 if
 * none is. */
static ptrdiff_t last_at_most(const uint8_t *data, size_t count, size_t stride, uint16_t slot) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (load_u16(data + middle * stride) <= slot)
            low = middle + 1;
        else
            high = middle;
    }
    return (ptrdiff_t)low - 1;
}

bool posting_chunk_has(const struct posting_chunk *chunk, uint16_t slot) {
    ptrdiff_t i;
    switch (chunk->kind) {
    case POSTING_CHUNK_LIST:
        i = last_at_most(chunk->data, chunk->count, 2, slot);
        return i >= 0 && load_u16(chunk->data + i * 2) == slot;
    case POSTING_CHUNK_BITMAP:
        return chunk->data[slot / 8] >> slot % 8 & 1;
    case POSTING_CHUNK_RUNS:
        break;
    }
    i = last_at_most(chunk->data, chunk->length / RUN_BYTES, RUN_BYTES, slot);
    return i >= 0 && slot - load_u16(chunk->data + i * RUN_BYTES) <=
                         load_u16(chunk->data + i * RUN_BYTES + 2);
}

/* Sets the bits first .. last. */
static void set_run(uint64_t *words, uint32_t first, uint32_t last) {
    uint64_t from = ~UINT64_C(0) << first % 64, to = ~UINT64_C(0) >> (63 - last % 64);
    if (first / 64 == last / 64) {
        words[first / 64] |= from & to;
        return;
    }
    words[first / 64] |= from;
    for (uint32_t i = first / 64 + 1; i < last / 64; i++)
        words[i] = ~UINT64_C(0);
    words[last / 64] |= to;
}

void posting_chunk_fill(const struct posting_chunk *chunk, uint64_t words[POSTING_CHUNK_WORDS]) {
    switch (chunk->kind) {
    case POSTING_CHUNK_LIST:
        for (size_t i = 0; i < chunk->length; i += 2) {
            uint16_t slot = load_u16(chunk->data + i);
            words[slot / 64] |= UINT64_C(1) << slot % 64;
        }
        break;
    case POSTING_CHUNK_BITMAP:
        for (size_t i = 0; i < POSTING_CHUNK_WORDS; i++) {
            uint64_t word;
            memcpy(&word, chunk->data + i * 8, sizeof(word));
            words[i] |= word;
        }
        break;
    case POSTING_CHUNK_RUNS:
        for (size_t i = 0; i < chunk->length; i += RUN_BYTES) {
            uint32_t first = load_u16(chunk->data + i);
            set_run(words, first, first + load_u16(chunk->data + i + 2));
        }
        break;
    }
}

/* ---- Writing -------------------------------------------------------------------------------- */

/* Puts the header in front of data that is in place; returns the length of the value. */
static size_t seal(const void *key, size_t key_length, enum posting_chunk_kind kind, uint32_t count,
                   size_t data_length, uint8_t *value) {
    store_u16(value, (uint16_t)(count - 1));
    value[2] = (uint8_t)kind;
    value[3] = 0;
    uint64_t sum = checksum(key, key_length, value, value + POSTING_CHUNK_HEADER, data_length);
    memcpy(value + 4, &sum, sizeof(sum));
    return POSTING_CHUNK_HEADER + data_length;
}

static size_t encode_list(const void *key, size_t key_length, uint32_t count,
                          struct posting_chunk_scratch *scratch) {
    uint8_t *data = scratch->value + POSTING_CHUNK_HEADER;
    size_t runs = 0;
    for (uint32_t i = 0; i < count; i++)
        runs += i == 0 || scratch->list[i] != scratch->list[i - 1] + 1;
    if (runs * RUN_BYTES >= count * 2) {
        memcpy(data, scratch->list, count * 2);
        return seal(key, key_length, POSTING_CHUNK_LIST, count, count * 2, scratch->value);
    }
    size_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || scratch->list[i] != scratch->list[i - 1] + 1) {
            store_u16(data + used, scratch->list[i]);
            used += RUN_BYTES;
        }
        store_u16(data + used - 2,
                  (uint16_t)(scratch->list[i] - load_u16(data + used - RUN_BYTES)));
    }
    return seal(key, key_length, POSTING_CHUNK_RUNS, count, used, scratch->value);
}

/* The first slot from `from` on whose bit is `bit`, or POSTING_CHUNK_SLOTS. */
static uint32_t find_bit(const uint64_t *words, uint32_t from, bool bit) {
    const uint64_t flip = bit ? 0 : ~UINT64_C(0);
    if (from >= POSTING_CHUNK_SLOTS)
        return POSTING_CHUNK_SLOTS;
    uint32_t i = from / 64;
    uint64_t word = (words[i] ^ flip) & ~UINT64_C(0) << from % 64;
    while (!word) {
        if (++i == POSTING_CHUNK_WORDS)
            return POSTING_CHUNK_SLOTS;
        word = words[i] ^ flip;
    }
    return i * 64 + (uint32_t)__builtin_ctzll(word);
}

/* Counts the slots, and how many runs they make. */
static uint32_t survey(const uint64_t *words, size_t *runs) {
    uint32_t count = 0, starts = 0;
    uint64_t carry = 0;
    for (size_t i = 0; i < POSTING_CHUNK_WORDS; i++) {
        count += (uint32_t)__builtin_popcountll(words[i]);
        starts += (uint32_t)__builtin_popcountll(words[i] & ~(words[i] << 1 | carry));
        carry = words[i] >> 63;
    }
    *runs = starts;
    return count;
}

static size_t encode_words(const void *key, size_t key_length,
                           struct posting_chunk_scratch *scratch) {
    uint8_t *data = scratch->value + POSTING_CHUNK_HEADER;
    size_t runs, used = 0;
    uint32_t count = survey(scratch->words, &runs);
    if (count == 0)
        return 0;
    if (count <= POSTING_CHUNK_LIST_MAX) {
        uint32_t slot = find_bit(scratch->words, 0, true);
        for (uint32_t i = 0; i < count; i++) {
            scratch->list[i] = (uint16_t)slot;
            slot = find_bit(scratch->words, slot + 1, true);
        }
        return encode_list(key, key_length, count, scratch);
    }
    if (runs > RUNS_MAX) {
        memcpy(data, scratch->words, BITMAP_BYTES);
        return seal(key, key_length, POSTING_CHUNK_BITMAP, count, BITMAP_BYTES, scratch->value);
    }
    uint32_t first = find_bit(scratch->words, 0, true);
    while (first < POSTING_CHUNK_SLOTS) {
        uint32_t after = find_bit(scratch->words, first, false);
        store_u16(data + used, (uint16_t)first);
        store_u16(data + used + 2, (uint16_t)(after - first - 1));
        used += RUN_BYTES;
        first = find_bit(scratch->words, after, true);
    }
    return seal(key, key_length, POSTING_CHUNK_RUNS, count, used, scratch->value);
}

/* A list of few slots and edits, merged. */
static uint32_t merge(const struct posting_chunk *chunk, const struct posting_chunk_edit *edits,
                      size_t count, uint16_t *list, bool *changed) {
    uint32_t used = 0;
    size_t at = 0, length = chunk ? chunk->length : 0;
    for (size_t i = 0; i <= count; i++) {
        uint32_t slot = i < count ? edits[i].slot : POSTING_CHUNK_SLOTS;
        while (at < length && load_u16(chunk->data + at) < slot) {
            list[used++] = load_u16(chunk->data + at);
            at += 2;
        }
        if (i == count)
            break;
        bool is_there = at < length && load_u16(chunk->data + at) == slot;
        if (is_there)
            at += 2;
        if (edits[i].add)
            list[used++] = edits[i].slot;
        *changed |= is_there != edits[i].add;
    }
    return used;
}

size_t posting_chunk_edit(const void *key, size_t key_length, const struct posting_chunk *chunk,
                          const struct posting_chunk_edit *edits, size_t count,
                          struct posting_chunk_scratch *scratch, bool *changed) {
    *changed = false;
    bool is_list = !chunk || chunk->kind == POSTING_CHUNK_LIST;
    if (is_list && (chunk ? chunk->count : 0) + count <= POSTING_CHUNK_LIST_MAX) {
        uint32_t left = merge(chunk, edits, count, scratch->list, changed);
        return left ? encode_list(key, key_length, left, scratch) : 0;
    }
    memset(scratch->words, 0, sizeof(scratch->words));
    if (chunk)
        posting_chunk_fill(chunk, scratch->words);
    for (size_t i = 0; i < count; i++) {
        uint64_t *word = &scratch->words[edits[i].slot / 64];
        uint64_t bit = UINT64_C(1) << edits[i].slot % 64;
        *changed |= !!(*word & bit) != edits[i].add;
        *word = edits[i].add ? *word | bit : *word & ~bit;
    }
    return encode_words(key, key_length, scratch);
}
