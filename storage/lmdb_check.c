#include "storage/lmdb_check.h"
#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format, from mdb.c of 0.9; offsets in bytes, numbers in the machine's order:
 *  page   0 u64 own number | 8 u16 pad | 10 u16 flags | 12 u16 lower | 14 u16 upper
 *         (overflow: 12 u32 pages) | 16 u16 offset of each node
 *  node   0 u16 low | 2 u16 high | 4 u16 flags | 6 u16 key size | 8 key, data
 *         leaf: data size = low + high * 2^16; branch: page = low + high * 2^16 + flags * 2^32
 *  tree   0 u32 pad | 4 u16 flags | 6 u16 depth | 8 u64 branch pages | 16 u64 leaf pages
 *         | 24 u64 overflow pages | 32 u64 entries | 40 u64 root
 *  meta   16 u32 magic | 20 u32 version | 24 address | 32 u64 map size | 40 tree of free pages
 *         | 88 main tree | 136 u64 last page | 144 u64 transaction
 */
enum {
    PAGE_HEADER = 16,
    NODE_HEADER = 8,
    TREE_BYTES = 48,
    META_MAGIC_AT = 16,
    META_FREE_TREE_AT = 40,
    META_MAIN_TREE_AT = 88,
    META_LAST_PAGE_AT = 136,
    META_TRANSACTION_AT = 144,
    META_END = 152,
    FLAG_BRANCH = 0x01,
    FLAG_LEAF = 0x02,
    FLAG_OVERFLOW = 0x04,
    NODE_BIG_DATA = 0x01,
    NODE_SUB_TREE = 0x02,
    TREE_INTEGER_KEYS = 0x08,
    DEPTH_MAX = 32, /* LMDB's cursors have as many places */
    PAGE_BYTES_MIN = 512,
    PAGE_BYTES_MAX = 65536,
};

#define META_MAGIC UINT32_C(0xBEEFC0DE)
#define NO_PAGE    UINT64_MAX

struct walk {
    const uint8_t *bytes; /* the file */
    uint64_t pages;       /* whole pages in it */
    uint64_t last_page;   /* as the meta page says */
    size_t page_bytes;
    uint64_t *seen; /* bit per page */
    const struct lmdb_check_database *databases;
    size_t databases_count;
    struct error *error;
};

/* What one tree turned out to have. */
struct tally {
    uint64_t branch_pages, leaf_pages, overflow_pages, entries;
};

/* What a tree holds. */
enum role {
    ROLE_FREE_PAGES, /* of a transaction: the pages that it freed */
    ROLE_DATABASES,  /* of a name: the tree of that database */
    ROLE_RECORDS,
};

struct tree {
    enum role role;
    const struct lmdb_check_database *database; /* of ROLE_RECORDS */
    unsigned depth;
    struct tally expected;
    uint64_t root;
};

static uint16_t get16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint32_t get32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t get64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static enum status damaged(struct walk *walk, const char *what, uint64_t page) {
    return error_set(walk->error, STATUS_CORRUPT, "the data file is damaged: %s (page %llu)", what,
                     (unsigned long long)page);
}

/* Marks count pages from page on as used; false if one is out of range or used already. */
static bool mark(struct walk *walk, uint64_t page, uint64_t count) {
    if (count == 0 || page < 2 || page > walk->last_page || count > walk->last_page - page + 1)
        return false;
    for (uint64_t i = page; i < page + count; i++) {
        uint64_t bit = 1ULL << (i % 64);
        if (walk->seen[i / 64] & bit)
            return false;
        walk->seen[i / 64] |= bit;
    }
    return true;
}

/* ---- Nodes ------------------------------------------------------------------------------------
 */

struct node {
    uint16_t flags;
    const uint8_t *key;
    size_t key_bytes;
    const uint8_t *data; /* leaf */
    uint64_t data_bytes; /* leaf; of the value, wherever it lies */
    uint64_t child;      /* branch */
    size_t end;          /* offset in the page behind the node */
};

static bool read_node(const struct walk *walk, const uint8_t *page, unsigned index, bool is_branch,
                      struct node *node) {
    size_t offset = get16(page + PAGE_HEADER + 2 * index), upper = get16(page + 14);
    if (offset < upper || offset + NODE_HEADER > walk->page_bytes)
        return false;
    const uint8_t *at = page + offset;
    uint64_t low = (uint64_t)get16(at) | (uint64_t)get16(at + 2) << 16;
    *node =
        (struct node){.flags = get16(at + 4), .key = at + NODE_HEADER, .key_bytes = get16(at + 6)};
    node->end = offset + NODE_HEADER + node->key_bytes;
    if (is_branch) {
        node->child = low | (uint64_t)node->flags << 32;
        return node->end <= walk->page_bytes;
    }
    node->data = node->key + node->key_bytes;
    node->data_bytes = low;
    if ((node->flags & ~(NODE_BIG_DATA | NODE_SUB_TREE)) != 0)
        return false; /* nigh uses no duplicates */
    node->end += node->flags & NODE_BIG_DATA ? sizeof(uint64_t) : low;
    return node->end <= walk->page_bytes;
}

