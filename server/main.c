/* The command line: nigh [serve] | healthcheck | verify | version. */
#include "api/api.h"
#include "server/healthcheck.h"
#include "server/listener.h"
#include "server/server.h"
#include "storage/log.h"
#include "storage/process_memory.h"
#include "storage/storage.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MEBIBYTE = 1024 * 1024,
    VERIFY_ARENA_BYTES = 256 * MEBIBYTE, /* names of collections */
    READERS_BESIDE_WORKERS = 16,         /* builders, metrics and whoever else looks */
    /* Larger blocks are the system's again when they are freed, and the allocator's locks, which
     * the loop takes too, are not held while that happens. */
    MALLOC_MAPPED_BYTES = MEBIBYTE,
    MALLOC_KEPT_BYTES = 8 * MEBIBYTE, /* free memory at the end of a heap that is not given back */
};

enum command {
    COMMAND_SERVE,
    COMMAND_HEALTHCHECK,
    COMMAND_VERIFY,
    COMMAND_VERSION,
    COMMAND_HELP,
    COMMAND_PRINT_CONFIG,
};

static const struct {
    const char *name;
    enum command command;
    const char *help;
} commands[] = {
    {"serve", COMMAND_SERVE, "run the server (the default)"},
    {"healthcheck", COMMAND_HEALTHCHECK, "ask a running server whether it lives; status 0 if so"},
    {"verify", COMMAND_VERIFY, "read every collection of the data folder and say what is damaged"},
    {"version", COMMAND_VERSION, "print the version"},
    {"--version", COMMAND_VERSION, "the same"},
    {"--help", COMMAND_HELP, "print this"},
    {"--print-config", COMMAND_PRINT_CONFIG, "print config.yaml with every option and its default"},
};

static int fail(const struct error *error) {
    fprintf(stderr, "nigh: %s\n", error->message);
    return EXIT_FAILURE;
}

static int print_help(void) {
    printf("nigh %s, a vector database that speaks Qdrant's REST API\n\nusage: nigh [command] "
           "[--config FILE] [flags]\n\ncommands:\n",
           NIGH_VERSION);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        printf("  %-15s %s\n", commands[i].name, commands[i].help);
    printf("\nflags (each also has a key in the file and a name in the environment; file < "
           "environment < flags):\n  --config FILE\n      YAML file to read; none by default.\n");
    config_print_flags(stdout);
    return EXIT_SUCCESS;
}

/* ---- The command line ----------------------------------------------------------------------- */

struct command_line {
    enum command command;
    const char *config_path; /* NULL: none */
    int first_flag;          /* index of the first argument after the command */
};

static enum status parse_command(int count, char **arguments, struct command_line *line,
                                 struct error *error) {
    *line = (struct command_line){.command = COMMAND_SERVE, .first_flag = 1};
    size_t found = 0, all = sizeof(commands) / sizeof(commands[0]);
    while (count > 1 && found < all && strcmp(commands[found].name, arguments[1]) != 0)
        found++;
    if (count > 1 && found < all) {
        line->command = commands[found].command;
        line->first_flag = 2;
    } else if (count > 1 && arguments[1][0] != '-') {
        return error_set(error, STATUS_INVALID, "unknown command %.64s: `nigh --help` lists them",
                         arguments[1]);
    }
    for (int i = line->first_flag; i < count; i++) {
        const char *argument = arguments[i];
        if (strcmp(argument, "--help") == 0)
            line->command = COMMAND_HELP;
        else if (strncmp(argument, "--config=", 9) == 0)
            line->config_path = argument + 9;
        else if (strcmp(argument, "--config") == 0 && i + 1 < count)
            line->config_path = arguments[++i];
    }
    return STATUS_OK;
}

static enum status read_flags(int count, char **arguments, int first, struct config *config,
                              struct error *error) {
    for (int i = first; i < count && arguments[i];) {
        size_t used = 1;
        if (strncmp(arguments[i], "--config=", 9) == 0) {
            i++;
            continue;
        }
        if (strcmp(arguments[i], "--config") == 0) {
            if (i + 1 == count)
                return error_set(error, STATUS_INVALID, "flag --config needs a file");
            i += 2;
            continue;
        }
        enum status status = config_read_flag(
            config, arguments[i], i + 1 < count ? arguments[i + 1] : NULL, &used, error);
        if (status != STATUS_OK)
            return status;
        i += (int)used;
    }
    return STATUS_OK;
}

static enum status read_config(int count, char **arguments, const struct command_line *line,
                               struct config *config, struct error *error) {
    enum status status = STATUS_OK;
    config_init(config);
    if (line->config_path)
        status = config_read_file(config, line->config_path, error);
    if (status == STATUS_OK)
        status = config_read_environment(config, (const char *const *)environ, error);
    if (status == STATUS_OK)
        status = read_flags(count, arguments, line->first_flag, config, error);
    return status == STATUS_OK ? config_check(config, error) : status;
}

/* index reads its choice from the environment, so that it needs no configuration of its own. */
static void configure_index(const struct config *config) {
    static const char name[] = "NIGH__INDEX__ISA";
    if (strcmp(config->isa, "auto") == 0)
        unsetenv(name);
    else
        setenv(name, config->isa, 1);
}

static void configure_log(const struct config *config) {
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        {"error", LOG_LEVEL_ERROR},
        {"warn", LOG_LEVEL_WARN},
        {"info", LOG_LEVEL_INFO},
        {"debug", LOG_LEVEL_DEBUG},
    };
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(config->log_level, levels[i].name) == 0)
            log_configure(levels[i].level, strcmp(config->log_format, "json") == 0);
    }
}

