/* Bytes as a chunk of postings with a checksum that is right, so that its form is what is judged:
 * whatever opens can be filled, searched and edited without leaving its memory, and what an edit
 * writes opens again and holds what it should. */
#include "storage/posting_chunk.h"

#include "tests/fuzz/fuzz_target.h"

#include <string.h>
#include <xxhash.h>

static struct posting_chunk_scratch scratch;

static void seal(const uint8_t *key, size_t key_length, uint8_t *value, size_t length) {
    uint32_t head;
    memcpy(&head, value, sizeof(head));
    uint64_t sum = XXH3_64bits_withSeed(value + POSTING_CHUNK_HEADER, length - POSTING_CHUNK_HEADER,
                                        XXH3_64bits_withSeed(key, key_length, head));
    memcpy(value + 4, &sum, sizeof(sum));
}

static void check_edit(const uint8_t *key, size_t key_length, const struct posting_chunk *chunk,
                       const struct posting_chunk_edit *edit) {
    struct posting_chunk edited;
    bool changed, had = posting_chunk_has(chunk, edit->slot);
    size_t length = posting_chunk_edit(key, key_length, chunk, edit, 1, &scratch, &changed);
    MUST_HOLD(changed == (had != edit->add));
    if (length == 0) {
        MUST_HOLD(chunk->count == 1 && had && !edit->add);
        return;
    }
    MUST_HOLD(posting_chunk_open(key, key_length, scratch.value, length, &edited));
    MUST_HOLD(posting_chunk_is_sound(&edited));
    MUST_HOLD(posting_chunk_has(&edited, edit->slot) == edit->add);
    MUST_HOLD(edited.count + had == chunk->count + edit->add);
}

/* key length, edit (3 bytes), key, value */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint64_t words[POSTING_CHUNK_WORDS];
    if (size < 4)
        return 0;
    size_t key_length = data[0] % 32;
    const struct posting_chunk_edit edit = {.slot = (uint16_t)(data[1] | data[2] << 8),
                                            .add = data[3] & 1};
    data += 4;
    size -= 4;
    if (size < key_length + POSTING_CHUNK_HEADER)
        return 0;
    const uint8_t *key = data;
    size_t length = size - key_length;
    uint8_t *value = malloc(length);
    struct posting_chunk chunk;
    MUST_HOLD(value != NULL);
    memcpy(value, data + key_length, length);
    posting_chunk_open(key, key_length, value, length, &chunk); /* the checksum as it is */
    seal(key, key_length, value, length);
    if (posting_chunk_open(key, key_length, value, length, &chunk)) {
        memset(words, 0, sizeof(words));
        posting_chunk_fill(&chunk, words);
        MUST_HOLD(posting_chunk_peek_count(value, length) == chunk.count);
        if (posting_chunk_is_sound(&chunk)) {
            MUST_HOLD(posting_chunk_has(&chunk, edit.slot) ==
                      (words[edit.slot / 64] >> edit.slot % 64 & 1));
            check_edit(key, key_length, &chunk, &edit);
        } else {
            bool changed;
            posting_chunk_has(&chunk, edit.slot);
            posting_chunk_edit(key, key_length, &chunk, &edit, 1, &scratch, &changed);
        }
    }
    free(value);
    return 0;
}
