/* The YAML side of config.h: sections of keys with plain values, nothing deeper. */
#include "server/config.h"

#include <errno.h>
#include <string.h>

#include <yaml.h>

enum {
    KEY_BYTES_MAX = 128,
};

struct file_reader {
    yaml_parser_t parser;
    struct config *config;
    const char *path;
    struct error *error;
    char section[KEY_BYTES_MAX]; /* "" at the top */
    char key[KEY_BYTES_MAX];     /* whose value comes next; "" if a key comes next */
};

static enum status fail(struct file_reader *reader, const yaml_mark_t *mark, const char *text) {
    return error_set(reader->error, STATUS_INVALID, "%.256s, line %zu: %.512s", reader->path,
                     mark->line + 1, text);
}

static enum status take_value(struct file_reader *reader, const yaml_event_t *event) {
    char full[2 * KEY_BYTES_MAX];
    struct error reason;
    const char *value = (const char *)event->data.scalar.value;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    snprintf(full, sizeof(full), "%s%s%s", reader->section, reader->section[0] ? "." : "",
             reader->key);
    reader->key[0] = '\0';
    if (strlen(value) != event->data.scalar.length)
        return fail(reader, &event->start_mark, "a value holds a NUL character");
    if (is_plain && (value[0] == '\0' || strcmp(value, "null") == 0 || strcmp(value, "~") == 0)) {
        /* "key:" without a value leaves the default; the key must exist all the same. */
        struct config scratch = *reader->config;
        enum status status = config_set(&scratch, full, "", &reason);
        return status == STATUS_NOT_FOUND ? fail(reader, &event->start_mark, reason.message)
                                          : STATUS_OK;
    }
    if (config_set(reader->config, full, value, &reason) != STATUS_OK)
        return fail(reader, &event->start_mark, reason.message);
    return STATUS_OK;
}

static enum status take_scalar(struct file_reader *reader, const yaml_event_t *event) {
    if (reader->key[0])
        return take_value(reader, event);
    size_t length = event->data.scalar.length;
    const char *key = (const char *)event->data.scalar.value;
    if (length == 0 || length >= KEY_BYTES_MAX || strlen(key) != length)
        return fail(reader, &event->start_mark, "a key is empty or too long");
    memcpy(reader->key, key, length + 1);
    return STATUS_OK;
}

/* A mapping is either the document itself or a section of it. */
static enum status open_mapping(struct file_reader *reader, const yaml_event_t *event,
                                unsigned *depth) {
    if ((*depth)++ == 0)
        return STATUS_OK;
    if (*depth > 2 || !config_has_section(reader->key)) {
        char text[2 * KEY_BYTES_MAX];
        snprintf(text, sizeof(text), "unknown section %s: `nigh --print-config` lists them all",
                 reader->key);
        return fail(reader, &event->start_mark, text);
    }
    memcpy(reader->section, reader->key, sizeof(reader->section));
    reader->key[0] = '\0';
    return STATUS_OK;
}

static enum status take_event(struct file_reader *reader, const yaml_event_t *event,
                              unsigned *depth) {
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        if (*depth > 0)
            return take_scalar(reader, event);
        if (event->data.scalar.length == 0)
            return STATUS_OK; /* a document of comments only */
        return fail(reader, &event->start_mark, "expected keys with values");
    case YAML_MAPPING_START_EVENT:
        return open_mapping(reader, event, depth);
    case YAML_MAPPING_END_EVENT:
        (*depth)--;
        reader->section[0] = '\0';
        return STATUS_OK;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_ALIAS_EVENT:
        return fail(reader, &event->start_mark, "no option takes a list or an alias");
    default:
        return STATUS_OK;
    }
}

static enum status read_events(struct file_reader *reader) {
    unsigned depth = 0;
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&reader->parser, &event)) {
            const char *problem = reader->parser.problem ? reader->parser.problem : "not YAML";
            return fail(reader, &reader->parser.problem_mark, problem);
        }
        bool is_end = event.type == YAML_STREAM_END_EVENT;
        enum status status = take_event(reader, &event, &depth);
        yaml_event_delete(&event);
        if (is_end || status != STATUS_OK)
            return status;
    }
}

enum status config_read_file(struct config *config, const char *path, struct error *error) {
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(error, STATUS_IO, "cannot read the configuration %.512s: %s", path,
                         strerror(errno));
    enum status status = STATUS_OK;
    struct file_reader reader = {.config = config, .path = path, .error = error};
    if (!yaml_parser_initialize(&reader.parser)) {
        fclose(file);
        return error_set(error, STATUS_NO_MEMORY, "no memory to read the configuration");
    }
    yaml_parser_set_input_file(&reader.parser, file);
    status = read_events(&reader);
    yaml_parser_delete(&reader.parser);
    fclose(file);
    return status;
}
