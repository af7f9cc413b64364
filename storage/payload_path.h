/* payload_path.h -- where in a payload a value lies: `a.b`, `a[].b`, `a[0]`, `"quoted.key".x`. */
#ifndef PAYLOAD_PATH_H
#define PAYLOAD_PATH_H

#include "index/status.h"
#include "storage/arena.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PAYLOAD_PATH_STEPS_MAX = 32,
    PAYLOAD_PATH_BYTES_MAX = 1024,
};

enum path_step_kind {
    PATH_STEP_KEY,   /* member of an object */
    PATH_STEP_INDEX, /* one element of an array */
    PATH_STEP_ALL,   /* every element of an array: [] */
};

struct path_step {
    enum path_step_kind kind;
    const char *key; /* KEY: decoded bytes, not NUL-terminated */
    size_t key_length;
    uint32_t index; /* INDEX */
};

struct payload_path {
    const char *text; /* as the user wrote it, NUL-terminated; names the field in answers */
    size_t text_length;
    const struct path_step *steps;
    size_t count; /* 1 .. PAYLOAD_PATH_STEPS_MAX */
};

/* Parses a path; memory of the arena. STATUS_INVALID with the reason. */
MUST_CHECK enum status payload_path_parse(const char *text, size_t length, struct arena *arena,
                                          struct payload_path *path, struct error *error);

#endif
