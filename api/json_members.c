#include "api/json_members.h"

#include <string.h>

enum {
    MEMBERS_CAPACITY_MIN = 16,
};

static bool members_grow(struct json_reader *reader, struct json_members *members,
                         size_t *capacity) {
    if (members->count < *capacity)
        return true;
    size_t grown = *capacity > 0 ? *capacity * 2 : MEMBERS_CAPACITY_MIN;
    struct json_member *items = arena_grow(reader->arena, members->items,
                                           *capacity * sizeof(*items), grown * sizeof(*items));
    if (!items)
        return false;
    members->items = items;
    *capacity = grown;
    return true;
}

static enum status split(struct json_text text, bool is_object, struct arena *arena,
                         struct json_members *members, struct error *error) {
    struct json_reader reader;
    struct json_member member = {.value = {0}};
    size_t capacity = 0;
    bool more;
    *members = (struct json_members){0};
    json_reader_init(&reader, text.text, text.length, arena, error);
    enum status status = is_object ? json_open_object(&reader) : json_open_array(&reader);
    while (status == STATUS_OK) {
        status =
            is_object ? json_next_key(&reader, &member.key, &more) : json_next_item(&reader, &more);
        if (status != STATUS_OK || !more)
            break;
        member.key_text = reader.last_string;
        status = json_read_raw(&reader, &member.value.text, &member.value.length);
        if (!members_grow(&reader, members, &capacity))
            return json_reader_no_memory(&reader);
        members->items[members->count++] = member;
    }
    return status == STATUS_OK ? json_read_end(&reader) : status;
}

enum status json_members_of_object(struct json_text object, struct arena *arena,
                                   struct json_members *members, struct error *error) {
    return split(object, true, arena, members, error);
}

enum status json_members_of_array(struct json_text array, struct arena *arena,
                                  struct json_members *members, struct error *error) {
    return split(array, false, arena, members, error);
}

bool json_members_is_object(struct json_text value) {
    return value.length > 0 && *value.text == '{';
}

bool json_members_is_array(struct json_text value) {
    return value.length > 0 && *value.text == '[';
}

bool json_members_is_null(struct json_text value) {
    return value.length > 0 && *value.text == 'n';
}

const struct json_member *json_members_find(const struct json_members *members,
                                            struct json_text key) {
    for (size_t i = members->count; i > 0; i--) {
        const struct json_member *member = &members->items[i - 1];
        if (member->key.length == key.length && memcmp(member->key.text, key.text, key.length) == 0)
            return member;
    }
    return NULL;
}
