/* search.h -- one search under way: what it may see, what passes, when it must stop.
 *
 * Shared by the exact scan and the walks. Lives on the stack of vector_index_search; one thread.
 */
#ifndef SEARCH_H
#define SEARCH_H

#include "index/memory.h"
#include "index/scratch.h"
#include "index/store.h"
#include "index/vector_index.h"

struct search {
    const struct store *store;
    const struct code_space *space;
    const struct slots *slots;
    enum distance distance;
    const struct index_query *query;
    const struct vector_owner *owner;
    struct index_scratch *scratch;
    size_t missing;     /* vectors that the owner did not have */
    uint64_t scored;    /* distances taken so far */
    uint64_t halved;    /* of these, told by half of a code */
    uint64_t poll_at;   /* the value of scored at which to look at the clock next */
    enum status status; /* STATUS_OK, or why the search stops */
};

/* Prepares the memo of a lazy filter; false when memory ends. */
bool search_begin(struct search *search);

/* True if the reader's snapshot has the slot. */
static inline bool search_is_visible(const struct search *search, uint32_t slot) {
    return slots_visible(search->slots, slot, search->query->operation);
}

/* True if the filter may let the slot pass: only its words are looked at. */
static inline bool search_may_pass(const struct search *search, uint32_t slot) {
    const struct slot_filter *filter = search->query->filter;
    return !filter || (slot < filter->slot_end && bitmap_test(filter->words, slot));
}

/* True if the filter lets the slot pass; asks it at most once about each. */
bool search_passes(struct search *search, uint32_t slot);

/* Measures the slots of `rows` exactly and offers them to top; those whose vector the owner no
 * longer has are left out. False if the search is over. */
bool search_measure(struct search *search, const struct hit *rows, size_t count, struct top_k *top);

/* To be called every few hundred distances: true if the search was cancelled or is late, which is
 * then told by search->status. */
bool search_is_over(struct search *search);

/* Adds the row of a slot to the batch, which must have room. */
static inline void search_batch_add(const struct store *store, struct code_batch *batch,
                                    uint32_t slot) {
    size_t i = batch->count++;
    batch->slots[i] = slot;
    batch->rows[i] = store_code(store, slot);
    batch->metas[i] = store_meta(store, slot);
}

/* The same for a block whose floors nobody asks for. Rows that lie here and there come several
 * times sooner if they are asked for one after the other than between products. */
static inline void search_block_add(const struct store *store, struct code_block *block,
                                    uint32_t slot) {
    const struct code_meta *meta = store_meta(store, slot);
    size_t i = block->count++;
    block->slots[i] = slot;
    block->rows[i] = store_code(store, slot);
    block->scales[i] = meta->scale;
    block->lengths[i] = meta->length;
    block->errors[i] = 0;
    memory_prefetch(block->rows[i], store->code_bytes);
}

#endif
