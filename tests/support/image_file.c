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

struct image_bytes image_file_save_as(struct vector_index *index, enum index_image kind) {
    const struct index_stamp stamp = {.operation = OPERATION + kind, .incarnation = INCARNATION};
    struct error error = {0};
    int fd = open_empty();
    ck_assert_msg(vector_index_save(index, fd, kind, &stamp, &error) == STATUS_OK, "%s",
                  error.message);
    off_t length = lseek(fd, 0, SEEK_END);
    struct image_bytes image = {.data = malloc((size_t)length), .length = (size_t)length};
    ck_assert_ptr_nonnull(image.data);
    ck_assert_int_eq(pread(fd, image.data, image.length, 0), length);
    close(fd);
    return image;
}

struct image_bytes image_file_save(struct vector_index *index) {
    return image_file_save_as(index, INDEX_IMAGE_WHOLE);
}

int image_file_open(const struct image_bytes *image) {
    int fd = open_empty();
    ck_assert_int_eq(write(fd, image->data, image->length), (ssize_t)image->length);
    return fd;
}

enum status image_file_load_both(struct vector_index *index, const struct image_bytes *image,
                                 const struct image_bytes *delta, uint64_t *operation,
                                 struct error *error) {
    struct index_stamp stamp;
    const struct index_files files = {.whole = image_file_open(image),
                                      .delta = delta ? image_file_open(delta) : -1};
    enum status status = vector_index_load(index, &files, &stamp, error);
    close(files.whole);
    if (delta)
        close(files.delta);
    if (status == STATUS_OK)
        ck_assert_uint_eq(stamp.incarnation, INCARNATION);
    *operation = stamp.operation;
    return status;
}

enum status image_file_load(struct vector_index *index, const struct image_bytes *image,
                            struct error *error) {
    uint64_t operation;
    enum status status = image_file_load_both(index, image, NULL, &operation, error);
    if (status == STATUS_OK)
        ck_assert_uint_eq(operation, OPERATION);
    return status;
}

static void put_sum(struct image_bytes *image, size_t at, const void *bytes, size_t length) {
    uint64_t sum = XXH3_64bits(bytes, length);
    memcpy(image->data + at, &sum, sizeof(sum));
}

void image_file_seal(struct image_bytes *image, const struct image_layout *layout) {
    for (size_t kind = 0; kind < IMAGE_PARTS; kind++) {
        const struct image_part *part = &layout->parts[kind];
        for (uint32_t i = 0; i < part->pieces; i++) {
            const struct image_piece piece = image_piece(part, i);
            put_sum(image, IMAGE_PAGE + (part->first_piece + i) * sizeof(uint64_t),
                    image->data + piece.at, piece.bytes);
        }
    }
    put_sum(image, 104, image->data + IMAGE_PAGE, layout->table_bytes);
    put_sum(image, IMAGE_SUM_AT, image->data, IMAGE_SUM_AT);
}

struct image_layout image_file_layout(const struct image_bytes *image) {
    struct image_layout layout = {0};
    struct store store = {0};
    struct hnsw hnsw = {.store = &store};
    uint64_t edge_bytes;
    memcpy(&layout.kind, image->data + 12, sizeof(uint32_t));
    memcpy(&hnsw.m, image->data + 24, sizeof(hnsw.m));
    memcpy(&store.code_bytes, image->data + 32, sizeof(store.code_bytes));
    memcpy(&store.edges_at, image->data + 40, sizeof(store.edges_at));
    memcpy(&edge_bytes, image->data + 48, sizeof(edge_bytes));
    store.record_bytes = store.edges_at + edge_bytes;
    memcpy(&layout.rows, image->data + 56, sizeof(layout.rows));
    memcpy(&layout.code_rows, image->data + 60, sizeof(layout.code_rows));
    memcpy(&layout.upper_blocks, image->data + 68, sizeof(layout.upper_blocks));
    image_layout_init(&layout, &hnsw);
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
                                  const struct image_bytes *delta, struct vector_index **index) {
    uint64_t operation;
    *index = image_file_fresh(fixture, &fixture->options);
    return image_file_load_both(*index, image, delta, &operation, &fixture->error);
}

void image_file_must_refuse(struct fixture *fixture, const struct image_bytes *image,
                            const struct image_bytes *delta, const char *what, size_t at) {
    struct vector_index *index;
    ck_assert_msg(image_file_load_fresh(fixture, image, delta, &index) == STATUS_CORRUPT,
                  "%s at %zu was taken", what, at);
    vector_index_free(index);
}

void image_file_flip(struct image_bytes *image, size_t bit) {
    image->data[bit / 8] ^= (unsigned char)(1u << bit % 8);
}

void image_file_settle(struct vector_index *index) {
    while (vector_index_settle(index)) {
    }
}

void image_file_finish_edges(struct fixture *fixture, struct vector_index *index) {
    image_file_settle(index);
    while (vector_index_refresh(index, fixture->scratch)) {
    }
}

double image_file_stale_share(struct vector_index *index) {
    struct image_bytes image = image_file_save(index);
    const struct image_layout layout = image_file_layout(&image);
    const struct image_part *links = &layout.parts[IMAGE_LINKS];
    double stale = 0;
    for (uint32_t row = 0; row < layout.rows; row++) {
        uint32_t bits; /* a record begins with them */
        memcpy(&bits, image.data + links->at + row * links->row_bytes, sizeof(bits));
        stale += __builtin_popcount(bits);
    }
    free(image.data);
    return stale / (layout.rows * (double)STORE_BLOCK_PLACES);
}
