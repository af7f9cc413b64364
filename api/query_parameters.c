#include "api/query_parameters.h"

#include "api/json_writer.h"
#include "api/percent.h"

#include <inttypes.h>
#include <string.h>

/* ---- Kinds of values ------------------------------------------------------------------------- */

typedef enum status value_read_fn(const char *name, const char *value, void *member,
                                  struct error *error);

static enum status read_bool(const char *name, const char *value, void *member,
                             struct error *error) {
    bool *flag = member;
    *flag = strcmp(value, "true") == 0;
    if (!*flag && strcmp(value, "false") != 0)
        return error_set(error, STATUS_QUERY_FORMAT,
                         "%s: provided string was not `true` or `false`", name);
    return STATUS_OK;
}

static bool parse_u64(const char *value, uint64_t *number) {
    *number = 0;
    if (!*value)
        return false;
    for (; *value; value++) {
        if (*value < '0' || *value > '9' || __builtin_mul_overflow(*number, (uint64_t)10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*value - '0'), number))
            return false;
    }
    return true;
}

static enum status read_u64(const char *name, const char *value, void *member,
                            struct error *error) {
    if (!parse_u64(value, member))
        return error_set(error, STATUS_QUERY_FORMAT,
                         "%s: invalid value: string \"%.64s\", expected u64", name, value);
    return STATUS_OK;
}

/* Reads refuse zero by type ... */
static enum status read_nonzero(const char *name, const char *value, void *member,
                                struct error *error) {
    uint64_t *number = member;
    enum status status = read_u64(name, value, member, error);
    if (status == STATUS_OK && *number == 0)
        return error_set(error, STATUS_QUERY_FORMAT,
                         "invalid value: integer `0`, expected a nonzero u64");
    return status;
}

/* ... and changes of collections by rule. */
static enum status read_positive(const char *name, const char *value, void *member,
                                 struct error *error) {
    uint64_t *number = member;
    enum status status = read_u64(name, value, member, error);
    if (status == STATUS_OK && *number == 0)
        return error_set(error, STATUS_QUERY_VALIDATION, "%s: value 0 invalid, must be 1 or larger",
                         name);
    return status;
}

static enum status read_details(const char *name, const char *value, void *member,
                                struct error *error) {
    uint64_t *number = member;
    enum status status = read_u64(name, value, member, error);
    if (status == STATUS_OK && *number > 10)
        return error_set(error, STATUS_QUERY_FORMAT, "%s: must be from 0 to 10", name);
    return status;
}

/* One node has nothing to order writes with ... */
static enum status read_ordering(const char *name, const char *value, void *member,
                                 struct error *error) {
    (void)member;
    if (strcmp(value, "weak") == 0 || strcmp(value, "medium") == 0 || strcmp(value, "strong") == 0)
        return STATUS_OK;
    return error_set(error, STATUS_QUERY_FORMAT,
                     "%s: unknown variant `%.64s`, expected one of `weak`, `medium`, `strong`",
                     name, value);
}

/* ... and no other replica to read from. */
static enum status read_consistency(const char *name, const char *value, void *member,
                                    struct error *error) {
    uint64_t factor;
    (void)member;
    if (strcmp(value, "all") == 0 || strcmp(value, "majority") == 0 ||
        strcmp(value, "quorum") == 0 || (parse_u64(value, &factor) && factor > 0))
        return STATUS_OK;
    return error_set(error, STATUS_QUERY_FORMAT,
                     "%s: expected `majority`, `quorum`, `all` or a number from 1, not `%.64s`",
                     name, value);
}

/* ---- The table ------------------------------------------------------------------------------- */

#define SET(name) (1u << PARAMETERS_##name)

enum {
    NO_MEMBER = -1,
};