/* True if the node's key can be compared. The first key of a branch never is, and may be anything.
 */
static bool has_key(const struct tree *tree, const struct node *node) {
    return tree->role != ROLE_FREE_PAGES || node->key_bytes == sizeof(uint64_t);
}

static int compare_keys(const struct tree *tree, const struct node *a, const struct node *b) {
    if (tree->role == ROLE_FREE_PAGES) {
        uint64_t left = get64(a->key), right = get64(b->key);
        return left < right ? -1 : left > right;
    }
    size_t shared = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
    int order = memcmp(a->key, b->key, shared);
    if (order != 0)
        return order;
    return a->key_bytes < b->key_bytes ? -1 : a->key_bytes > b->key_bytes;
}

static enum status check_overflow(struct walk *walk, const struct node *node, struct tally *tally) {
    uint64_t page = get64(node->data);
    if (page >= walk->pages || page < 2)
        return damaged(walk, "a value lies beyond the end", page);
    const uint8_t *header = walk->bytes + page * walk->page_bytes;
    uint64_t count = get32(header + 12);
    if (get64(header) != page || get16(header + 10) != FLAG_OVERFLOW ||
        count * walk->page_bytes < PAGE_HEADER + node->data_bytes ||
        page + (PAGE_HEADER + node->data_bytes + walk->page_bytes - 1) / walk->page_bytes >
            walk->pages)
        return damaged(walk, "a value's pages", page);
    if (!mark(walk, page, count))
        return damaged(walk, "a page is used twice", page);
    tally->overflow_pages += count;
    return STATUS_OK;
}

/* ---- Records ----------------------------------------------------------------------------------
 */

static enum status check_tree(struct walk *walk, const uint8_t *record, enum role role,
                              const struct lmdb_check_database *database);

/* The list of pages that are free as of one transaction: a count, then numbers, falling. */
static enum status check_free_list(struct walk *walk, const struct node *node,
                                   const uint8_t *data) {
    uint64_t count = node->data_bytes >= sizeof(uint64_t) ? get64(data) : UINT64_MAX;
    if (count > node->data_bytes / sizeof(uint64_t) - 1)
        return damaged(walk, "a list of free pages", 0);
    uint64_t before = UINT64_MAX;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = get64(data + i * sizeof(uint64_t));
        if (page >= before || !mark(walk, page, 1))
            return damaged(walk, "a page is both free and used", page);
        before = page;
    }
    return STATUS_OK;
}

static enum status check_database(struct walk *walk, const struct node *node, const uint8_t *data) {
    const struct lmdb_check_database *database = NULL;
    for (size_t i = 0; i < walk->databases_count; i++)
        if (node->key_bytes == strlen(walk->databases[i].name) &&
            memcmp(node->key, walk->databases[i].name, node->key_bytes) == 0)
            database = &walk->databases[i];
    if (!database || node->flags != NODE_SUB_TREE || node->data_bytes != TREE_BYTES)
        return damaged(walk, "the name of a database", 0);
    return check_tree(walk, data, ROLE_RECORDS, database);
}

static enum status check_seal(struct walk *walk, const struct tree *tree, const struct node *node,
                              const uint8_t *data) {
    /* LMDB's type has no const. */
    const MDB_val key = {node->key_bytes, (void *)(uintptr_t)node->key};
    const MDB_val value = {(size_t)node->data_bytes, (void *)(uintptr_t)data};
    if (tree->database->is_sealed(&key, &value))
        return STATUS_OK;
    return error_set(walk->error, STATUS_CORRUPT, "the data file is damaged: a record of %s",
                     tree->database->name);
}

static enum status check_record(struct walk *walk, const struct tree *tree, const struct node *node,
                                struct tally *tally) {
    const uint8_t *data = node->data;
    if (node->flags & NODE_BIG_DATA) {
        enum status status = check_overflow(walk, node, tally);
        if (status != STATUS_OK)
            return status;
        data = walk->bytes + get64(node->data) * walk->page_bytes + PAGE_HEADER;
    }
    switch (tree->role) {
    case ROLE_FREE_PAGES:
        return check_free_list(walk, node, data);
    case ROLE_DATABASES:
        return check_database(walk, node, data);
    case ROLE_RECORDS:
        break;
    }
    if (node->flags & NODE_SUB_TREE)
        return damaged(walk, "a tree in a tree", 0);
    return tree->database->is_sealed ? check_seal(walk, tree, node, data) : STATUS_OK;
}

