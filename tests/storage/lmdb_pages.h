/* lmdb_pages.h -- where what LMDB relies on lies in a sound data file, for tests that damage it.
 *
 * The format is told in storage/lmdb_check.c; here nothing is checked. Static functions in a
 * header, as storage_fixture.h.
 */
#ifndef LMDB_PAGES_H
#define LMDB_PAGES_H

#include "tests/storage/storage_fixture.h"

enum lmdb_part {
    LMDB_PART_KEY,       /* of a record */
    LMDB_PART_SEPARATOR, /* the key of a branch's node, but the first */
    LMDB_PART_NODE,      /* the 8 bytes before a key: sizes and flags, or the page below */
    LMDB_PART_TABLE,     /* a page's header and where its nodes lie */
    LMDB_PART_TREE,      /* the record of a database: flags, depth, counts, root */
    LMDB_PARTS
};

struct lmdb_spot {
    enum lmdb_part part;
    char database[16]; /* "": the tree of databases */
    unsigned level;    /* 0: the root's page */
    uint64_t page;
    size_t offset, length; /* in the file */
};

struct lmdb_spots {
    struct lmdb_spot *spots; /* malloc'ed */
    size_t count, capacity;
};

struct lmdb_pages {
    const uint8_t *bytes;
    size_t page_bytes;
    struct lmdb_spots *found;
};

#define LMDB_PAGES_NUMBER(type)                                       \
    FIXTURE type lmdb_pages_##type(const uint8_t *bytes, size_t at) { \
        type value;                                                   \
        memcpy(&value, bytes + at, sizeof(value));                    \
        return value;                                                 \
    }
LMDB_PAGES_NUMBER(uint16_t)
LMDB_PAGES_NUMBER(uint32_t)
LMDB_PAGES_NUMBER(uint64_t)

FIXTURE void lmdb_pages_note(struct lmdb_pages *pages, struct lmdb_spot spot) {
    struct lmdb_spots *found = pages->found;
    if (found->count == found->capacity) {
        found->capacity = found->capacity > 0 ? 2 * found->capacity : 1024;
        found->spots = realloc(found->spots, found->capacity * sizeof(*found->spots));
        ck_assert_ptr_nonnull(found->spots);
    }
    if (spot.length > 0)
        found->spots[found->count++] = spot;
}

FIXTURE void lmdb_pages_walk(struct lmdb_pages *pages, const char *database, uint64_t number,
                             unsigned level) {
    size_t page = number * pages->page_bytes;
    bool is_leaf = (lmdb_pages_uint16_t(pages->bytes, page + 10) & 2) != 0;
    unsigned count = (lmdb_pages_uint16_t(pages->bytes, page + 12) - 16U) / 2;
    struct lmdb_spot spot = {.part = LMDB_PART_TABLE,
                             .level = level,
                             .page = number,
                             .offset = page,
                             .length = 16 + 2 * count};
    snprintf(spot.database, sizeof(spot.database), "%s", database);
    lmdb_pages_note(pages, spot);
    for (unsigned i = 0; i < count; i++) {
        size_t node = page + lmdb_pages_uint16_t(pages->bytes, page + 16 + 2 * i);
        size_t key_bytes = lmdb_pages_uint16_t(pages->bytes, node + 6);
        spot.part = LMDB_PART_NODE;
        spot.offset = node;
        spot.length = 8;
        lmdb_pages_note(pages, spot);
        spot.part = is_leaf ? LMDB_PART_KEY : LMDB_PART_SEPARATOR;
        spot.offset = node + 8;
        spot.length = is_leaf || i > 0 ? key_bytes : 0;
        lmdb_pages_note(pages, spot);
        if (!is_leaf) {
            uint64_t child = (uint64_t)lmdb_pages_uint32_t(pages->bytes, node) |
                             (uint64_t)lmdb_pages_uint16_t(pages->bytes, node + 4) << 32;
            lmdb_pages_walk(pages, database, child, level + 1);
        } else if (database[0] == '\0') {
            char name[16] = {0};
            memcpy(name, pages->bytes + node + 8, key_bytes);
            spot.part = LMDB_PART_TREE;
            spot.offset = node + 8 + key_bytes;
            spot.length = 48;
            lmdb_pages_note(pages, spot);
            lmdb_pages_walk(pages, name, lmdb_pages_uint64_t(pages->bytes, spot.offset + 40), 0);
        }
    }
}

/* All spots of the newest state, page by page. The caller frees found->spots. */
FIXTURE void lmdb_pages_find(const uint8_t *bytes, struct lmdb_spots *found) {
    struct lmdb_pages pages = {
        .bytes = bytes, .page_bytes = lmdb_pages_uint32_t(bytes, 40), .found = found};
    const uint8_t *other = bytes + pages.page_bytes;
    const uint8_t *meta =
        lmdb_pages_uint64_t(other, 144) > lmdb_pages_uint64_t(bytes, 144) ? other : bytes;
    *found = (struct lmdb_spots){0};
    lmdb_pages_walk(&pages, "", lmdb_pages_uint64_t(meta, 88 + 40), 0);
}

#endif
