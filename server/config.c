#include "server/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind {
    KIND_BOOL,
    KIND_U64,
    KIND_TEXT,
    KIND_SECRET, /* text that is never printed and may not be empty */
};

/* The kind follows from the member's type, so that a row cannot name the wrong one. */
#define MEMBER(member)                                                                             \
    .offset = offsetof(struct config, member), .kind = _Generic(((struct config *)0)->member, bool \
                                                                : KIND_BOOL, uint64_t              \
                                                                : KIND_U64, default                \
                                                                : KIND_TEXT)

struct option {
    const char *key;  /* in the file; the environment's name follows from it */
    const char *flag; /* without "--"; NULL: no flag (secrets would show in the process list) */
    const char *default_text;
    const char *choices; /* TEXT: the values allowed, separated by blanks; NULL: any */
    const char *help;
    uint64_t min, max; /* U64 */
    size_t offset;
    enum kind kind;
    bool is_shared; /* Qdrant has it too */
};

#define TEBIBYTE_MB ((uint64_t)1024 * 1024)

static const struct option options[] = {
    {"log_level", "log-level", "info", "error warn info debug", "How much is logged.", 0, 0,
     MEMBER(log_level), .is_shared = true},
    {"log_format", "log-format", "text", "text json", "Form of the log's lines.", 0, 0,
     MEMBER(log_format)},

    {"storage.storage_path", "storage-path", "./storage", NULL,
     "Folder of the data; one process at a time uses it. Local disks only.", 0, 0,
     MEMBER(storage_path), .is_shared = true},
    {"storage.map_size_mb", "map-size-mb", "65536", NULL,
     "Address space a collection's file starts with; it doubles when full.", 16, TEBIBYTE_MB,
     MEMBER(map_size_mb)},
    {"storage.map_size_max_mb", "map-size-max-mb", "0", NULL,
     "Largest address space of a collection's file; 0: no bound.", 0, 64 * TEBIBYTE_MB,
     MEMBER(map_size_max_mb)},
    {"storage.disk_reserve_mb", "disk-reserve-mb", "256", NULL,
     "Writes are refused when less than this is free on the disk.", 0, TEBIBYTE_MB,
     MEMBER(disk_reserve_mb)},
    {"storage.memory_limit_mb", "memory-limit-mb", "0", NULL,
     "New points are refused when the process uses more; 0: nine tenths of what the machine or its "
     "container has.",
     0, TEBIBYTE_MB, MEMBER(memory_limit_mb)},
    {"storage.writer_threads", "writer-threads", "0", NULL, "Threads that commit; 0: two.", 0, 64,
     MEMBER(writer_threads)},
    {"storage.builder_threads", "builder-threads", "0", NULL,
     "Threads that build graphs, at low priority; 0: one a core.", 0, 256, MEMBER(builder_threads)},
    {"storage.recover_damaged", "recover-damaged", "false", NULL,
     "Start although the folder holds what cannot be read; it is set aside.", 0, 0,
     MEMBER(recover_damaged)},

    {"index.isa", "isa", "auto", "auto scalar avx2 avx512 neon",
     "Instruction set of the inner loops; one that the machine lacks falls back to scalar.", 0, 0,
     MEMBER(isa)},

    {"service.host", "host", "127.0.0.1", NULL,
     "Address or name to listen on; 0.0.0.0 or :: for all.", 0, 0, MEMBER(host), .is_shared = true},
    {"service.http_port", "http-port", "6333", NULL, "Port of the REST API; 0: any free one.", 0,
     65535, MEMBER(http_port), .is_shared = true},
    {"service.api_key", NULL, "", NULL,
     "Key that clients must send (api-key: K, or Authorization: Bearer K).", 0, 0, MEMBER(api_key),
     .is_shared = true},
    {"service.read_only_api_key", NULL, "", NULL, "Key that allows reading only.", 0, 0,
     MEMBER(read_only_api_key), .is_shared = true},
    {"service.enable_cors", "enable-cors", "false", NULL,
     "Let any web page use the API. Without a key that means any page you visit.", 0, 0,
     MEMBER(enable_cors), .is_shared = true},
    {"service.check_host", "check-host", "true", NULL,
     "On a loopback address without a key: refuse requests for other host names, which web pages "
     "send by DNS rebinding.",
     0, 0, MEMBER(check_host)},
    {"service.max_request_size_mb", "max-request-size-mb", "32", NULL, "Largest body of a request.",
     1, 4096, MEMBER(max_request_size_mb), .is_shared = true},
    {"service.max_workers", "max-workers", "0", NULL,
     "Threads that read and search; 0: one a core.", 0, 256, MEMBER(max_workers),
     .is_shared = true},
    {"service.max_connections", "max-connections", "10000", NULL,
     "Connections at a time; fewer if the process may not open as many files.", 1, 1000000,
     MEMBER(max_connections)},
    {"service.max_queue", "max-queue", "1024", NULL,
     "Requests waiting for a worker; beyond it the answer is 503.", 1, 65536, MEMBER(max_queue)},
    {"service.body_budget_mb", "body-budget-mb", "0", NULL,
     "Memory of all bodies being received; 0: 512, or a quarter of the container's memory.", 0,
     TEBIBYTE_MB, MEMBER(body_budget_mb)},
    {"service.request_memory_mb", "request-memory-mb", "256", NULL,
     "What one request may use for its answer, beside eight times its body; beyond it: 400.", 1,
     65536, MEMBER(request_memory_mb)},
    {"service.request_timeout_s", "request-timeout-s", "60", NULL,
     "How long a read may take where the request does not say.", 1, 86400,
     MEMBER(request_timeout_s)},
    {"service.head_timeout_s", "head-timeout-s", "10", NULL,
     "How long the head of a request may take.", 1, 3600, MEMBER(head_timeout_s)},
    {"service.keep_alive_s", "keep-alive-s", "75", NULL,
     "How long a connection may be idle between requests.", 1, 86400, MEMBER(keep_alive_s)},
    {"service.write_timeout_s", "write-timeout-s", "30", NULL,
     "How long a client may take nothing of its answer.", 1, 3600, MEMBER(write_timeout_s)},
    {"service.stop_timeout_s", "stop-timeout-s", "10", NULL,
     "How long SIGTERM waits for requests and writes to end.", 1, 3600, MEMBER(stop_timeout_s)},
};

