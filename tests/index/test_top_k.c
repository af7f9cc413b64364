/* top_k against the obvious: sort everything and take the first k. */
#include "index/top_k.h"

#include "tests/support/run_suite.h"

#include <stdlib.h>

static int by_distance_then_slot(const void *a, const void *b) {
    const struct hit *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

START_TEST(agrees_with_sorting) {
    enum {
        COUNT = 500
    };
    struct hit all[COUNT], kept[COUNT];
    size_t k = (size_t)_i;
    struct top_k top;
    srand((unsigned)_i);
    top_k_init(&top, kept, k);
    for (uint32_t slot = 0; slot < COUNT; slot++) {
        all[slot] = (struct hit){.slot = slot, .distance = (float)(rand() % 50)}; /* many ties */
        top_k_offer(&top, all[slot]);
    }
    top_k_finish(&top);
    qsort(all, COUNT, sizeof(all[0]), by_distance_then_slot);
    ck_assert_uint_eq(top.count, k < COUNT ? k : COUNT);
    for (size_t i = 0; i < top.count; i++)
        ck_assert_uint_eq(kept[i].slot, all[i].slot);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("top_k");
    TCase *tcase = tcase_create("top_k");
    tcase_add_loop_test(tcase, agrees_with_sorting, 1, 40);
    suite_add_tcase(suite, tcase);
    return suite;
}
