#include "api/json_schema.h"

#include "api/json_writer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const schema_types[] = {
    [JSON_KIND_BOOL] = "boolean",  [JSON_KIND_U32] = "integer",  [JSON_KIND_U64] = "integer",
    [JSON_KIND_I64] = "integer",   [JSON_KIND_F32] = "number",   [JSON_KIND_F64] = "number",
    [JSON_KIND_STRING] = "string", [JSON_KIND_FLOATS] = "array", [JSON_KIND_RAW] = NULL,
    [JSON_KIND_OBJECT] = "object", [JSON_KIND_LIST] = "array",   [JSON_KIND_CUSTOM] = NULL,
};

static void write_reference(struct json_writer *writer, const char *name) {
    char path[128];
    snprintf(path, sizeof(path), "#/components/schemas/%s", name);
    json_write_open(writer, '{');
    json_write_key_string(writer, "$ref", path);
    json_write_close(writer, '}');
}

void json_schema_reference(struct json_writer *writer, const struct json_shape *shape) {
    write_reference(writer, shape->name);
}

void json_schema_custom(struct json_writer *writer, const struct json_custom *custom) {
    if (custom->name)
        write_reference(writer, custom->name);
    else
        json_write_raw(writer, custom->schema, strlen(custom->schema));
}

static void write_items(struct json_writer *writer, const struct json_field *field) {
    json_write_key(writer, "items");
    if (field->kind == JSON_KIND_FLOATS) {
        json_write_open(writer, '{');
        json_write_key_string(writer, "type", "number");
        json_write_key_string(writer, "format", "float");
        json_write_close(writer, '}');
    } else if (field->shape) {
        write_reference(writer, field->shape->name);
    } else {
        json_schema_custom(writer, field->custom);
    }
}

static void write_words(struct json_writer *writer, const char *const *words) {
    json_write_key(writer, "enum");
    json_write_open(writer, '[');
    for (; *words; words++)
        json_write_string(writer, *words);
    json_write_close(writer, ']');
}

static void write_bounds(struct json_writer *writer, const struct json_field *field) {
    bool is_list = field->kind == JSON_KIND_LIST || field->kind == JSON_KIND_FLOATS;
    bool is_string = field->kind == JSON_KIND_STRING;
    if (field->kind == JSON_KIND_F32 || field->kind == JSON_KIND_F64) {
        if (field->has_real_bounds) {
            json_write_key(writer, "minimum");
            json_write_f64(writer, field->real_min);
            json_write_key(writer, "maximum");
            json_write_f64(writer, field->real_max);
        }
        return;
    }
    if (field->min || field->is_nonzero)
        json_write_key_u64(writer,
                           is_list     ? "minItems"
                           : is_string ? "minLength"
                                       : "minimum",
                           field->min ? field->min : 1);
    else if (field->kind == JSON_KIND_U32 || field->kind == JSON_KIND_U64)
        json_write_key_u64(writer, "minimum", 0);
    if (field->max)
        json_write_key_u64(writer,
                           is_list     ? "maxItems"
                           : is_string ? "maxLength"
                                       : "maximum",
                           field->max);
}

static void write_member(struct json_writer *writer, const struct json_field *field) {
    if (field->kind == JSON_KIND_CUSTOM) {
        json_schema_custom(writer, field->custom);
        return;
    }
    if (field->kind == JSON_KIND_OBJECT) {
        write_reference(writer, field->shape->name);
        return;
    }
    json_write_open(writer, '{');
    if (schema_types[field->kind]) {
        json_write_key_string(writer, "type", schema_types[field->kind]);
        write_bounds(writer, field);
    }
    if (field->words)
        write_words(writer, field->words);
    if (field->kind == JSON_KIND_LIST || field->kind == JSON_KIND_FLOATS)
        write_items(writer, field);
    if (!field->required && schema_types[field->kind])
        json_write_key_bool(writer, "nullable", true);
    json_write_close(writer, '}');
}

static void write_shape(struct json_writer *writer, const struct json_shape *shape) {
    bool has_required = false;
    json_write_open(writer, '{');
    json_write_key_string(writer, "type", "object");
    json_write_key(writer, "properties");
    json_write_open(writer, '{');
    for (size_t i = 0; i < shape->field_count; i++) {
        json_write_key(writer, shape->fields[i].name);
        write_member(writer, &shape->fields[i]);
        has_required = has_required || shape->fields[i].required;
    }
    json_write_close(writer, '}');
    if (shape->is_strict)
        json_write_key_bool(writer, "additionalProperties", false);
    /* An empty list of required members is not valid in this dialect. */
    if (has_required) {
        json_write_key(writer, "required");
        json_write_open(writer, '[');
        for (size_t i = 0; i < shape->field_count; i++) {
            if (shape->fields[i].required)
                json_write_string(writer, shape->fields[i].name);
        }
        json_write_close(writer, ']');
    }
    json_write_close(writer, '}');
}

void json_schema_collect_custom(struct json_schema_set *set, const struct json_custom *custom) {
    if (!custom->name)
        return;
    for (size_t i = 0; i < set->customs_count; i++) {
        if (set->customs[i] == custom)
            return;
    }
    assert(set->customs_count < JSON_SCHEMA_COMPONENTS_MAX);
    set->customs[set->customs_count++] = custom;
}

void json_schema_collect(struct json_schema_set *set, const struct json_shape *shape) {
    for (size_t i = 0; i < set->shapes_count; i++) {
        if (set->shapes[i] == shape)
            return;
    }
    assert(set->shapes_count < JSON_SCHEMA_COMPONENTS_MAX);
    set->shapes[set->shapes_count++] = shape;
    for (size_t i = 0; i < shape->field_count; i++) {
        if (shape->fields[i].shape)
            json_schema_collect(set, shape->fields[i].shape);
        if (shape->fields[i].custom)
            json_schema_collect_custom(set, shape->fields[i].custom);
    }
}

void json_schema_components(struct json_writer *writer, const struct json_schema_set *set) {
    json_write_open(writer, '{');
    for (size_t i = 0; i < set->shapes_count; i++) {
        json_write_key(writer, set->shapes[i]->name);
        write_shape(writer, set->shapes[i]);
    }
    for (size_t i = 0; i < set->customs_count; i++) {
        json_write_key(writer, set->customs[i]->name);
        json_write_raw(writer, set->customs[i]->schema, strlen(set->customs[i]->schema));
    }
    json_write_close(writer, '}');
}
