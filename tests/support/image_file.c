#include "tests/support/image_file.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    OPERATION = 77,
    INCARNATION = 99,
    DIMENSION = 48,
    TURBO_DIMENSION = 64,
};

const struct vector_index_options image_file_kinds[IMAGE_FILE_KINDS] = {
    {.dimension = DIMENSION, .distance = DISTANCE_COSINE},
    {.dimension = DIMENSION, .distance = DISTANCE_EUCLID},
    {.dimension = DIMENSION, .distance = DISTANCE_DOT},
    {.dimension = DIMENSION, .distance = DISTANCE_MANHATTAN},
    {.dimension = TURBO_DIMENSION, .distance = DISTANCE_COSINE, .profile = INDEX_PROFILE_TURBO},
    {.dimension = TURBO_DIMENSION, .distance = DISTANCE_EUCLID, .profile = INDEX_PROFILE_TURBO},
    {.dimension = TURBO_DIMENSION, .m = 24, .profile = INDEX_PROFILE_TURBO},
};

static int open_empty(void) {
    int fd = memfd_create("image", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

struct image_bytes image_file_save(struct vector_index *index) {
    const struct index_stamp stamp = {.operation = OPERATION, .incarnation = INCARNATION};
    struct error error = {0};
    int fd = open_empty();
    ck_assert_msg(vector_index_save(index, fd, &stamp, &error) == STATUS_OK, "%s", error.message);
    off_t length = lseek(fd, 0, SEEK_END);
    struct image_bytes image = {.data = malloc((size_t)length), .length = (size_t)length};
    ck_assert_ptr_nonnull(image.data);
    ck_assert_int_eq(pread(fd, image.data, image.length, 0), length);
    close(fd);
    return image;
}

int image_file_open(const struct image_bytes *image) {
    int fd = open_empty();
    ck_assert_int_eq(write(fd, image->data, image->length), (ssize_t)image->length);
    return fd;
}

enum status image_file_load(struct vector_index *index, const struct image_bytes *image,
                            struct error *error) {
    struct index_stamp stamp;
    int fd = image_file_open(image);
    enum status status = vector_index_load(index, fd, &stamp, error);
    close(fd);
    if (status == STATUS_OK) {
        ck_assert_uint_eq(stamp.operation, OPERATION);
        ck_assert_uint_eq(stamp.incarnation, INCARNATION);
    }
    return status;
}

void image_file_seal(struct image_bytes *image, const struct image_layout *layout) {
    unsigned char *table = image->data + IMAGE_PAGE;
    for (enum image_part_kind kind = 0; kind < IMAGE_PARTS; kind++) {
        uint32_t chunks = kind == IMAGE_UPPER ? 1 : layout->chunks;
        for (uint32_t chunk = 0; chunk < chunks; chunk++) {
            const struct image_part part = image_part(layout, kind, chunk);
            for (uint32_t i = 0; i < part.pieces; i++) {
                const struct image_piece piece = image_piece(&part, i);
                uint64_t sum = XXH3_64bits(image->data + piece.at, piece.bytes);
                memcpy(table + (part.first_piece + i) * sizeof(sum), &sum, sizeof(sum));
            }
        }
    }
    size_t length = image_part(layout, IMAGE_CODES, 0).at - IMAGE_PAGE;
    uint64_t sum = XXH3_64bits(table, length);
    memcpy(image->data + 96, &sum, sizeof(sum));
    sum = XXH3_64bits(image->data, IMAGE_SUM_AT);
    memcpy(image->data + IMAGE_SUM_AT, &sum, sizeof(sum));
}

struct image_layout image_file_layout(const struct image_bytes *image) {
    uint32_t m;
    memcpy(&m, image->data + 24, sizeof(m));
    uint32_t slots, upper_blocks;
    struct store store = {0};
    uint64_t edge_bytes;
    memcpy(&store.code_bytes, image->data + 32, sizeof(store.code_bytes));
    memcpy(&store.edges_at, image->data + 40, sizeof(store.edges_at));
    memcpy(&edge_bytes, image->data + 48, sizeof(edge_bytes));
    store.record_bytes = store.edges_at + edge_bytes;
    memcpy(&slots, image->data + 56, sizeof(slots));
    memcpy(&upper_blocks, image->data + 60, sizeof(upper_blocks));
    const struct hnsw hnsw = {.store = &store, .m = m};
    struct image_layout layout;
    image_layout_init(&layout, &hnsw, slots, upper_blocks);
    ck_assert_uint_eq(layout.file_bytes, image->length);
    return layout;
}

void image_file_build(struct fixture *fixture, const struct vector_index_options *options,
                      uint32_t rows) {
    fixture_create(fixture, options, rows + 10);
    fixture_fill_clusters(fixture, 0, rows + 10, 3);
    for (uint32_t row = 10; row < 40 && row < rows; row++)
        memcpy(fixture_row(fixture, row), fixture_row(fixture, 9),
               options->dimension * sizeof(float));
    fixture_put(fixture, 0, rows - rows / 10, 1);
    fixture_link(fixture, 2);
    fixture_put(fixture, rows - rows / 10, rows / 10 - 5, 1);
}

struct vector_index *image_file_fresh(struct fixture *fixture,
                                      const struct vector_index_options *options) {
    struct vector_index *index;
    ck_assert_int_eq(vector_index_create(options, fixture->slots, &index, &fixture->error),
                     STATUS_OK);
    return index;
}

enum status image_file_load_fresh(struct fixture *fixture, const struct image_bytes *image,
                                  struct vector_index **index) {
    *index = image_file_fresh(fixture, &fixture->options);
    return image_file_load(*index, image, &fixture->error);
}

void image_file_must_refuse(struct fixture *fixture, const struct image_bytes *image,
                            const char *what, size_t at) {
    struct vector_index *index;
    ck_assert_msg(image_file_load_fresh(fixture, image, &index) == STATUS_CORRUPT,
                  "%s at %zu was taken", what, at);
    vector_index_free(index);
}

void image_file_settle(struct vector_index *index) {
    while (vector_index_settle(index)) {
    }
}
