/* config.h -- everything that can be set, from one table.
 *
 * A row of config.c says an option's key in the file, its flag, kind, default, range and help. The
 * YAML file, the environment, the flags, --help and config/config.yaml all come from it.
 * Precedence: file < environment < flags. Environment names are NIGH__SERVICE__HTTP_PORT for
 * service.http_port; options that Qdrant has too also answer to QDRANT__SERVICE__HTTP_PORT.
 *
 * Main thread, before any other is started; read-only afterwards.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "index/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    CONFIG_TEXT_MAX = 1024, /* bytes of a text value, with the NUL */
    CONFIG_FILE_BYTES_MAX = 1024 * 1024,
};

struct config {
    char log_level[CONFIG_TEXT_MAX];  /* error, warn, info, debug */
    char log_format[CONFIG_TEXT_MAX]; /* text, json */
    char storage_path[CONFIG_TEXT_MAX];
    uint64_t map_size_mb, map_size_max_mb, disk_reserve_mb, memory_limit_mb;
    uint64_t writer_threads, builder_threads;
    bool recover_damaged;
    char isa[CONFIG_TEXT_MAX]; /* auto, or a set of instructions */
    char host[CONFIG_TEXT_MAX];
    uint64_t http_port;
    char api_key[CONFIG_TEXT_MAX], read_only_api_key[CONFIG_TEXT_MAX]; /* "": none */
    bool enable_cors, check_host;
    uint64_t max_request_size_mb, max_workers, max_connections, max_queue;
    uint64_t body_budget_mb, request_memory_mb;
    uint64_t request_timeout_s, head_timeout_s, keep_alive_s, write_timeout_s, stop_timeout_s;
};

/* Sets the defaults. */
void config_init(struct config *config);

/* Reads a YAML file. Unknown keys and bad values are errors that name the line. */
MUST_CHECK enum status config_read_file(struct config *config, const char *path,
                                        struct error *error);

/* Takes what environment (like environ) sets. An unknown NIGH__ name is an error; unknown QDRANT__
 * names are options that nigh does not share. */
MUST_CHECK enum status config_read_environment(struct config *config,
                                               const char *const *environment, struct error *error);

/* Takes one flag, "--http-port=6333" or "--http-port" "6333" (value may be NULL; a flag of a bool
 * needs none). *used says how many of the two were taken. */
MUST_CHECK enum status config_read_flag(struct config *config, const char *flag, const char *value,
                                        size_t *used, struct error *error);

/* Checks what options demand of each other. */
MUST_CHECK enum status config_check(const struct config *config, struct error *error);

/* Writes every option with help and default as the YAML of config/config.yaml. */
void config_print_yaml(FILE *out);

/* Writes the flags for --help. */
void config_print_flags(FILE *out);

/* Sets the option of this key from text; used by the readers above. */
MUST_CHECK enum status config_set(struct config *config, const char *key, const char *text,
                                  struct error *error);

/* True if some option's key starts with section and a dot. */
bool config_has_section(const char *section);

#endif
