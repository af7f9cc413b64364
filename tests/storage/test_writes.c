/* Random operations of every kind against a model: a plain array of what each point should be. */
#include "tests/storage/write_world.h"
#include "tests/support/run_suite.h"

/* ---- Steps ------------------------------------------------------------------------------------
 */

static void write_payload(char *text, uint64_t id, uint64_t version) {
    snprintf(text, TEXT_MAX, "{\"n\":%llu,\"v\":%llu,\"even\":%s}", (unsigned long long)id,
             (unsigned long long)version, id % 2 == 0 ? "true" : "false");
}

static void run(struct world *world, const struct operation *operation) {
    struct error error = {0};
    ck_assert_msg(fixture_write(world->collection, operation, 1, &error) == STATUS_OK, "%s",
                  error.message);
}

/* Fills one point's vectors; returns how many. which: bit per name. */
static size_t give_vectors(struct world *world, struct named_vector *vectors, uint64_t id,
                           unsigned which) {
    size_t count = 0;
    for (unsigned k = 0; k < NAMES; k++) {
        if (!(which >> k & 1))
            continue;
        float *values = take(world, dimensions[k] * sizeof(*values));
        fixture_vector(id, world->version * NAMES + k, values, dimensions[k]);
        vectors[count++] =
            (struct named_vector){.name = names[k], .values = values, .count = dimensions[k]};
    }
    return count;
}

static void step_upsert(struct world *world) {
    size_t count = 1 + draw(world, BATCH_MAX);
    struct point_input *points = take(world, count * sizeof(*points));
    enum upsert_mode mode =
        draw(world, 6) == 0 ? (enum upsert_mode)draw(world, 3) : UPSERT_MODE_UPSERT;
    bool existed[IDS];
    for (size_t i = 0; i < IDS; i++)
        existed[i] = world->points[i].exists;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = draw(world, IDS);
        unsigned which = (unsigned)draw(world, 4);
        struct named_vector *vectors = take(world, NAMES * sizeof(*vectors));
        char *payload = take(world, TEXT_MAX);
        world->version++;
        write_payload(payload, id, world->version);
        points[i] = (struct point_input){.id = fixture_id(id),
                                         .vectors = vectors,
                                         .vectors_count = give_vectors(world, vectors, id, which),
                                         .payload = payload,
                                         .payload_length = strlen(payload)};
        bool applies = mode == UPSERT_MODE_UPSERT ||
                       (mode == UPSERT_MODE_INSERT_ONLY ? !existed[id] : existed[id]);
        if (!applies)
            continue;
        struct model_point *point = &world->points[id];
        point->exists = true;
        strcpy(point->payload, payload);
        for (unsigned k = 0; k < NAMES; k++)
            point->vectors[k] = which >> k & 1 ? world->version * NAMES + k : 0;
    }
    const struct operation operation = {
        .kind = OPERATION_UPSERT, .points = points, .points_count = count, .mode = mode};
    run(world, &operation);
}

static void step_same_vectors(struct world *world) {
    /* The same point with the same vectors and another payload: the slot must stay. */
    uint64_t id = draw(world, IDS);
    struct model_point *point = &world->points[id];
    if (!point->exists || point->vectors[0] == 0 || point->vectors[1] != 0)
        return;
    float values[8];
    char payload[TEXT_MAX];
    fixture_vector(id, point->vectors[0], values, 8);
    write_payload(payload, id, ++world->version);
    const struct named_vector vector = {.name = "a", .values = values, .count = 8};
    const struct point_input input = {.id = fixture_id(id),
                                      .vectors = &vector,
                                      .vectors_count = 1,
                                      .payload = payload,
                                      .payload_length = strlen(payload)};
    struct read read;
    struct point_row before, after;
    read_begin(&read, world->collection);
    ck_assert_int_eq(reader_point(read.reader, &input.id, &before, &read.error), STATUS_OK);
    read_end(&read);
    const struct operation operation = {
        .kind = OPERATION_UPSERT, .points = &input, .points_count = 1};
    run(world, &operation);
    read_begin(&read, world->collection);
    ck_assert_int_eq(reader_point(read.reader, &input.id, &after, &read.error), STATUS_OK);
    ck_assert_uint_eq(before.slot, after.slot);
    ck_assert_uint_gt(after.version, before.version);
    read_end(&read);
    strcpy(point->payload, payload);
}

