#include "api/collection_name.h"

#include "storage/collection_config.h"

#include <stddef.h>
#include <string.h>

/* Characters of UTF-8 text: all bytes but those that continue one. */
static size_t count_characters(const char *name) {
    size_t count = 0;
    for (; *name; name++)
        count += ((unsigned char)*name & 0xc0) != 0x80;
    return count;
}

enum status collection_name_check(const char *name, struct error *error) {
    size_t count = count_characters(name);
    if (count == 0 || count > COLLECTION_NAME_MAX)
        return error_set(error, STATUS_PATH_VALIDATION,
                         "name: has %zu characters, must have from 1 to %d", count,
                         COLLECTION_NAME_MAX);
    return STATUS_OK;
}

char collection_name_bad_character(const char *name) {
    for (; *name; name++) {
        if ((unsigned char)*name < 0x20 || strchr("<>:\"/\\|?*", *name))
            return *name;
    }
    return '\0';
}

enum status collection_name_check_new(const char *name, struct error *error) {
    enum status status = collection_name_check(name, error);
    if (status != STATUS_OK)
        return status;
    char bad = collection_name_bad_character(name);
    if ((unsigned char)bad >= 0x20)
        return error_set(error, STATUS_PATH_VALIDATION,
                         "name: collection name cannot contain \"%c\" char", bad);
    if (bad)
        return error_set(error, STATUS_PATH_VALIDATION,
                         "name: collection name cannot contain control characters");
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(error, STATUS_PATH_VALIDATION, "name: \"%s\" is no collection name", name);
    return STATUS_OK;
}
