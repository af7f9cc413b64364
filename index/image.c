#include "index/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the image is written as the memory is: little-endian"
#endif

enum {
    BUFFER_BYTES = 1 << 16,
    SECTION_WORDS = IMAGE_SECTION_SLOTS / BITMAP_WORD_BITS,
    PAD = 8,
};

_Static_assert(STORE_CHUNK % IMAGE_SECTION_SLOTS == 0, "a section lies in one chunk");

struct writer {
    const struct hnsw *hnsw;
    vector_index_write_fn *write;
    void *context;
    uint64_t *linked; /* bit per slot: linked when the save began; later ones count as waiting */
    size_t used;      /* of buffer */
    XXH3_state_t *hash;
    enum status status; /* the first failure; everything after it is skipped */
    struct error *error;
    uint8_t buffer[BUFFER_BYTES];
};

static void flush(struct writer *writer) {
    if (writer->status == STATUS_OK && writer->used > 0)
        writer->status =
            writer->write(writer->context, writer->buffer, writer->used, writer->error);
    writer->used = 0;
}

static void emit(struct writer *writer, const void *bytes, size_t length) {
    const uint8_t *from = bytes;
    XXH3_64bits_update(writer->hash, bytes, length);
    while (length > 0) {
        size_t piece = BUFFER_BYTES - writer->used;
        piece = piece < length ? piece : length;
        memcpy(writer->buffer + writer->used, from, piece);
        writer->used += piece;
        from += piece;
        length -= piece;
        if (writer->used == BUFFER_BYTES)
            flush(writer);
    }
}

/* Zeros after `length` bytes, up to a multiple of 8. */
static void emit_pad(struct writer *writer, size_t length) {
    static const uint8_t zeros[PAD];
    if (length % PAD != 0)
        emit(writer, zeros, PAD - length % PAD);
}

static void emit_hash(struct writer *writer) {
    uint64_t hash = XXH3_64bits_digest(writer->hash);
    emit(writer, &hash, sizeof(hash));
    XXH3_64bits_reset(writer->hash);
}

/* One past the highest slot that has a vector. */
static uint32_t used_end(const struct store *store) {
    uint32_t slot = store_end(store);
    while (slot > 0 && !store_is_present(store, slot - 1))
        slot--;
    return slot;
}

static void put_u32(uint8_t *header, size_t at, uint32_t value) {
    memcpy(header + at, &value, sizeof(value));
}

static void put_u64(uint8_t *header, size_t at, uint64_t value) {
    memcpy(header + at, &value, sizeof(value));
}

static const char magic[8] = {'n', 'i', 'g', 'h', 'g', 'r', 'p', 'h'};

/* What an image of this index must begin with. */
void image_fill_header(const struct image *image, uint8_t header[IMAGE_HEADER_BYTES]) {
    const struct hnsw *hnsw = image->hnsw;
    memset(header, 0, IMAGE_HEADER_BYTES);
    memcpy(header, magic, sizeof(magic));
    put_u32(header, 8, IMAGE_VERSION);
    put_u32(header, 16, (uint32_t)hnsw->space->dimension);
    put_u32(header, 20, image->distance);
    put_u32(header, 24, hnsw->m);
    put_u32(header, 28, hnsw->store->link_count);
    put_u64(header, 32, hnsw->space->width);
    put_u64(header, 40, 8);
}

/* What the sections are read and written by: the bits of one. */
struct section {
    uint32_t start, count; /* slots */
    uint64_t present[SECTION_WORDS], linked[SECTION_WORDS], twin[SECTION_WORDS];
};

static bool has(const uint64_t *words, uint32_t i) {
    return bitmap_test(words, i);
}

static void look_at(const struct writer *writer, struct section *section) {
    const struct store *store = writer->hnsw->store;
    memset(section->present, 0, sizeof(section->present));
    memset(section->linked, 0, sizeof(section->linked));
    memset(section->twin, 0, sizeof(section->twin));
    for (uint32_t i = 0; i < section->count; i++) {
        uint32_t slot = section->start + i;
        if (!store_is_present(store, slot))
            continue;
        bitmap_set(section->present, i);
        if (bitmap_test(writer->linked, slot))
            bitmap_set(store_kind(store, slot) == STORE_TWIN ? section->twin : section->linked, i);
    }
}

