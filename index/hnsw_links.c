/* The lists of the graph: who may enter them, and who has to go. */
#include "index/hnsw_links.h"

#include <assert.h>
#include <string.h>

static _Atomic uint32_t *in_count(const struct hnsw *hnsw, uint32_t slot) {
    return &store_node(hnsw->store, slot)->in_count;
}

void hnsw_links_count(const struct hnsw *hnsw, uint32_t to) {
    atomic_fetch_add_explicit(in_count(hnsw, to), 1, memory_order_relaxed);
}

/* Gives up a link to a slot unless it is the last that leads there. */
bool hnsw_links_give_up(const struct hnsw *hnsw, uint32_t to) {
    uint32_t count = atomic_load_explicit(in_count(hnsw, to), memory_order_relaxed);
    while (count > 1) {
        if (atomic_compare_exchange_weak_explicit(in_count(hnsw, to), &count, count - 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return false;
}

void hnsw_links_sort(struct hit *hits, size_t count) {
    for (size_t i = 1; i < count; i++) {
        struct hit hit = hits[i];
        size_t j = i;
        for (; j > 0 && hits[j - 1].distance > hit.distance; j--)
            hits[j] = hits[j - 1];
        hits[j] = hit;
    }
}

/* A full list and the slot that wants into it, by distance from the list's owner. */
struct rivals {
    uint32_t owner, slot; /* whose list, and who wants into it */
    uint32_t level;
    struct hit hits[HNSW_PLACES_MAX + 1];
    uint32_t
        places[HNSW_PLACES_MAX + 1]; /* of hits[i] in the list; the number of places: the new one */
    bool is_chosen[HNSW_PLACES_MAX + 1];
    size_t count;
};

/* Measures the list of `owner` and `slot`, sorts them and runs the heuristic. */
static void choose_rivals(const struct hnsw *hnsw, struct index_scratch *scratch,
                          struct rivals *rivals) {
    const struct store *store = hnsw->store;
    const _Atomic uint32_t *list = hnsw_list(hnsw, rivals->owner, rivals->level);
    uint32_t places = hnsw_places(hnsw, rivals->level), owner = rivals->owner;
    struct code_batch *batch = &scratch->pair_batch;
    batch->count = 0;
    for (uint32_t i = 0; i < places; i++)
        search_batch_add(store, batch, hnsw_link_load(list, i) & ~HNSW_FILLER);
    search_batch_add(store, batch, rivals->slot);
    codes_query_row(hnsw->space, store_code(store, owner), *store_meta(store, owner),
                    &scratch->node);
    codes_distances(hnsw->space, &scratch->node, batch);
    rivals->count = batch->count;
    for (size_t i = 0; i < batch->count; i++)
        rivals->hits[i] = (struct hit){.slot = (uint32_t)i, .distance = batch->distances[i]};
    uint32_t slots[HNSW_PLACES_MAX + 1];
    memcpy(slots, batch->slots, batch->count * sizeof(slots[0]));
    hnsw_links_sort(rivals->hits, rivals->count);
    for (size_t i = 0; i < rivals->count; i++) {
        rivals->places[i] = rivals->hits[i].slot;
        rivals->hits[i].slot = slots[rivals->places[i]];
    }
    const struct hnsw_candidates candidates = {.hits = rivals->hits, .count = rivals->count};
    hnsw_select(hnsw, scratch, &candidates, places, rivals->is_chosen);
}

/* Makes fillers of the level-0 links that the heuristic rejects, and puts the new slot into the
 * place of the farthest of them. */
static void prune(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                  uint32_t slot) {
    struct rivals rivals = {.owner = owner, .slot = slot};
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    uint32_t places = hnsw->store->link_count, victim = places;
    choose_rivals(hnsw, scratch, &rivals);
    bool is_wanted = false;
    for (size_t i = 0; i < rivals.count; i++) {
        struct hit hit = rivals.hits[i];
        if (rivals.places[i] == places) {
            is_wanted = rivals.is_chosen[i];
        } else if (!rivals.is_chosen[i] && hnsw_links_give_up(hnsw, hit.slot)) {
            victim = rivals.places[i]; /* the last such is the farthest */
            hnsw_link_store(list, victim, hit.slot | HNSW_FILLER);
        }
    }
    /* All are chosen, or the last way to somewhere: the farthest that can be spared goes. */
    for (size_t i = rivals.count; is_wanted && victim == places && i-- > 0;) {
        if (rivals.places[i] == places)
            break; /* the new one is farther than what could go */
        if (hnsw_links_give_up(hnsw, rivals.hits[i].slot))
            victim = rivals.places[i];
    }
    if (victim == places)
        return;
    if (is_wanted)
        hnsw_links_count(hnsw, slot);
    hnsw_link_store(list, victim, is_wanted ? slot : slot | HNSW_FILLER);
}

/* Links owner to slot on level 0. */
void hnsw_links_add(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                    uint32_t slot) {
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    uint32_t places = hnsw->store->link_count, free_place = places, filler = places;
    hnsw_lock(hnsw, owner);
    for (uint32_t i = 0; i < places; i++) {
        uint32_t link = hnsw_link_load(list, i);
        if (link == slot) {
            hnsw_unlock(hnsw, owner);
            return;
        }
        if (link == (slot | HNSW_FILLER) || link == SLOT_NONE) {
            free_place = i;
            if (link != SLOT_NONE)
                break;
        } else if (link & HNSW_FILLER) {
            filler = i;
        }
    }
    uint32_t place = free_place < places ? free_place : filler;
    if (place < places) {
        hnsw_links_count(hnsw, slot);
        hnsw_link_store(list, place, slot);
    } else {
        prune(hnsw, scratch, owner, slot);
    }
    hnsw_unlock(hnsw, owner);
}

/* Links the nearest that can spare a link to a slot to which nothing leads. */
void hnsw_links_force(const struct hnsw *hnsw, uint32_t slot,
                      const struct hnsw_candidates *nearest) {
    for (size_t i = 0; i < nearest->count; i++) {
        uint32_t owner = nearest->hits[i].slot, places = hnsw->store->link_count;
        _Atomic uint32_t *list = store_links(hnsw->store, owner);
        bool is_done = false;
        hnsw_lock(hnsw, owner);
        for (uint32_t place = places; !is_done && place-- > 0;) {
            uint32_t link = hnsw_link_load(list, place);
            is_done = (link & HNSW_FILLER) || (link != slot && hnsw_links_give_up(hnsw, link));
            if (is_done) {
                hnsw_links_count(hnsw, slot);
                hnsw_link_store(list, place, slot);
            }
        }
        hnsw_unlock(hnsw, owner);
        if (is_done)
            return;
    }
}

/* Links owner to slot on an upper level, where lists are pruned to what the heuristic chooses. */
void hnsw_links_add_upper(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                          uint32_t slot, uint32_t level) {
    struct rivals rivals = {.owner = owner, .slot = slot, .level = level};
    _Atomic uint32_t *list = hnsw_list(hnsw, owner, level);
    hnsw_lock(hnsw, owner);
    uint32_t place = 0;
    while (place < hnsw->m && hnsw_link_load(list, place) != SLOT_NONE &&
           hnsw_link_load(list, place) != slot)
        place++;
    if (place < hnsw->m) {
        hnsw_link_store(list, place, slot);
    } else {
        choose_rivals(hnsw, scratch, &rivals);
        uint32_t kept = 0;
        for (size_t i = 0; i < rivals.count && kept < hnsw->m; i++) {
            if (rivals.is_chosen[i])
                hnsw_link_store(list, kept++, rivals.hits[i].slot);
        }
        for (; kept < hnsw->m; kept++)
            hnsw_link_store(list, kept, SLOT_NONE);
    }
    hnsw_unlock(hnsw, owner);
}

/* The hits are the candidates of the slot's own list, nearest first; nobody leads to it yet. */
void hnsw_links_write(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                      const struct hnsw_candidates *candidates, uint32_t level) {
    bool is_chosen[HNSW_CANDIDATES_MAX];
    const struct hit *hits = candidates->hits;
    size_t count = candidates->count;
    _Atomic uint32_t *list = hnsw_list(hnsw, slot, level);
    uint32_t places = hnsw_places(hnsw, level), place = 0;
    hnsw_select(hnsw, scratch, candidates, hnsw->m, is_chosen);
    for (size_t i = 0; i < count; i++) {
        if (!is_chosen[i])
            continue;
        hnsw_link_store(list, place++, hits[i].slot);
        if (level == 0)
            hnsw_links_count(hnsw, hits[i].slot);
    }
    for (size_t i = 0; level == 0 && i < count && place < places; i++) {
        if (!is_chosen[i])
            hnsw_link_store(list, place++, hits[i].slot | HNSW_FILLER);
    }
    for (; place < places; place++)
        hnsw_link_store(list, place, SLOT_NONE);
}