/* ---- Trees ------------------------------------------------------------------------------------
 */

/* A page in its tree. */
struct place {
    uint64_t number;
    unsigned level;          /* 0: the root */
    const struct node *low;  /* lookups of keys below it end at other pages; NULL: of none do */
    const struct node *high; /* and so do those of keys from it on */
};

static unsigned nodes_of(const uint8_t *page) {
    return (unsigned)(get16(page + 12) - PAGE_HEADER) / 2;
}

static enum status check_leaf(struct walk *walk, const struct tree *tree, const struct place *place,
                              struct tally *tally) {
    const uint8_t *page = walk->bytes + place->number * walk->page_bytes;
    unsigned count = nodes_of(page);
    struct node node = {0}, before;
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < count && status == STATUS_OK; i++) {
        before = node;
        if (!read_node(walk, page, i, false, &node) || !has_key(tree, &node))
            return damaged(walk, "a node", place->number);
        bool is_in_order = i > 0 ? compare_keys(tree, &before, &node) < 0
                                 : !place->low || compare_keys(tree, place->low, &node) <= 0;
        if (!is_in_order)
            return damaged(walk, "keys out of order", place->number);
        status = check_record(walk, tree, &node, tally);
    }
    if (status == STATUS_OK && place->high && compare_keys(tree, &node, place->high) >= 0)
        return damaged(walk, "keys out of order", place->number);
    tally->entries += count;
    return status;
}

static enum status check_page(struct walk *walk, const struct tree *tree, const struct place *place,
                              struct tally *tally);

/* Each key below node i lies at or above its key and below the next one's. The keys of a branch are
 * thereby in order, too: there is one at least below each node. */
static enum status check_branch(struct walk *walk, const struct tree *tree,
                                const struct place *place, struct tally *tally) {
    const uint8_t *page = walk->bytes + place->number * walk->page_bytes;
    unsigned count = nodes_of(page);
    struct node node, next;
    if (!read_node(walk, page, 0, true, &next))
        return damaged(walk, "a node", place->number);
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < count && status == STATUS_OK; i++) {
        node = next;
        if (i + 1 < count && (!read_node(walk, page, i + 1, true, &next) || !has_key(tree, &next)))
            return damaged(walk, "a node", place->number);
        const struct place child = {.number = node.child,
                                    .level = place->level + 1,
                                    .low = i > 0 ? &node : place->low,
                                    .high = i + 1 < count ? &next : place->high};
        status = check_page(walk, tree, &child, tally);
    }
    return status;
}

static enum status check_page(struct walk *walk, const struct tree *tree, const struct place *place,
                              struct tally *tally) {
    uint64_t number = place->number;
    if (number >= walk->pages)
        return damaged(walk, "a page lies beyond the end", number);
    if (!mark(walk, number, 1))
        return damaged(walk, "a page is used twice", number);
    const uint8_t *page = walk->bytes + number * walk->page_bytes;
    bool is_branch = place->level + 1 < tree->depth;
    size_t lower = get16(page + 12), upper = get16(page + 14);
    if (get64(page) != number || get16(page + 10) != (is_branch ? FLAG_BRANCH : FLAG_LEAF) ||
        lower < PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > walk->page_bytes)
        return damaged(walk, "a page's header", number);
    if (nodes_of(page) < (is_branch ? 2U : 1U))
        return damaged(walk, "an empty page", number);
    *(is_branch ? &tally->branch_pages : &tally->leaf_pages) += 1;
    return is_branch ? check_branch(walk, tree, place, tally)
                     : check_leaf(walk, tree, place, tally);
}

static enum status check_tree(struct walk *walk, const uint8_t *record, enum role role,
                              const struct lmdb_check_database *database) {
    const struct tree tree = {.role = role,
                              .database = database,
                              .depth = get16(record + 6),
                              .expected = {.branch_pages = get64(record + 8),
                                           .leaf_pages = get64(record + 16),
                                           .overflow_pages = get64(record + 24),
                                           .entries = get64(record + 32)},
                              .root = get64(record + 40)};
    struct tally tally = {0};
    /* They say how keys are compared. */
    if (get16(record + 4) != (role == ROLE_FREE_PAGES ? TREE_INTEGER_KEYS : 0))
        return damaged(walk, "a tree's flags", tree.root);
    if (tree.root == NO_PAGE)
        return tree.depth == 0 && tree.expected.entries == 0
                   ? STATUS_OK
                   : damaged(walk, "a tree without root", 0);
    if (tree.depth == 0 || tree.depth > DEPTH_MAX)
        return damaged(walk, "a tree's depth", tree.root);
    const struct place root = {.number = tree.root};
    enum status status = check_page(walk, &tree, &root, &tally);
    if (status == STATUS_OK && memcmp(&tally, &tree.expected, sizeof(tally)) != 0)
        return damaged(walk, "a tree's counts", tree.root);
    if (status == STATUS_OK && role == ROLE_DATABASES && tally.entries != walk->databases_count)
        return damaged(walk, "a database is missing", tree.root);
    return status;
}