static void emit_numbers(struct writer *writer, const struct section *section) {
    const struct store *store = writer->hnsw->store;
    static const struct code_meta no_meta;
    static const float no_error;
    for (uint32_t i = 0; i < section->count; i++) {
        uint8_t level = has(section->present, i)
                            ? atomic_load_explicit(&store_node(store, section->start + i)->level,
                                                   memory_order_relaxed)
                            : 0;
        if (has(section->linked, i) && hnsw_seeds_has(&writer->hnsw->seeds, section->start + i))
            level |= IMAGE_SEED;
        emit(writer, &level, 1);
    }
    emit_pad(writer, section->count);
    for (uint32_t i = 0; i < section->count; i++)
        emit(writer, has(section->present, i) ? store_meta(store, section->start + i) : &no_meta,
             sizeof(no_meta));
    for (uint32_t i = 0; i < section->count; i++)
        emit(writer, has(section->present, i) ? store_error(store, section->start + i) : &no_error,
             sizeof(no_error));
    emit_pad(writer, section->count * sizeof(no_error));
    for (uint32_t i = 0; i < section->count; i++) {
        uint32_t of =
            has(section->twin, i) ? hnsw_twins_linked(writer->hnsw, section->start + i) : SLOT_NONE;
        emit(writer, &of, sizeof(of));
    }
    emit_pad(writer, section->count * sizeof(uint32_t));
}

static void emit_list(struct writer *writer, uint32_t slot, uint32_t level) {
    uint32_t links[HNSW_PLACES_MAX], places = hnsw_places(writer->hnsw, level);
    const _Atomic uint32_t *list = hnsw_list(writer->hnsw, slot, level);
    for (uint32_t i = 0; i < places; i++)
        links[i] = atomic_load_explicit(&list[i], memory_order_acquire);
    emit(writer, links, places * sizeof(links[0]));
}

static void emit_section(struct writer *writer, struct section *section) {
    const struct store *store = writer->hnsw->store;
    size_t words = bitmap_words(section->count) * sizeof(uint64_t), lists = 0;
    look_at(writer, section);
    emit(writer, section->present, words);
    emit(writer, section->linked, words);
    emit(writer, section->twin, words);
    emit_numbers(writer, section);
    for (uint32_t i = 0; i < section->count; i++) {
        if (has(section->linked, i)) {
            emit_list(writer, section->start + i, 0);
            lists++;
        }
    }
    emit_pad(writer, lists * store->link_count * sizeof(uint32_t));
    for (uint32_t i = 0; i < section->count; i++) {
        if (has(section->present, i))
            emit(writer, store_code(store, section->start + i), store->code_bytes);
    }
    size_t upper = 0;
    for (uint32_t i = 0; i < section->count; i++) {
        uint32_t slot = section->start + i;
        uint32_t level =
            has(section->linked, i)
                ? atomic_load_explicit(&store_node(store, slot)->level, memory_order_relaxed)
                : 0;
        for (uint32_t at = 1; at <= level; at++, upper++)
            emit_list(writer, slot, at);
    }
    emit_pad(writer, upper * writer->hnsw->m * sizeof(uint32_t));
    emit_hash(writer);
}

static void save_all(const struct image *image, struct writer *writer, uint32_t slot_end) {
    uint8_t header[IMAGE_HEADER_BYTES];
    struct section section;
    image_fill_header(image, header);
    put_u64(header, 48, atomic_load_explicit(&image->hnsw->entry, memory_order_acquire));
    put_u32(header, 56, slot_end);
    put_u32(header, 60, atomic_load_explicit(&image->hnsw->default_ef, memory_order_relaxed));
    put_u32(header, 80, atomic_load_explicit(&image->hnsw->scored_per_ef, memory_order_relaxed));
    put_u64(header, 64, image->operation);
    put_u64(header, 72, image->incarnation);
    XXH3_64bits_reset(writer->hash);
    emit(writer, header, IMAGE_HEADER_BYTES - sizeof(uint64_t));
    emit_hash(writer);
    for (uint32_t start = 0; start < slot_end && writer->status == STATUS_OK;
         start += IMAGE_SECTION_SLOTS) {
        uint32_t left = slot_end - start;
        section.start = start;
        section.count = left < IMAGE_SECTION_SLOTS ? left : IMAGE_SECTION_SLOTS;
        emit_section(writer, &section);
    }
    flush(writer);
}

enum status image_save(const struct image *image, vector_index_write_fn *write, void *context,
                       struct error *error) {
    const struct store *store = image->hnsw->store;
    uint32_t slot_end = used_end(store);
    struct writer *writer = calloc(1, sizeof(*writer));
    enum status status = STATUS_NO_MEMORY;
    if (writer) {
        *writer = (struct writer){.hnsw = image->hnsw,
                                  .write = write,
                                  .context = context,
                                  .linked = calloc(bitmap_words(slot_end) + 1, sizeof(uint64_t)),
                                  .hash = XXH3_createState(),
                                  .error = error};
    }
    if (!writer || !writer->linked || !writer->hash) {
        status = error_set(error, STATUS_NO_MEMORY, "out of memory for saving a graph");
    } else {
        for (uint32_t slot = 0; slot < slot_end; slot++) {
            if (store_is_present(store, slot) && !store_is_waiting(store, slot))
                bitmap_set(writer->linked, slot);
        }
        save_all(image, writer, slot_end);
        status = writer->status;
    }
    if (writer) {
        free(writer->linked);
        XXH3_freeState(writer->hash);
    }
    free(writer);
    return status;
}