enum {
    OPTION_COUNT = sizeof(options) / sizeof(options[0]),
    NAME_MAX_BYTES = 128,
};

static bool is_secret(const struct option *option) {
    return option->flag == NULL;
}

/* ---- Setting -------------------------------------------------------------------------------- */

static enum status set_bool(bool *value, const struct option *option, const char *text,
                            struct error *error) {
    *value = strcasecmp(text, "true") == 0;
    if (*value || strcasecmp(text, "false") == 0)
        return STATUS_OK;
    return error_set(error, STATUS_INVALID, "%s must be true or false, not \"%.64s\"", option->key,
                     text);
}

static enum status set_u64(uint64_t *value, const struct option *option, const char *text,
                           struct error *error) {
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    bool is_number = isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0;
    if (!is_number || number < option->min || number > option->max)
        return error_set(error, STATUS_INVALID,
                         "%s must be a number from %" PRIu64 " to %" PRIu64 ", not \"%.64s\"",
                         option->key, option->min, option->max, text);
    *value = number;
    return STATUS_OK;
}

static bool is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *at = choices; *at;) {
        size_t word = strcspn(at, " ");
        if (word == length && strncasecmp(at, text, word) == 0)
            return true;
        at += word + strspn(at + word, " ");
    }
    return false;
}

static enum status check_secret(const struct option *option, const char *text,
                                struct error *error) {
    if (text[0] == '\0')
        return error_set(error, STATUS_INVALID,
                         "%s is empty: give it a value, or leave it out to need no key",
                         option->key);
    for (const char *at = text; *at; at++) {
        if (*at <= 0x20 || *at >= 0x7F)
            return error_set(error, STATUS_INVALID,
                             "%s may hold only visible ASCII characters: it is sent in a header",
                             option->key);
    }
    return STATUS_OK;
}

