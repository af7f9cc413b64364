/* The lists of the graph: who may enter them, and who has to go. */
#include "index/hnsw_links.h"

#include "index/hits.h"

enum {
    KEPT_SPARE = 4,  /* places of a list that links kept at insertion leave to repairs */
    RANKED_MAX = 80, /* hits above which hits_sort is faster */
};

/* A hit goes to the place that the number of hits before it tells: quadratic, but for the few dozen
 * of a list several times as fast as a sort that branches. */
void hnsw_links_sort(struct hit *hits, size_t count) {
    struct hit unsorted[RANKED_MAX];
    float distances[RANKED_MAX];
    if (count > RANKED_MAX) {
        hits_sort(hits, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        unsorted[i] = hits[i];
        distances[i] = hits[i].distance;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t before = 0;
        for (size_t j = 0; j < i; j++)
            before += distances[j] <= distances[i];
        for (size_t j = i + 1; j < count; j++)
            before += distances[j] < distances[i];
        hits[before] = unsorted[i];
    }
}

/* A full list and the slot that wants into it, by distance from the list's owner. */
struct rivals {
    uint32_t owner, slot; /* whose list, and who wants into it */
    uint32_t level;
    struct hit hits[HNSW_PLACES_MAX + 1];
    uint32_t places[HNSW_PLACES_MAX + 1]; /* of hits[i] in the list; beyond its end: the new one */
    bool is_chosen[HNSW_PLACES_MAX + 1];
    size_t count;
};

/* Measures the list of `owner` and `slot`, sorts them and runs the heuristic. */
static void choose_rivals(const struct hnsw *hnsw, struct index_scratch *scratch,
                          struct rivals *rivals) {
    const struct store *store = hnsw->store;
    const _Atomic uint32_t *list = hnsw_list(hnsw, rivals->owner, rivals->level);
    uint32_t places = hnsw_places(hnsw, rivals->level);
    struct code_batch *batch = &scratch->pair_batch;
    batch->count = 0;
    for (uint32_t i = 0; i < places; i++)
        search_batch_add(store, batch, hnsw_link_slot(hnsw_link_load(list, i)));
    search_batch_add(store, batch, rivals->slot);
    codes_query_row(hnsw->space, store_code(store, rivals->owner),
                    *store_meta(store, rivals->owner), &scratch->node);
    codes_distances(hnsw->space, &scratch->node, batch);
    rivals->count = batch->count;
    for (size_t i = 0; i < batch->count; i++)
        rivals->hits[i] = (struct hit){.slot = (uint32_t)i, .distance = batch->distances[i]};
    hnsw_links_sort(rivals->hits, rivals->count);
    for (size_t i = 0; i < rivals->count; i++) {
        rivals->places[i] = rivals->hits[i].slot;
        rivals->hits[i].slot = batch->slots[rivals->places[i]];
    }
    const struct hnsw_candidates candidates = {.hits = rivals->hits, .count = rivals->count};
    hnsw_select(hnsw, scratch, &candidates, places, rivals->is_chosen);
}

/* Makes fillers of the links that the heuristic rejects, but for the kept; the place of the
 * farthest of them, or of the farthest link at all that is not kept and lies beyond the new slot
 * (anywhere if the new one must enter). The number of places if there is none. */
static uint32_t find_victim(_Atomic uint32_t *list, uint32_t places, const struct rivals *rivals,
                            bool must_enter) {
    uint32_t victim = places;
    for (size_t i = 0; i < rivals->count; i++) {
        uint32_t place = rivals->places[i];
        if (place == places || rivals->is_chosen[i] || (hnsw_link_load(list, place) & HNSW_KEPT))
            continue;
        hnsw_link_store(list, place, rivals->hits[i].slot | HNSW_FILLER);
        victim = place; /* the last such is the farthest */
    }
    for (size_t i = rivals->count; victim == places && i-- > 0;) {
        uint32_t place = rivals->places[i];
        if (place == places && !must_enter)
            break;
        if (place != places && !(hnsw_link_load(list, place) & HNSW_KEPT))
            victim = place;
    }
    return victim;
}

/* Lets the slot into a full list of level 0, as a link or a filler, if it is near enough. */
static bool prune(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                  uint32_t link) {
    struct rivals rivals = {.owner = owner, .slot = hnsw_link_slot(link)};
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    uint32_t places = hnsw->store->link_count;
    bool is_kept = link & HNSW_KEPT, is_chosen = is_kept;
    choose_rivals(hnsw, scratch, &rivals);
    for (size_t i = 0; i < rivals.count; i++) {
        if (rivals.places[i] == places)
            is_chosen |= rivals.is_chosen[i];
    }
    uint32_t victim = find_victim(list, places, &rivals, is_kept);
    if (victim == places)
        return false;
    hnsw_links_put(hnsw, owner, victim, is_chosen ? link : link | HNSW_FILLER);
    return true;
}

/* Where the slot is in the list, or could enter it without a fight; the number of places if
 * nowhere. */
static uint32_t find_place(const _Atomic uint32_t *list, uint32_t places, uint32_t slot) {
    uint32_t empty = places;
    for (uint32_t i = 0; i < places; i++) {
        uint32_t link = hnsw_link_load(list, i);
        if (link == SLOT_NONE)
            empty = i;
        else if (hnsw_link_slot(link) == slot)
            return i;
        else if ((link & HNSW_FILLER) && empty == places)
            empty = i;
    }
    return empty;
}

void hnsw_links_add(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                    uint32_t slot) {
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    uint32_t places = hnsw->store->link_count;
    hnsw_lock(hnsw, owner);
    uint32_t place = find_place(list, places, slot);
    if (place == places)
        prune(hnsw, scratch, owner, slot);
    else if (hnsw_link_load(list, place) != (slot | HNSW_KEPT))
        hnsw_links_put(hnsw, owner, place, slot);
    hnsw_edges_write(hnsw, scratch, owner);
    hnsw_unlock(hnsw, owner);
}

uint32_t hnsw_links_count_kept(const struct hnsw *hnsw, uint32_t owner) {
    const _Atomic uint32_t *list = store_links(hnsw->store, owner);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < hnsw->store->link_count; i++)
        kept += hnsw_link_is_kept(hnsw_link_load(list, i));
    return kept;
}

