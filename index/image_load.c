/* Reading an image. Nothing in it is believed: lengths are checked before they are used, sums
 * before the content, and each number against its range. Links that lead nowhere are dropped, for a
 * slot may have been linked while its neighbours were being saved. */
#include "index/hnsw_links.h"
#include "index/image.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

enum {
    SECTION_WORDS = IMAGE_SECTION_SLOTS / BITMAP_WORD_BITS,
    PAD = 8,
};

struct reader {
    struct image *image;
    struct hnsw *hnsw;
    struct store *store;
    const uint8_t *bytes;
    size_t length, at;
    uint32_t slot_end;
    struct error *error;
};

/* One section: where its arrays begin. Any alignment of the bytes will do. */
struct section {
    uint32_t start, count;
    uint64_t present[SECTION_WORDS], linked[SECTION_WORDS], twin[SECTION_WORDS];
    const uint8_t *levels, *metas, *errors, *twin_of, *lists, *codes, *upper;
};

static enum status corrupt(struct reader *reader, const char *what) {
    return error_set(reader->error, STATUS_CORRUPT, "graph image: %s (byte %zu of %zu)", what,
                     reader->at, reader->length);
}

/* The next `length` bytes and their padding, or NULL beyond the end. */
static const uint8_t *take(struct reader *reader, uint64_t length) {
    uint64_t padded = (length + PAD - 1) / PAD * PAD;
    if (padded > reader->length - reader->at)
        return NULL;
    const uint8_t *bytes = reader->bytes + reader->at;
    reader->at += padded;
    return bytes;
}

static uint32_t get_u32(const uint8_t *bytes) {
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint64_t get_u64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static enum status read_header(struct reader *reader) {
    uint8_t expected[IMAGE_HEADER_BYTES];
    const uint8_t *header = take(reader, IMAGE_HEADER_BYTES);
    if (!header)
        return corrupt(reader, "shorter than its header");
    if (get_u64(header + 120) != XXH3_64bits(header, 120))
        return corrupt(reader, "wrong checksum of the header");
    image_fill_header(reader->image, expected);
    if (memcmp(header, expected, 48) != 0)
        return corrupt(reader, "of another version, dimension, distance or m");
    reader->slot_end = get_u32(header + 56);
    /* At least a code meta a slot: so nothing is reserved that the file could not fill. */
    if (reader->slot_end > SLOT_MAX ||
        reader->slot_end > (reader->length - reader->at) / sizeof(struct code_meta))
        return corrupt(reader, "names more slots than it can hold");
    atomic_store_explicit(&reader->hnsw->entry, get_u64(header + 48), memory_order_relaxed);
    uint32_t ef = get_u32(header + 60);
    if (ef == 0 || ef > VECTOR_INDEX_EF_MAX)
        return corrupt(reader, "a default ef out of range");
    atomic_store_explicit(&reader->hnsw->default_ef, ef, memory_order_relaxed);
    atomic_store_explicit(&reader->hnsw->scored_per_ef, get_u32(header + 80), memory_order_relaxed);
    reader->image->operation = get_u64(header + 64);
    reader->image->incarnation = get_u64(header + 72);
    return STATUS_OK;
}

static uint64_t count_bits(const uint64_t *words, size_t count) {
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++)
        bits += (uint64_t)__builtin_popcountll(words[i]);
    return bits;
}

/* Copies the three bitmaps; a slot is linked or a twin only if it is present, and not both. */
static bool read_bits(struct reader *reader, struct section *section) {
    size_t words = bitmap_words(section->count), bytes = words * sizeof(uint64_t);
    uint64_t *const bitmaps[] = {section->present, section->linked, section->twin};
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *from = take(reader, bytes);
        if (!from)
            return false;
        memcpy(bitmaps[i], from, bytes);
    }
    uint32_t rest = section->count % BITMAP_WORD_BITS;
    if (rest != 0 && section->present[words - 1] >> rest != 0)
        return false;
    for (size_t i = 0; i < words; i++) {
        if ((section->linked[i] & section->twin[i]) ||
            ((section->linked[i] | section->twin[i]) & ~section->present[i]))
            return false;
    }
    return true;
}

static uint8_t level_of(const struct section *section, uint32_t i) {
    return section->levels[i] & (uint8_t)~IMAGE_SEED;
}

/* The sum of the levels of linked slots, or UINT64_MAX if one is out of range. */
static uint64_t sum_levels(const struct section *section) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < section->count; i++) {
        if (level_of(section, i) > UPPER_LEVEL_MAX)
            return UINT64_MAX;
        if (bitmap_test(section->linked, i))
            sum += level_of(section, i);
    }
    return sum;
}