/* ---- Commands ------------------------------------------------------------------------------- */

/* A tenth is left for what grows between two looks, and for the kernel's own. */
static uint64_t memory_limit(const struct config *config) {
    if (config->memory_limit_mb > 0)
        return config->memory_limit_mb * MEBIBYTE;
    uint64_t most = process_memory_limit(NULL);
    return most < UINT64_MAX ? most / 10 * 9 : 0;
}

static enum status open_storage(const struct config *config, struct storage **storage,
                                struct error *error) {
    return storage_open(
        &(struct storage_options){
            .path = config->storage_path,
            .map_bytes = config->map_size_mb * MEBIBYTE,
            .map_bytes_max = config->map_size_max_mb * MEBIBYTE,
            .writers = (unsigned)config->writer_threads,
            .builders = (unsigned)config->builder_threads,
            .readers_max = server_worker_count(config) + READERS_BESIDE_WORKERS,
            .disk_reserve_bytes = config->disk_reserve_mb * MEBIBYTE,
            .memory_limit_bytes = memory_limit(config),
            .recover_damaged = config->recover_damaged,
        },
        storage, error);
}

static void greet(const struct config *config, const struct server *server) {
    char address[LISTENER_ADDRESS_MAX];
    listener_address(server, address);
    log_event(LOG_LEVEL_INFO, "nigh %s listens on http://%s, data in %s", NIGH_VERSION, address,
              config->storage_path);
    bool has_key = config->api_key[0] || config->read_only_api_key[0];
    log_event(LOG_LEVEL_INFO, "try: curl http://%s:%s/collections%s",
              listener_is_public(server) ? "localhost" : config->host, strrchr(address, ':') + 1,
              has_key ? " -H 'api-key: ...'" : "");
    if (listener_is_public(server) && !has_key)
        log_event(LOG_LEVEL_WARN,
                  "anyone who reaches this machine can read and delete everything: no API key is "
                  "set (NIGH__SERVICE__API_KEY)");
    if (config->read_only_api_key[0] && !config->api_key[0])
        log_event(LOG_LEVEL_WARN, "only a read-only key is set: nobody can write");
}

static int serve(const struct config *config) {
    struct error error;
    struct storage *storage = NULL;
    struct server *server = NULL;
    struct api *api = NULL;
    unsigned time_left_ms = 0;
    int exit_status = EXIT_FAILURE;
    enum status status = open_storage(config, &storage, &error);
    if (status == STATUS_OK)
        status = server_create(config, &server, &error);
    if (status == STATUS_OK)
        status = api_create(
            &(struct api_options){
                .storage = storage,
                .version = NIGH_VERSION,
                .commit = NIGH_COMMIT,
                .timeout_ms = config->request_timeout_s * 1000,
                .memory_mb = config->request_memory_mb,
                .write_metrics = server_write_metrics,
                .context = server,
            },
            &api, &error);
    if (status == STATUS_OK) {
        greet(config, server);
        exit_status = server_run(server, api, &time_left_ms);
    } else {
        fail(&error);
    }
    /* Writers may still finish jobs while storage closes, so what jobs refer to comes after it. */
    if (storage)
        storage_close(storage, time_left_ms);
    server_free(server);
    api_free(api);
    if (status == STATUS_OK)
        log_event(LOG_LEVEL_INFO, "stopped");
    return exit_status;
}

static void print_problem(void *context, const char *problem) {
    printf("%s: %s\n", (const char *)context, problem);
}

/* Reads every record of every collection and says what does not fit. */
static int verify(const struct config *config) {
    struct error error;
    struct storage *storage;
    struct arena arena;
    const char *const *names;
    size_t count = 0, damaged = 0;
    if (open_storage(config, &storage, &error) != STATUS_OK)
        return fail(&error);
    arena_init(&arena, VERIFY_ARENA_BYTES);
    enum status status = storage_list_collections(storage, &arena, &names, &count, &error);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        char *name = (char *)(uintptr_t)names[i];
        if (storage_verify_collection(storage, name, print_problem, name, &error) == STATUS_OK) {
            printf("%s: good\n", name);
        } else {
            damaged++;
            printf("%s: %s\n", name, error.message);
        }
    }
    if (status == STATUS_OK)
        printf("%zu collections, %zu damaged\n", count, damaged);
    else
        fail(&error);
    arena_free(&arena);
    storage_close(storage, 0);
    return status == STATUS_OK && damaged == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int count, char **arguments) {
    struct error error;
    struct command_line line;
    static struct config config;
    mallopt(M_MMAP_THRESHOLD, MALLOC_MAPPED_BYTES);
    mallopt(M_TRIM_THRESHOLD, MALLOC_KEPT_BYTES);
    umask(027);
    if (parse_command(count, arguments, &line, &error) != STATUS_OK)
        return fail(&error);
    switch (line.command) {
    case COMMAND_HELP:
        return print_help();
    case COMMAND_PRINT_CONFIG:
        config_print_yaml(stdout);
        return EXIT_SUCCESS;
    case COMMAND_VERSION:
        printf("nigh %s (%s)\n", NIGH_VERSION, NIGH_COMMIT);
        return EXIT_SUCCESS;
    default:
        break;
    }
    if (read_config(count, arguments, &line, &config, &error) != STATUS_OK)
        return fail(&error);
    configure_log(&config);
    configure_index(&config);
    if (line.command == COMMAND_VERIFY)
        return verify(&config);
    if (line.command == COMMAND_SERVE)
        return serve(&config);
    return healthcheck_run(&config, &error) == STATUS_OK ? EXIT_SUCCESS : fail(&error);
}