static struct point_selector select_some(struct world *world, bool must_exist, bool *selected) {
    memset(selected, 0, IDS * sizeof(*selected));
    if (draw(world, 3) == 0) {
        unsigned kind = (unsigned)draw(world, FILTERS);
        uint64_t low = draw(world, world->version + 1), high = low + draw(world, 100);
        for (size_t i = 0; i < IDS; i++)
            selected[i] =
                world->points[i].exists && model_matches(&world->points[i], kind, low, high);
        return (struct point_selector){.filter = make_filter(world, kind, low, high)};
    }
    size_t count = 0, wanted = draw(world, 20);
    struct point_id *ids = take(world, (wanted + 1) * sizeof(*ids));
    for (size_t i = 0; i < wanted; i++) {
        uint64_t id = draw(world, IDS);
        if (must_exist && !world->points[id].exists)
            continue;
        ids[count++] = fixture_id(id);
        selected[id] = world->points[id].exists;
    }
    return (struct point_selector){.ids = ids, .ids_count = count};
}

static void step_delete(struct world *world) {
    bool selected[IDS];
    const struct operation operation = {.kind = OPERATION_DELETE,
                                        .selector = select_some(world, false, selected)};
    run(world, &operation);
    for (size_t i = 0; i < IDS; i++)
        if (selected[i])
            world->points[i] = (struct model_point){0};
}

/* Replaces the payload by the context's text. */
static enum status edit(const struct operation *operation, const char *payload, size_t length,
                        struct arena *arena, const char **edited, size_t *edited_length,
                        struct error *error) {
    (void)payload, (void)length, (void)error;
    *edited = operation->edit_context
                  ? arena_text(arena, operation->edit_context, strlen(operation->edit_context))
                  : NULL;
    *edited_length = operation->edit_context ? strlen(operation->edit_context) : 0;
    return STATUS_OK;
}

static void step_edit(struct world *world) {
    bool selected[IDS];
    char *text = NULL;
    struct point_selector selector = select_some(world, true, selected);
    if (draw(world, 5) > 0) {
        text = take(world, TEXT_MAX);
        write_payload(text, draw(world, 2), ++world->version);
    }
    const struct operation operation = {
        .kind = OPERATION_EDIT_PAYLOAD, .selector = selector, .edit = edit, .edit_context = text};
    run(world, &operation);
    for (size_t i = 0; i < IDS; i++)
        if (selected[i])
            strcpy(world->points[i].payload, text ? text : "{}");
}

static void step_update_vectors(struct world *world) {
    size_t count = 0, wanted = 1 + draw(world, 20);
    struct point_input *points = take(world, wanted * sizeof(*points));
    for (size_t i = 0; i < wanted; i++) {
        uint64_t id = draw(world, IDS);
        unsigned which = 1 + (unsigned)draw(world, 3);
        if (!world->points[id].exists)
            continue;
        struct named_vector *vectors = take(world, NAMES * sizeof(*vectors));
        world->version++;
        points[count++] =
            (struct point_input){.id = fixture_id(id),
                                 .vectors = vectors,
                                 .vectors_count = give_vectors(world, vectors, id, which)};
        for (unsigned k = 0; k < NAMES; k++)
            if (which >> k & 1)
                world->points[id].vectors[k] = world->version * NAMES + k;
    }
    const struct operation operation = {
        .kind = OPERATION_UPDATE_VECTORS, .points = points, .points_count = count};
    run(world, &operation);
}

static void step_delete_vectors(struct world *world) {
    bool selected[IDS];
    unsigned which = (unsigned)draw(world, NAMES);
    const struct operation operation = {.kind = OPERATION_DELETE_VECTORS,
                                        .selector = select_some(world, true, selected),
                                        .vector_names = &names[which],
                                        .vector_names_count = 1};
    run(world, &operation);
    for (size_t i = 0; i < IDS; i++)
        if (selected[i])
            world->points[i].vectors[which] = 0;
}

static void step_index(struct world *world) {
    static const char *const paths[] = {"even", "v", "v"};
    static const enum payload_index_type types[] = {PAYLOAD_INDEX_BOOL, PAYLOAD_INDEX_INTEGER,
                                                    PAYLOAD_INDEX_FLOAT};
    size_t which = draw(world, 3);
    struct operation operation = {.kind = OPERATION_CREATE_INDEX};
    operation.field.path = path_of(world, paths[which]);
    operation.field.type = types[which];
    if (draw(world, 3) == 0)
        operation.kind = OPERATION_DROP_INDEX;
    run(world, &operation);
}