/* Finds the arrays of the section at reader->at and checks its sum. */
static enum status open_section(struct reader *reader, struct section *section) {
    const struct store *store = reader->store;
    const uint8_t *start = reader->bytes + reader->at, *hash;
    size_t words = SECTION_WORDS;
    memset(section->present, 0, sizeof(section->present));
    memset(section->linked, 0, sizeof(section->linked));
    memset(section->twin, 0, sizeof(section->twin));
    if (!read_bits(reader, section))
        return corrupt(reader, "the bits of a section contradict each other");
    uint64_t present = count_bits(section->present, words);
    uint64_t linked = count_bits(section->linked, words);
    section->levels = take(reader, section->count);
    section->metas = take(reader, section->count * sizeof(struct code_meta));
    section->errors = take(reader, section->count * sizeof(float));
    section->twin_of = take(reader, section->count * sizeof(uint32_t));
    section->lists = take(reader, linked * store->link_count * sizeof(uint32_t));
    section->codes = take(reader, present * store->code_bytes);
    if (!section->levels || !section->metas || !section->errors || !section->twin_of ||
        !section->lists || !section->codes)
        return corrupt(reader, "ends within a section");
    uint64_t upper = sum_levels(section);
    if (upper == UINT64_MAX)
        return corrupt(reader, "a slot has too high a level");
    section->upper = take(reader, upper * reader->hnsw->m * sizeof(uint32_t));
    size_t length = reader->at - (size_t)(start - reader->bytes);
    hash = section->upper ? take(reader, sizeof(uint64_t)) : NULL;
    if (!hash)
        return corrupt(reader, "ends within a section");
    if (get_u64(hash) != XXH3_64bits(start, length))
        return corrupt(reader, "wrong checksum of a section");
    return STATUS_OK;
}

static bool is_number(float value) {
    return value >= 0; /* false for NaN; errors may be infinite */
}

static void read_list(_Atomic uint32_t *list, const uint8_t **from, uint32_t places) {
    for (uint32_t i = 0; i < places; i++, *from += sizeof(uint32_t))
        hnsw_link_store(list, i, get_u32(*from));
}

static bool read_lists(struct reader *reader, struct section *section, uint32_t slot,
                       uint8_t level) {
    struct hnsw *hnsw = reader->hnsw;
    struct store_node *node = store_node(reader->store, slot);
    uint32_t block = 0;
    if (level > 0) {
        if (!upper_links_allocate(&hnsw->upper, level, &block))
            return false;
        atomic_store_explicit(&node->upper, block, memory_order_relaxed);
        atomic_store_explicit(&node->level_limit, level, memory_order_relaxed);
    }
    read_list(store_links(reader->store, slot), &section->lists, reader->store->link_count);
    for (uint32_t at = 1; at <= level; at++)
        read_list(hnsw_list(hnsw, slot, at), &section->upper, hnsw->m);
    atomic_store_explicit(&node->kind, STORE_LINKED, memory_order_release);
    store_unclaim(reader->store, slot, true);
    atomic_fetch_add_explicit(&hnsw->linked, 1, memory_order_relaxed);
    return true;
}

/* Puts the slots of a section. Twins remember their linked slot until all are there. */
static enum status fill_section(struct reader *reader, struct section *section) {
    struct store *store = reader->store;
    assert(section->metas && section->errors && section->levels && section->codes);
    for (uint32_t i = 0; i < section->count; i++) {
        uint32_t slot = section->start + i;
        if (!bitmap_test(section->present, i))
            continue;
        struct code_meta meta;
        float row_error;
        memcpy(&meta, section->metas + i * sizeof(meta), sizeof(meta));
        memcpy(&row_error, section->errors + i * sizeof(row_error), sizeof(row_error));
        if (!is_number(meta.scale) || !is_number(meta.length) || !is_number(row_error) ||
            isinf(meta.scale) || isinf(meta.length))
            return corrupt(reader, "a slot has a number out of range");
        store_prepare(store, slot);
        memcpy(store_code(store, slot), section->codes, store->code_bytes);
        section->codes += store->code_bytes;
        *store_meta(store, slot) = meta;
        *store_error(store, slot) = row_error;
        store_put(store, slot, level_of(section, i));
        if (bitmap_test(section->linked, i) &&
            !read_lists(reader, section, slot, level_of(section, i)))
            return error_set(reader->error, STATUS_NO_MEMORY, "out of memory for a graph");
        if (section->levels[i] & IMAGE_SEED) /* measured when all are examined next */
            hnsw_seeds_add(&reader->hnsw->seeds, slot, 0);
        if (bitmap_test(section->twin, i))
            atomic_store_explicit(&store_node(store, slot)->twin,
                                  get_u32(section->twin_of + i * sizeof(uint32_t)),
                                  memory_order_relaxed);
    }
    return STATUS_OK;
}

static bool leads_somewhere(const struct reader *reader, uint32_t to, uint32_t level) {
    return to < reader->slot_end && store_is_present(reader->store, to) &&
           store_kind(reader->store, to) == STORE_LINKED &&
           atomic_load_explicit(&store_node(reader->store, to)->level, memory_order_relaxed) >=
               level;
}