static enum status set_text(char value[CONFIG_TEXT_MAX], const struct option *option,
                            const char *text, struct error *error) {
    if (is_secret(option)) {
        enum status status = check_secret(option, text, error);
        if (status != STATUS_OK)
            return status;
    } else if (text[0] == '\0') {
        return error_set(error, STATUS_INVALID, "%s is empty", option->key);
    }
    if (option->choices && !is_choice(option->choices, text))
        return error_set(error, STATUS_INVALID, "%s must be one of: %s; not \"%.64s\"", option->key,
                         option->choices, text);
    size_t length = strlen(text);
    if (length >= CONFIG_TEXT_MAX)
        return error_set(error, STATUS_INVALID, "%s is longer than %d bytes", option->key,
                         CONFIG_TEXT_MAX - 1);
    memcpy(value, text, length + 1);
    for (char *at = value; option->choices && *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return STATUS_OK;
}

static enum status set_option(struct config *config, const struct option *option, const char *text,
                              struct error *error) {
    void *member = (char *)config + option->offset;
    switch (option->kind) {
    case KIND_BOOL:
        return set_bool(member, option, text, error);
    case KIND_U64:
        return set_u64(member, option, text, error);
    default:
        return set_text(member, option, text, error);
    }
}

void config_init(struct config *config) {
    *config = (struct config){0};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (is_secret(&options[i]))
            continue; /* none */
        enum status status = set_option(config, &options[i], options[i].default_text, NULL);
        assert(status == STATUS_OK);
    }
}

enum status config_set(struct config *config, const char *key, const char *text,
                       struct error *error) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(options[i].key, key) == 0)
            return set_option(config, &options[i], text, error);
    }
    return error_set(error, STATUS_NOT_FOUND,
                     "unknown option %.128s: `nigh --print-config` lists them all", key);
}

bool config_has_section(const char *section) {
    size_t length = strlen(section);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strncmp(options[i].key, section, length) == 0 && options[i].key[length] == '.')
            return true;
    }
    return false;
}

/* ---- Environment ---------------------------------------------------------------------------- */

/* service.http_port -> NIGH__SERVICE__HTTP_PORT */
static void environment_name(const char *prefix, const char *key, char name[NAME_MAX_BYTES]) {
    size_t length = (size_t)snprintf(name, NAME_MAX_BYTES, "%s__", prefix);
    for (const char *at = key; *at; at++) {
        assert(length + 3 < NAME_MAX_BYTES);
        if (*at == '.')
            name[length++] = '_', name[length++] = '_';
        else
            name[length++] = (char)toupper((unsigned char)*at);
    }
    name[length] = '\0';
}

static const struct option *find_by_environment(const char *prefix, const char *name,
                                                size_t name_length) {
    char candidate[NAME_MAX_BYTES];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        environment_name(prefix, options[i].key, candidate);
        if (strlen(candidate) == name_length && memcmp(candidate, name, name_length) == 0)
            return &options[i];
    }
    return NULL;
}

/* Sets what variables with this prefix say. */
static enum status read_prefix(struct config *config, const char *prefix, bool is_own,
                               const char *const *environment, struct error *error) {
    size_t prefix_length = strlen(prefix);
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!equals || strncmp(*environment, prefix, prefix_length) != 0 ||
            strncmp(*environment + prefix_length, "__", 2) != 0)
            continue;
        size_t name_length = (size_t)(equals - *environment);
        const struct option *option = find_by_environment(prefix, *environment, name_length);
        if (!option && is_own)
            return error_set(error, STATUS_NOT_FOUND,
                             "unknown environment variable %.*s: `nigh --help` lists them all",
                             (int)(name_length < NAME_MAX_BYTES ? name_length : NAME_MAX_BYTES),
                             *environment);
        if (!option || (!is_own && !option->is_shared))
            continue;
        struct error reason;
        enum status status = set_option(config, option, equals + 1, &reason);
        if (status != STATUS_OK)
            return error_set(error, status, "environment variable %.*s: %s", (int)name_length,
                             *environment, reason.message);
    }
    return STATUS_OK;
}

