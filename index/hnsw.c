#include "index/hnsw.h"

#include <math.h>
#include <sched.h>

enum {
    SPINS_BEFORE_YIELD = 200 /* a builder may have lost its core while it held the lock */
};

void hnsw_init(struct hnsw *hnsw, struct store *store, const struct code_space *space) {
    hnsw->store = store;
    hnsw->space = space;
    upper_links_init(&hnsw->upper, hnsw->m);
    atomic_init(&hnsw->entry, HNSW_NO_ENTRY);
    atomic_init(&hnsw->default_ef, HNSW_EF_UNCALIBRATED);
    atomic_init(&hnsw->walk_per_ef, 0);
    atomic_init(&hnsw->walk_ns, 0);
    atomic_init(&hnsw->scored_per_ef, hnsw->m * 256); /* until walks have told */
    pthread_mutex_init(&hnsw->entry_lock, NULL);
    /* A repair that waits goes first: builders who take turns would never let it in. */
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&hnsw->gate, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    pthread_mutex_init(&hnsw->claim_lock, NULL);
    hnsw_seeds_init(&hnsw->seeds);
}

void hnsw_free(struct hnsw *hnsw) {
    upper_links_free(&hnsw->upper);
    pthread_mutex_destroy(&hnsw->entry_lock);
    pthread_rwlock_destroy(&hnsw->gate);
    pthread_mutex_destroy(&hnsw->claim_lock);
    hnsw_order_free(&hnsw->order);
    hnsw_bulk_free(&hnsw->bulk);
    hnsw_seeds_free(&hnsw->seeds);
}

uint8_t hnsw_level(const struct hnsw *hnsw, uint64_t key) {
    /* splitmix64: keys may be consecutive numbers. */
    key += UINT64_C(0x9e3779b97f4a7c15);
    key = (key ^ key >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    key = (key ^ key >> 27) * UINT64_C(0x94d049bb133111eb);
    key ^= key >> 31;
    double uniform = ((double)(key >> 11) + 1) * 0x1p-53; /* (0, 1] */
    double level = -log(uniform) / log((double)hnsw->m);
    return level < UPPER_LEVEL_MAX ? (uint8_t)level : UPPER_LEVEL_MAX;
}

static inline void pause_core(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void hnsw_lock(const struct hnsw *hnsw, uint32_t slot) {
    atomic_uchar *lock = &store_node(hnsw->store, slot)->lock;
    for (int spins = 0; atomic_exchange_explicit(lock, 1, memory_order_acquire);) {
        while (atomic_load_explicit(lock, memory_order_relaxed)) {
            if (++spins % SPINS_BEFORE_YIELD == 0)
                sched_yield();
            pause_core();
        }
    }
}

void hnsw_unlock(const struct hnsw *hnsw, uint32_t slot) {
    atomic_store_explicit(&store_node(hnsw->store, slot)->lock, 0, memory_order_release);
}

void hnsw_learn_cost(struct hnsw *hnsw, const struct walk *walk) {
    uint32_t known = atomic_load_explicit(&hnsw->scored_per_ef, memory_order_relaxed);
    uint32_t seen = (uint32_t)(walk->scored * 256 / walk->ef);
    /* A moving mean of some 64 walks. Builders may overwrite each other's: it is an estimate. */
    atomic_store_explicit(&hnsw->scored_per_ef, known - known / 64 + seen / 64,
                          memory_order_relaxed);
}

struct walk_price hnsw_walk_price(const struct hnsw *hnsw) {
    double ns = (double)atomic_load_explicit(&hnsw->walk_ns, memory_order_acquire);
    if (ns > 0)
        return (struct walk_price){
            .scored_per_ef = (double)atomic_load_explicit(&hnsw->walk_per_ef, memory_order_relaxed),
            .scored_ns = ns};
    return (struct walk_price){
        .scored_per_ef = atomic_load_explicit(&hnsw->scored_per_ef, memory_order_relaxed) / 256.0};
}

uint64_t hnsw_find_entry(const struct hnsw *hnsw) {
    const struct store *store = hnsw->store;
    uint64_t best = HNSW_NO_ENTRY;
    for (uint32_t slot = 0; slot < store_end(store); slot++) {
        if (!store_is_linked(store, slot) || store_is_leaving(store, slot))
            continue;
        uint32_t level =
            atomic_load_explicit(&store_node(store, slot)->level, memory_order_relaxed);
        if (best == HNSW_NO_ENTRY || level > hnsw_entry_level(best))
            best = (uint64_t)level << 32 | slot;
    }
    return best;
}