/* ---- The file ---------------------------------------------------------------------------------
 */

static uint64_t transaction_of(const uint8_t *meta) {
    return get64(meta + META_TRANSACTION_AT);
}

/* Even transactions write page 0, odd ones page 1; none has yet at 0. */
static bool is_meta(const uint8_t *page, uint64_t number) {
    return get32(page + META_MAGIC_AT) == META_MAGIC && get32(page + META_MAGIC_AT + 4) == 1 &&
           get64(page) == number &&
           (transaction_of(page) % 2 == number || transaction_of(page) == 0);
}

/* The meta page that LMDB will take: the one of the later transaction. It looks for that number,
 * and then reads the page that such a number belongs to: were the two to change places, it would
 * take the older state for the newest, and all in it would be sound. */
static const uint8_t *newest_meta(const uint8_t *bytes, size_t length, size_t *page_bytes) {
    if (length < META_END || !is_meta(bytes, 0))
        return NULL;
    *page_bytes = get32(bytes + META_FREE_TREE_AT); /* the pad of the first tree */
    if (*page_bytes < PAGE_BYTES_MIN || *page_bytes > PAGE_BYTES_MAX ||
        (*page_bytes & (*page_bytes - 1)) != 0 || length < 2 * *page_bytes)
        return NULL;
    const uint8_t *other = bytes + *page_bytes;
    if (!is_meta(other, 1))
        return NULL;
    uint64_t even = transaction_of(bytes), odd = transaction_of(other);
    if ((even > odd ? even - odd : odd - even) > 1)
        return NULL; /* each is on the disk before the next one is begun */
    return odd > even ? other : bytes;
}

static enum status check_bytes(struct walk *walk, size_t length) {
    const uint8_t *meta = newest_meta(walk->bytes, length, &walk->page_bytes);
    if (!meta)
        return error_set(walk->error, STATUS_CORRUPT, "the data file is damaged: its first pages");
    walk->pages = length / walk->page_bytes;
    walk->last_page = get64(meta + META_LAST_PAGE_AT);
    /* Pages that were taken and given back in one transaction are counted but never written, so
     * the file may be shorter than the last page says; but not by more than it is long twice. */
    if (walk->last_page < 1 || walk->last_page > 2 * walk->pages + 65536)
        return error_set(walk->error, STATUS_CORRUPT, "the data file is shorter than it should be");
    walk->seen = calloc(walk->last_page / 64 + 1, sizeof(*walk->seen));
    if (!walk->seen)
        return error_set(walk->error, STATUS_NO_MEMORY, "out of memory");
    enum status status = check_tree(walk, meta + META_FREE_TREE_AT, ROLE_FREE_PAGES, NULL);
    if (status == STATUS_OK)
        status = check_tree(walk, meta + META_MAIN_TREE_AT, ROLE_DATABASES, NULL);
    free(walk->seen);
    return status;
}

enum status lmdb_check_folder(const char *path, const struct lmdb_check_database *databases,
                              size_t count, struct error *error) {
    char name[PATH_MAX];
    struct stat info;
    if (!file_path_join(name, sizeof(name), path, "data.mdb"))
        return error_set(error, STATUS_INVALID, "path too long: %s", path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT
                   ? STATUS_OK
                   : error_set(error, STATUS_IO, "open the data file: %s", strerror(errno));
    enum status status = STATUS_OK;
    if (fstat(fd, &info) < 0)
        status = error_set(error, STATUS_IO, "look at the data file: %s", strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = error_set(error, STATUS_CORRUPT, "the data file is no file");
    if (status == STATUS_OK && info.st_size > 0) {
        size_t length = (size_t)info.st_size;
        void *bytes = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED) {
            status = error_set(error, STATUS_IO, "map the data file: %s", strerror(errno));
        } else {
            struct walk walk = {
                .bytes = bytes, .databases = databases, .databases_count = count, .error = error};
            status = check_bytes(&walk, length);
            munmap(bytes, length);
        }
    }
    close(fd);
    return status;
}
