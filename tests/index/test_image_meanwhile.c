/* A save that stands still at any write holds up nobody: searches, puts and links go on.
 *
 * The program's own pwrite stands before that of libc. It stops the saving thread at each piece
 * until the others have done their work; whatever they had to wait for would never come.
 */
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ROWS = 2000,
    SEARCHES = 3, /* at each piece */
};

static struct {
    atomic_bool is_on;
    sem_t stopped, go_on;
} stop;

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    if (atomic_load(&stop.is_on)) {
        sem_post(&stop.stopped);
        while (sem_wait(&stop.go_on) < 0)
            continue;
    }
    return (ssize_t)syscall(SYS_pwrite64, fd, bytes, length, at);
}

struct save {
    struct vector_index *index;
    enum index_image kind;
    struct image_bytes image;
    atomic_bool is_done;
};

static void *run_save(void *context) {
    struct save *save = context;
    save->image = image_file_save_as(save->index, save->kind);
    atomic_store(&save->is_done, true);
    sem_post(&stop.stopped);
    return NULL;
}

/* What others do while the save stands still. */
static void work(struct fixture *fixture, uint32_t piece) {
    for (uint32_t i = 0; i < SEARCHES; i++) {
        struct index_query query = {.vector = fixture_row(fixture, piece * SEARCHES + i),
                                    .k = 10,
                                    .exact = i == 0,
                                    .plan = INDEX_PLAN_GRAPH,
                                    .operation = 1};
        ck_assert_uint_eq(fixture_search(fixture, &query).count, 10);
    }
    uint32_t linked;
    fixture_put(fixture, ROWS + piece, 1, 1);
    ck_assert_int_eq(
        vector_index_link(fixture->index, 1, fixture->scratch, &linked, &fixture->error),
        STATUS_OK);
    ck_assert_uint_eq(linked, 1);
}

/* Saves, and works at each piece; how many there were. */
static uint32_t save_and_work(struct fixture *fixture, struct save *save, uint32_t piece) {
    pthread_t thread;
    uint32_t first = piece;
    atomic_store(&stop.is_on, true);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_save, save), 0);
    for (;; piece++) {
        while (sem_wait(&stop.stopped) < 0)
            continue;
        if (atomic_load(&save->is_done))
            break;
        work(fixture, piece);
        sem_post(&stop.go_on);
    }
    atomic_store(&stop.is_on, false);
    pthread_join(thread, NULL);
    return piece - first;
}

START_TEST(a_save_that_stands_still_holds_up_nobody) {
    struct fixture fixture;
    struct vector_index *loaded;
    sem_init(&stop.stopped, 0, 0);
    sem_init(&stop.go_on, 0, 0);
    fixture_create(&fixture, &image_file_kinds[_i], ROWS + 100);
    fixture_fill_clusters(&fixture, 0, fixture.capacity, 3);
    fixture_put(&fixture, 0, ROWS, 1);
    fixture_link(&fixture, 2);
    struct save whole = {.index = fixture.index, .kind = INDEX_IMAGE_WHOLE};
    struct save delta = {.index = fixture.index, .kind = INDEX_IMAGE_DELTA};
    uint32_t pieces = save_and_work(&fixture, &whole, 0);
    ck_assert_uint_ge(pieces, 6); /* header, table, and each part there is */
    ck_assert_uint_ge(save_and_work(&fixture, &delta, pieces), 6);
    fixture_check(&fixture);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &whole.image, &delta.image, &loaded),
                     STATUS_OK);
    ck_assert_int_eq(vector_index_check(loaded, &fixture.error), STATUS_OK);
    vector_index_free(loaded);
    free(whole.image.data);
    free(delta.image.data);
    fixture_free(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("image_meanwhile");
    TCase *tcase = tcase_create("image_meanwhile");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, a_save_that_stands_still_holds_up_nobody, IMAGE_FILE_LEAN_EUCLID,
                        IMAGE_FILE_TURBO_EUCLID + 1);
    suite_add_tcase(suite, tcase);
    return suite;
}