/* Drops what leads nowhere, to the owner or twice to the same slot. */
static void clean_list(struct reader *reader, uint32_t owner, uint32_t level) {
    _Atomic uint32_t *list = hnsw_list(reader->hnsw, owner, level);
    for (uint32_t i = 0; i < hnsw_places(reader->hnsw, level); i++) {
        uint32_t link = hnsw_link_load(list, i), to = hnsw_link_slot(link);
        bool is_good = link != SLOT_NONE && (level == 0 || link == to) && to != owner &&
                       leads_somewhere(reader, to, level);
        for (uint32_t j = 0; is_good && j < i; j++)
            is_good = hnsw_link_load(list, j) == SLOT_NONE ||
                      hnsw_link_slot(hnsw_link_load(list, j)) != to;
        if (!is_good)
            hnsw_link_store(list, i, SLOT_NONE);
    }
}

static void clean_lists(struct reader *reader) {
    struct store *store = reader->store;
    for (uint32_t slot = 0; slot < reader->slot_end; slot++) {
        if (!leads_somewhere(reader, slot, 0))
            continue;
        uint32_t level =
            atomic_load_explicit(&store_node(store, slot)->level, memory_order_relaxed);
        for (uint32_t at = 0; at <= level; at++)
            clean_list(reader, slot, at);
    }
}

/* Slots that keep no link hang in the air: they wait to be linked anew. Returns whether there were
 * such. */
static bool release_untied(struct reader *reader) {
    struct store *store = reader->store;
    uint32_t entry =
        hnsw_entry_slot(atomic_load_explicit(&reader->hnsw->entry, memory_order_relaxed));
    bool any = false;
    for (uint32_t slot = 0; slot < reader->slot_end; slot++) {
        if (slot == entry || !leads_somewhere(reader, slot, 0) ||
            hnsw_links_count_kept(reader->hnsw, slot) > 0)
            continue;
        atomic_store_explicit(&store_node(store, slot)->kind, STORE_UNLINKED, memory_order_release);
        atomic_fetch_sub_explicit(&reader->hnsw->linked, 1, memory_order_relaxed);
        store_wait_again(store, slot);
        any = true;
    }
    return any;
}

static void hang_twins(struct reader *reader) {
    struct store *store = reader->store;
    for (uint32_t slot = 0; slot < reader->slot_end; slot++) {
        struct store_node *node = store_node(store, slot);
        if (!store_is_present(store, slot) || store_kind(store, slot) != STORE_UNLINKED)
            continue;
        uint32_t of = atomic_load_explicit(&node->twin, memory_order_relaxed);
        atomic_store_explicit(&node->twin, SLOT_NONE, memory_order_relaxed);
        if (!leads_somewhere(reader, of, 0) ||
            memcmp(store_code(store, slot), store_code(store, of), store->code_bytes) != 0)
            continue; /* waits to be linked */
        hnsw_twins_add(reader->hnsw, of, slot);
        store_unclaim(store, slot, true);
        atomic_fetch_add_explicit(&reader->hnsw->linked, 1, memory_order_relaxed);
    }
}

static void check_entry(struct reader *reader) {
    uint64_t entry = atomic_load_explicit(&reader->hnsw->entry, memory_order_relaxed);
    uint32_t slot = hnsw_entry_slot(entry);
    if (entry == HNSW_NO_ENTRY || !leads_somewhere(reader, slot, 0) ||
        atomic_load(&store_node(reader->store, slot)->level) != hnsw_entry_level(entry))
        atomic_store_explicit(&reader->hnsw->entry, hnsw_find_entry(reader->hnsw),
                              memory_order_relaxed);
}

enum status image_load(struct image *image, const void *bytes, size_t length, struct error *error) {
    struct reader reader = {.image = image,
                            .hnsw = image->hnsw,
                            .store = image->hnsw->store,
                            .bytes = bytes,
                            .length = length,
                            .error = error};
    struct section section = {0};
    assert(atomic_load(&image->hnsw->store->present_count) == 0);
    enum status status = read_header(&reader);
    if (status == STATUS_OK && !store_reserve(reader.store, reader.slot_end))
        status = error_set(error, STATUS_NO_MEMORY, "out of memory for a graph");
    for (uint32_t start = 0; start < reader.slot_end && status == STATUS_OK;
         start += IMAGE_SECTION_SLOTS) {
        uint32_t left = reader.slot_end - start;
        section.start = start;
        section.count = left < IMAGE_SECTION_SLOTS ? left : IMAGE_SECTION_SLOTS;
        status = open_section(&reader, &section);
        if (status == STATUS_OK)
            status = fill_section(&reader, &section);
    }
    if (status == STATUS_OK && reader.at != reader.length)
        status = corrupt(&reader, "longer than its sections");
    if (status != STATUS_OK)
        return status;
    check_entry(&reader);
    clean_lists(&reader);
    if (release_untied(&reader))
        clean_lists(&reader);
    hnsw_seeds_drop_unlinked(reader.hnsw);
    hang_twins(&reader);
    return STATUS_OK;
}