bool hnsw_links_keep(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                     uint32_t slot) {
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    uint32_t places = hnsw->store->link_count;
    bool is_done = true;
    hnsw_lock(hnsw, owner);
    uint32_t place = find_place(list, places, slot);
    if (place == places)
        is_done = prune(hnsw, scratch, owner, slot | HNSW_KEPT);
    else
        hnsw_links_put(hnsw, owner, place, slot | HNSW_KEPT);
    hnsw_edges_write(hnsw, scratch, owner);
    hnsw_unlock(hnsw, owner);
    return is_done;
}

void hnsw_links_unkeep(const struct hnsw *hnsw, uint32_t owner, uint32_t slot) {
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    hnsw_lock(hnsw, owner);
    for (uint32_t i = 0; i < hnsw->store->link_count; i++) {
        if (hnsw_link_load(list, i) == (slot | HNSW_KEPT)) {
            hnsw_link_store(list, i, slot);
            store_mark_changed(hnsw->store, owner);
        }
    }
    hnsw_unlock(hnsw, owner);
}

void hnsw_links_join(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                     const struct hnsw_candidates *nearest) {
    /* First whoever has places to spare, then whoever has any. */
    for (uint32_t spare = KEPT_SPARE; spare > 0; spare -= KEPT_SPARE / 2) {
        for (size_t i = 0; i < nearest->count; i++) {
            uint32_t other = nearest->hits[i].slot;
            if (hnsw_links_count_kept(hnsw, other) + spare > hnsw->store->link_count ||
                !hnsw_links_keep(hnsw, scratch, slot, other))
                continue;
            if (hnsw_links_keep(hnsw, scratch, other, slot))
                return;
            hnsw_links_unkeep(hnsw, slot, other);
        }
    }
}

void hnsw_links_add_upper(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                          uint32_t slot, uint32_t level) {
    struct rivals rivals = {.owner = owner, .slot = slot, .level = level};
    _Atomic uint32_t *list = hnsw_list(hnsw, owner, level);
    hnsw_lock(hnsw, owner);
    store_mark_changed(hnsw->store, owner);
    uint32_t place = find_place(list, hnsw->m, slot);
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

static void put_on(const struct hnsw *hnsw, uint32_t slot, uint32_t level, uint32_t place,
                   uint32_t link) {
    if (level == 0)
        hnsw_links_put(hnsw, slot, place, link);
    else
        hnsw_link_store(hnsw_list(hnsw, slot, level), place, link);
}

void hnsw_links_write(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                      const struct hnsw_candidates *candidates, uint32_t level) {
    bool is_chosen[HNSW_CANDIDATES_MAX];
    const struct hit *hits = candidates->hits;
    size_t count = candidates->count;
    uint32_t places = hnsw_places(hnsw, level), place = 0;
    store_mark_changed(hnsw->store, slot);
    hnsw_select(hnsw, scratch, candidates, hnsw->m, is_chosen);
    for (size_t i = 0; i < count; i++) {
        if (is_chosen[i])
            put_on(hnsw, slot, level, place++, hits[i].slot);
    }
    for (size_t i = 0; level == 0 && i < count && place < places; i++) {
        if (!is_chosen[i])
            put_on(hnsw, slot, level, place++, hits[i].slot | HNSW_FILLER);
    }
    for (; place < places; place++)
        put_on(hnsw, slot, level, place, SLOT_NONE);
    if (level == 0)
        hnsw_edges_write(hnsw, scratch, slot);
}