static void step_fails(struct world *world) {
    /* An unknown id in the middle: the whole job leaves nothing. */
    struct error error = {0};
    struct point_id ids[] = {fixture_id(draw(world, IDS)), fixture_id(IDS + 5)};
    struct point_input input = {.id = fixture_id(IDS + 7)};
    struct point_input other = {.id = fixture_id(IDS + 6), .payload = "{}", .payload_length = 2};
    const struct operation operations[] = {
        {.kind = OPERATION_UPSERT, .points = &other, .points_count = 1},
        {.kind = OPERATION_DELETE, .selector = {.ids = ids, .ids_count = 1}},
        draw(world, 2) == 0 ? (struct operation){.kind = OPERATION_EDIT_PAYLOAD,
                                                 .selector = {.ids = ids, .ids_count = 2},
                                                 .edit = edit}
                            : (struct operation){.kind = OPERATION_UPDATE_VECTORS,
                                                 .points = &input,
                                                 .points_count = 1}};
    ck_assert_int_eq(fixture_write(world->collection, operations, 3, &error), STATUS_NOT_FOUND);
    ck_assert_msg(strstr(error.message, "No point with id ") != NULL, "%s", error.message);
}

/* ---- Comparing --------------------------------------------------------------------------------
 */

static void compare_points(struct world *world, struct reader *reader) {
    struct point_page page;
    struct error error = {0};
    size_t at = 0;
    ck_assert_int_eq(reader_scroll(reader, NULL, 2 * IDS, NULL, &page, &error), STATUS_OK);
    for (uint64_t id = 0; id < IDS; id++) {
        const struct model_point *point = &world->points[id];
        if (!point->exists)
            continue;
        ck_assert_uint_lt(at, page.count);
        const struct point_row *row = &page.rows[at++];
        ck_assert_uint_eq(row->id.number, id);
        ck_assert_uint_eq(row->payload_length, strlen(point->payload));
        ck_assert_mem_eq(row->payload, point->payload, row->payload_length);
        for (unsigned k = 0; k < NAMES; k++) {
            const struct vector_config *vector =
                collection_config_vector(reader_config(reader), names[k]);
            const float *values = reader_vector(reader, row, vector);
            float expected[8];
            ck_assert_msg((values != NULL) == (point->vectors[k] != 0), "id %llu vector %u",
                          (unsigned long long)id, k);
            fixture_vector(id, point->vectors[k], expected, dimensions[k]);
            if (values)
                ck_assert_mem_eq(values, expected, dimensions[k] * sizeof(float));
        }
    }
    ck_assert_uint_eq(at, page.count);
}

static void compare_filters(struct world *world, struct reader *reader) {
    for (unsigned kind = 0; kind < FILTERS; kind++) {
        struct error error = {0};
        uint64_t low = draw(world, world->version + 1), high = low + draw(world, 200), count;
        const struct filter *filter = make_filter(world, kind, low, high);
        uint64_t from = draw(world, IDS), expected = 0;
        size_t at = 0, limit = draw(world, 50);
        struct point_id id = fixture_id(from);
        struct point_page page;
        ck_assert_int_eq(reader_count(reader, filter, &count, &error), STATUS_OK);
        ck_assert_msg(reader_scroll(reader, &id, limit, filter, &page, &error) == STATUS_OK, "%s",
                      error.message);
        for (uint64_t i = 0; i < IDS; i++) {
            bool matches =
                world->points[i].exists && model_matches(&world->points[i], kind, low, high);
            expected += matches;
            if (!matches || i < from || at > limit)
                continue;
            if (at == limit)
                ck_assert(page.has_next && page.next.number == i);
            else
                ck_assert_uint_eq(page.rows[at].id.number, i);
            at++;
        }
        ck_assert_uint_eq(count, expected);
        ck_assert_uint_eq(page.count, at > limit ? limit : at);
        ck_assert(page.has_next == (at > limit));
    }
}

