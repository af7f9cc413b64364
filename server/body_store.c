#include "server/body_store.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Moves what came back to the list of the loop. */
static void collect(struct body_store *store) {
    struct body_block *block =
        atomic_exchange_explicit(&store->returned, NULL, memory_order_acq_rel);
    while (block) {
        struct body_block *next = block->next;
        block->next = store->kept;
        store->kept = block;
        block = next;
    }
}

/* Not much larger than asked for: a large block is worth keeping for a large body. */
static bool fits(const struct body_block *block, size_t size) {
    return block->size >= size && block->size / 2 <= size + BODY_STORE_ROUND;
}

static struct body_block *detach(struct body_store *store, struct body_block **link) {
    struct body_block *block = *link;
    *link = block->next;
    block->next = NULL;
    atomic_fetch_sub_explicit(&store->kept_bytes, block->size, memory_order_relaxed);
    return block;
}

struct body_block *body_store_take(struct body_store *store, size_t size) {
    assert(size >= BODY_STORE_BLOCK_MIN);
    store->idle_ticks = 0;
    collect(store);
    for (struct body_block **link = &store->kept; *link; link = &(*link)->next)
        if (fits(*link, size))
            return detach(store, link);
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + BODY_STORE_ROUND - 1) / BODY_STORE_ROUND * BODY_STORE_ROUND;
    struct body_block *block = malloc(sizeof(*block) + size);
    if (block)
        *block = (struct body_block){.size = size};
    return block;
}

void body_store_give(struct body_store *store, struct body_block *block) {
    atomic_fetch_add_explicit(&store->kept_bytes, block->size, memory_order_relaxed);
    struct body_block *top = atomic_load_explicit(&store->returned, memory_order_relaxed);
    do
        block->next = top;
    while (!atomic_compare_exchange_weak_explicit(&store->returned, &top, block,
                                                  memory_order_acq_rel, memory_order_relaxed));
}

void body_store_trim(struct body_store *store) {
    size_t kept = atomic_load_explicit(&store->kept_bytes, memory_order_relaxed);
    bool is_idle = store->idle_ticks >= BODY_STORE_IDLE_TICKS;
    if (!is_idle)
        store->idle_ticks++;
    if (!is_idle && kept <= store->kept_max)
        return;
    collect(store);
    if (store->kept)
        free(detach(store, &store->kept));
}

void body_store_free(struct body_store *store) {
    collect(store);
    while (store->kept)
        free(detach(store, &store->kept));
    assert(atomic_load(&store->kept_bytes) == 0);
}
