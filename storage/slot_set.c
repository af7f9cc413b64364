#include "storage/slot_set.h"

#include <assert.h>
#include <string.h>

static uint64_t *chunk_words(const struct slot_set *set, uint32_t number) {
    return set->words + (size_t)number * POSTING_CHUNK_WORDS;
}

struct slot_set *slot_set_create(struct arena *arena, uint32_t slot_end) {
    struct slot_set *set = arena_alloc(arena, sizeof(*set));
    if (!set)
        return NULL;
    uint32_t chunks =
        (uint32_t)(((uint64_t)slot_end + POSTING_CHUNK_SLOTS - 1) >> POSTING_CHUNK_BITS);
    *set = (struct slot_set){.chunks = chunks ? chunks : 1};
    set->occupied = arena_alloc(arena, set->chunks * sizeof(*set->occupied));
    set->words = arena_alloc(arena, set->chunks * (POSTING_CHUNK_WORDS * sizeof(*set->words)));
    if (!set->occupied || !set->words)
        return NULL;
    memset(set->occupied, true, set->chunks * sizeof(*set->occupied)); /* not known to be 0 yet */
    slot_set_clear(set);
    return set;
}

static void clear_chunk(struct slot_set *set, uint32_t number) {
    if (set->occupied[number])
        memset(chunk_words(set, number), 0, POSTING_CHUNK_WORDS * sizeof(*set->words));
    set->occupied[number] = false;
}

void slot_set_clear(struct slot_set *set) {
    for (uint32_t i = 0; i < set->chunks; i++)
        clear_chunk(set, i);
}

void slot_set_add(struct slot_set *set, uint32_t slot) {
    assert(slot >> POSTING_CHUNK_BITS < set->chunks);
    set->words[slot / 64] |= UINT64_C(1) << slot % 64;
    set->occupied[slot >> POSTING_CHUNK_BITS] = true;
}

bool slot_set_has(const struct slot_set *set, uint32_t slot) {
    return slot >> POSTING_CHUNK_BITS < set->chunks && (set->words[slot / 64] >> slot % 64 & 1);
}

void slot_set_add_chunk(struct slot_set *set, uint32_t number, const struct posting_chunk *chunk) {
    if (number >= set->chunks)
        return;
    posting_chunk_fill(chunk, chunk_words(set, number));
    set->occupied[number] = true;
}

void slot_set_or(struct slot_set *set, const struct slot_set *other) {
    assert(set->chunks == other->chunks);
    for (uint32_t i = 0; i < set->chunks; i++) {
        if (!other->occupied[i])
            continue;
        uint64_t *words = chunk_words(set, i);
        const uint64_t *others = chunk_words(other, i);
        for (size_t j = 0; j < POSTING_CHUNK_WORDS; j++)
            words[j] |= others[j];
        set->occupied[i] = true;
    }
}

void slot_set_and(struct slot_set *set, const struct slot_set *other) {
    assert(set->chunks == other->chunks);
    for (uint32_t i = 0; i < set->chunks; i++) {
        if (!set->occupied[i])
            continue;
        if (!other->occupied[i]) {
            clear_chunk(set, i);
            continue;
        }
        uint64_t *words = chunk_words(set, i), any = 0;
        const uint64_t *others = chunk_words(other, i);
        for (size_t j = 0; j < POSTING_CHUNK_WORDS; j++)
            any |= words[j] &= others[j];
        set->occupied[i] = any != 0;
    }
}

void slot_set_and_not(struct slot_set *set, const struct slot_set *other) {
    assert(set->chunks == other->chunks);
    for (uint32_t i = 0; i < set->chunks; i++) {
        if (!set->occupied[i] || !other->occupied[i])
            continue;
        uint64_t *words = chunk_words(set, i), any = 0;
        const uint64_t *others = chunk_words(other, i);
        for (size_t j = 0; j < POSTING_CHUNK_WORDS; j++)
            any |= words[j] &= ~others[j];
        set->occupied[i] = any != 0;
    }
}

bool slot_set_meets(const struct slot_set *set, const struct slot_set *other) {
    assert(set->chunks == other->chunks);
    for (uint32_t i = 0; i < set->chunks; i++) {
        if (!set->occupied[i] || !other->occupied[i])
            continue;
        const uint64_t *words = chunk_words(set, i), *others = chunk_words(other, i);
        for (size_t j = 0; j < POSTING_CHUNK_WORDS; j++) {
            if (words[j] & others[j])
                return true;
        }
    }
    return false;
}

uint32_t slot_set_count(const struct slot_set *set) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->chunks; i++) {
        if (!set->occupied[i])
            continue;
        const uint64_t *words = chunk_words(set, i);
        for (size_t j = 0; j < POSTING_CHUNK_WORDS; j++)
            count += (uint32_t)__builtin_popcountll(words[j]);
    }
    return count;
}

bool slot_set_is_empty(const struct slot_set *set) {
    for (uint32_t i = 0; i < set->chunks; i++) {
        if (!set->occupied[i])
            continue;
        const uint64_t *words = chunk_words(set, i);
        for (size_t j = 0; j < POSTING_CHUNK_WORDS; j++) {
            if (words[j])
                return false;
        }
    }
    return true;
}

void slot_set_cut(struct slot_set *set, uint32_t slot_end) {
    uint32_t number = slot_end >> POSTING_CHUNK_BITS;
    if (number >= set->chunks)
        return;
    for (uint32_t i = number + 1; i < set->chunks; i++)
        clear_chunk(set, i);
    uint64_t *words = chunk_words(set, number);
    uint32_t first = slot_end % POSTING_CHUNK_SLOTS / 64;
    words[first] &= (UINT64_C(1) << slot_end % 64) - 1;
    memset(words + first + 1, 0, (POSTING_CHUNK_WORDS - 1 - first) * sizeof(*words));
}