/* Every point that has the vector, nearest first, equal distances by id. */
static void compare_query(struct world *world, struct reader *reader) {
    unsigned k = (unsigned)draw(world, NAMES);
    unsigned kind = (unsigned)draw(world, FILTERS + 1);
    uint64_t low = draw(world, world->version + 1);
    float target[8];
    struct error error = {0};
    struct query_hits hits;
    fixture_vector(draw(world, IDS), 1, target, dimensions[k]);
    const struct query query = {.vector = collection_config_vector(reader_config(reader), names[k]),
                                .values = target,
                                .filter = kind < FILTERS ? make_filter(world, kind, low, low + 150)
                                                         : NULL,
                                .limit = UINT64_MAX,
                                .offset = draw(world, 3),
                                .exact = draw(world, 2) == 0};
    ck_assert_msg(reader_query(reader, &query, &hits, &error) == STATUS_OK, "%s", error.message);
    size_t expected = 0;
    for (uint64_t i = 0; i < IDS; i++)
        expected += world->points[i].exists && world->points[i].vectors[k] != 0 &&
                    (kind == FILTERS || model_matches(&world->points[i], kind, low, low + 150));
    expected = expected > query.offset ? expected - query.offset : 0;
    ck_assert_uint_eq(hits.count, expected);
    for (size_t i = 0; i < hits.count; i++) {
        float values[8];
        uint64_t id = hits.hits[i].row.id.number;
        fixture_vector(id, world->points[id].vectors[k], values, dimensions[k]);
        float distance = distance_between(DISTANCE_EUCLID, target, values, dimensions[k]);
        ck_assert_float_eq_tol(hits.hits[i].score, distance_score(DISTANCE_EUCLID, distance),
                               1e-6f);
        if (i > 0)
            ck_assert_msg(hits.hits[i - 1].score < hits.hits[i].score ||
                              (hits.hits[i - 1].score == hits.hits[i].score &&
                               hits.hits[i - 1].row.id.number < id),
                          "hit %zu: %.9g of %llu, then %.9g of %llu", i,
                          (double)hits.hits[i - 1].score,
                          (unsigned long long)hits.hits[i - 1].row.id.number,
                          (double)hits.hits[i].score, (unsigned long long)id);
    }
}

static void compare(struct world *world) {
    struct read read;
    uint64_t count, expected = 0;
    read_begin(&read, world->collection);
    for (size_t i = 0; i < IDS; i++)
        expected += world->points[i].exists;
    ck_assert_int_eq(reader_count(read.reader, NULL, &count, &read.error), STATUS_OK);
    ck_assert_uint_eq(count, expected);
    compare_points(world, read.reader);
    compare_filters(world, read.reader);
    compare_query(world, read.reader);
    read_end(&read);
}

/* ---- The test ---------------------------------------------------------------------------------
 */

static void create(struct world *world) {
    const struct vector_config vectors[NAMES] = {
        {.name = "a", .dimension = dimensions[0], .distance = DISTANCE_EUCLID},
        {.name = "b", .dimension = dimensions[1], .distance = DISTANCE_EUCLID}};
    struct catalogue_job job = {
        .kind = CATALOGUE_CREATE,
        .name = "world",
        .config = {
            .vectors = vectors, .vectors_count = NAMES, .document = "{}", .document_length = 2}};
    ck_assert_int_eq(fixture_change(&world->fixture, &job), STATUS_OK);
    world->collection = fixture_acquire(&world->fixture, "world");
}

static void reopen(struct world *world) {
    storage_release_collection(world->collection);
    fixture_reopen(&world->fixture);
    world->collection = fixture_acquire(&world->fixture, "world");
}

static void fail_on_problem(void *context, const char *problem) {
    (void)context;
    ck_abort_msg("verify: %s", problem);
}

typedef void step_fn(struct world *world);

START_TEST(any_sequence_of_operations_leaves_what_the_model_says) {
    static step_fn *const steps[] = {step_upsert,         step_upsert,         step_upsert,
                                     step_same_vectors,   step_delete,         step_edit,
                                     step_update_vectors, step_index,          step_fails,
                                     step_same_vectors,   step_delete_vectors, step_upsert};
    static struct world world;
    memset(&world, 0, sizeof(world));
    world.random = 0x1234567 + (uint64_t)_i * 77777;
    arena_init(&world.arena, FIXTURE_ARENA_MAX);
    fixture_begin(&world.fixture);
    create(&world);
    for (unsigned i = 0; i < STEPS; i++) {
        steps[draw(&world, sizeof(steps) / sizeof(steps[0]))](&world);
        compare(&world);
        arena_free(&world.arena);
        if (draw(&world, 40) == 0)
            reopen(&world);
    }
    storage_release_collection(world.collection);
    fixture_reopen(&world.fixture);
    struct error error = {0};
    ck_assert_int_eq(
        storage_verify_collection(world.fixture.storage, "world", fail_on_problem, NULL, &error),
        STATUS_OK);
    fixture_end(&world.fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("writes");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 120);
    tcase_add_loop_test(model, any_sequence_of_operations_leaves_what_the_model_says, 0, 8);
    suite_add_tcase(suite, model);
    return suite;
}