enum status config_read_environment(struct config *config, const char *const *environment,
                                    struct error *error) {
    enum status status = read_prefix(config, "QDRANT", false, environment, error);
    if (status == STATUS_OK)
        status = read_prefix(config, "NIGH", true, environment, error);
    return status;
}

/* ---- Flags ---------------------------------------------------------------------------------- */

enum status config_read_flag(struct config *config, const char *flag, const char *value,
                             size_t *used, struct error *error) {
    *used = 1;
    size_t name_length = strncmp(flag, "--", 2) == 0 ? strcspn(flag + 2, "=") : 0;
    for (size_t i = 0; name_length > 0 && i < OPTION_COUNT; i++) {
        const char *name = options[i].flag;
        if (!name || strlen(name) != name_length || memcmp(name, flag + 2, name_length) != 0)
            continue;
        if (flag[2 + name_length] == '=')
            return set_option(config, &options[i], flag + 2 + name_length + 1, error);
        if (options[i].kind == KIND_BOOL)
            return set_option(config, &options[i], "true", error);
        if (!value)
            return error_set(error, STATUS_INVALID, "flag %.64s needs a value", flag);
        *used = 2;
        return set_option(config, &options[i], value, error);
    }
    return error_set(error, STATUS_NOT_FOUND, "unknown flag %.64s: `nigh --help` lists them all",
                     flag);
}

enum status config_check(const struct config *config, struct error *error) {
    if (config->api_key[0] && strcmp(config->api_key, config->read_only_api_key) == 0)
        return error_set(error, STATUS_INVALID,
                         "service.api_key and service.read_only_api_key are the same");
    if (config->map_size_max_mb > 0 && config->map_size_max_mb < config->map_size_mb)
        return error_set(error, STATUS_INVALID,
                         "storage.map_size_max_mb is smaller than storage.map_size_mb");
    if (config->body_budget_mb > 0 && config->body_budget_mb < config->max_request_size_mb)
        return error_set(error, STATUS_INVALID,
                         "service.body_budget_mb is smaller than service.max_request_size_mb");
    return STATUS_OK;
}

/* ---- What is generated ---------------------------------------------------------------------- */

void config_print_yaml(FILE *out) {
    char section[NAME_MAX_BYTES] = "", name[NAME_MAX_BYTES];
    fprintf(out, "# Every option of nigh with its default. Written by `nigh --print-config`.\n"
                 "# Environment variables come before this file, flags before both.\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &options[i];
        const char *dot = strchr(option->key, '.');
        size_t length = dot ? (size_t)(dot - option->key) : 0;
        if (dot && (strlen(section) != length || memcmp(section, option->key, length) != 0)) {
            snprintf(section, sizeof(section), "%.*s", (int)length, option->key);
            fprintf(out, "\n%s:", section);
        }
        const char *indent = dot ? "  " : "";
        environment_name("NIGH", option->key, name);
        fprintf(out, "\n%s# %s\n%s# %s", indent, option->help, indent, name);
        if (option->is_shared)
            fprintf(out, ", QDRANT__%s", name + strlen("NIGH__"));
        if (option->kind == KIND_U64)
            fprintf(out, "; from %" PRIu64 " to %" PRIu64, option->min, option->max);
        if (option->choices)
            fprintf(out, "; one of: %s", option->choices);
        fprintf(out, "\n%s%s%s: %s\n", indent, is_secret(option) ? "# " : "",
                dot ? dot + 1 : option->key,
                is_secret(option) ? "a-long-random-text" : option->default_text);
    }
}

void config_print_flags(FILE *out) {
    char name[NAME_MAX_BYTES];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &options[i];
        environment_name("NIGH", option->key, name);
        if (is_secret(option)) {
            fprintf(out, "  %s (no flag: flags show in the list of processes)\n", name);
            fprintf(out, "      %s Default: none.\n", option->help);
            continue;
        }
        fprintf(out, "  --%s %s\n", option->flag,
                option->kind == KIND_BOOL  ? "[=true|false]"
                : option->kind == KIND_U64 ? "N"
                                           : "TEXT");
        fprintf(out, "      %s Default: %s. (%s)\n", option->help, option->default_text, name);
    }
}