static const struct parameter {
    const char *name;
    unsigned sets;
    value_read_fn *read;
    int offset;      /* of the member in struct query_parameters, or NO_MEMBER */
    int flag_offset; /* of the bool that says it was given, or NO_MEMBER */
    const char *schema;
} parameters_known[] = {
    {"wait", SET(WRITE), read_bool, offsetof(struct query_parameters, wait), NO_MEMBER,
     "{\"type\":\"boolean\",\"default\":false}"},
    {"ordering", SET(WRITE), read_ordering, NO_MEMBER, NO_MEMBER,
     "{\"type\":\"string\",\"enum\":[\"weak\",\"medium\",\"strong\"]}"},
    {"timeout", SET(WRITE), read_u64, offsetof(struct query_parameters, timeout_s),
     offsetof(struct query_parameters, has_timeout), "{\"type\":\"integer\",\"minimum\":0}"},
    {"timeout", SET(COLLECTION), read_positive, offsetof(struct query_parameters, timeout_s),
     offsetof(struct query_parameters, has_timeout), "{\"type\":\"integer\",\"minimum\":1}"},
    {"timeout", SET(READ) | SET(SERVICE), read_nonzero,
     offsetof(struct query_parameters, timeout_s), offsetof(struct query_parameters, has_timeout),
     "{\"type\":\"integer\",\"minimum\":1}"},
    {"consistency", SET(READ), read_consistency, NO_MEMBER, NO_MEMBER,
     "{\"oneOf\":[{\"type\":\"string\",\"enum\":[\"majority\",\"quorum\",\"all\"]},"
     "{\"type\":\"integer\",\"minimum\":1}]}"},
    {"anonymize", SET(SERVICE), read_bool, offsetof(struct query_parameters, anonymize), NO_MEMBER,
     "{\"type\":\"boolean\"}"},
    {"per_collection", SET(SERVICE), read_bool, offsetof(struct query_parameters, per_collection),
     NO_MEMBER, "{\"type\":\"boolean\"}"},
    {"details_level", SET(SERVICE), read_details, offsetof(struct query_parameters, details_level),
     NO_MEMBER, "{\"type\":\"integer\",\"minimum\":0,\"maximum\":10}"},
};
enum {
    PARAMETERS_KNOWN = sizeof(parameters_known) / sizeof(parameters_known[0]),
};

static size_t find_parameter(enum parameter_set set, const char *name) {
    size_t i = 0;
    while (i < PARAMETERS_KNOWN &&
           (!(parameters_known[i].sets & 1u << set) || strcmp(parameters_known[i].name, name) != 0))
        i++;
    return i;
}

static enum status read_pair(enum parameter_set set, const char *name, const char *value,
                             unsigned *seen, struct query_parameters *parameters,
                             struct error *error) {
    size_t i = find_parameter(set, name);
    if (i == PARAMETERS_KNOWN)
        return STATUS_OK;
    const struct parameter *parameter = &parameters_known[i];
    unsigned char *base = (unsigned char *)parameters;
    if (*seen & 1u << i)
        return error_set(error, STATUS_QUERY_FORMAT, "duplicate field `%s`", name);
    *seen |= 1u << i;
    if (parameter->flag_offset != NO_MEMBER)
        *(bool *)(base + parameter->flag_offset) = true;
    return parameter->read(name, value,
                           parameter->offset == NO_MEMBER ? NULL : base + parameter->offset, error);
}

enum status query_parameters_read(enum parameter_set set, const char *query, size_t length,
                                  struct arena *arena, struct query_parameters *parameters,
                                  struct error *error) {
    const char *at = query, *end = query + length;
    enum status status = STATUS_OK;
    unsigned seen = 0;
    *parameters = (struct query_parameters){.details_level = 0};
    for (int pairs = 0; status == STATUS_OK && at < end; pairs++) {
        if (pairs == QUERY_PARAMETERS_MAX)
            return error_set(error, STATUS_QUERY_FORMAT, "more than %d parameters",
                             QUERY_PARAMETERS_MAX);
        const char *next = memchr(at, '&', (size_t)(end - at));
        next = next ? next : end;
        const char *equals = memchr(at, '=', (size_t)(next - at));
        const char *value_at = equals ? equals + 1 : next;
        char *name, *value;
        if (!percent_decode(at, (size_t)((equals ? equals : next) - at), true, arena, &name) ||
            !percent_decode(value_at, (size_t)(next - value_at), true, arena, &value))
            return error_set(error, STATUS_QUERY_FORMAT, "malformed percent-encoding or not UTF-8");
        if (!name || !value)
            return error_set(error, STATUS_NO_MEMORY, "out of memory");
        status = read_pair(set, name, value, &seen, parameters, error);
        at = next < end ? next + 1 : end;
    }
    return status;
}

void query_parameters_describe(struct json_writer *writer, enum parameter_set set) {
    for (size_t i = 0; i < PARAMETERS_KNOWN; i++) {
        if (!(parameters_known[i].sets & 1u << set))
            continue;
        json_write_open(writer, '{');
        json_write_key_string(writer, "name", parameters_known[i].name);
        json_write_key_string(writer, "in", "query");
        json_write_key(writer, "schema");
        json_write_raw(writer, parameters_known[i].schema, strlen(parameters_known[i].schema));
        json_write_close(writer, '}');
    }
}
