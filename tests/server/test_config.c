#include "server/config.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config config;
static struct error error;

static void set_up(void) {
    config_init(&config);
    memset(&error, 0, sizeof(error));
}

/* Reads text as a configuration file. */
static enum status read_text(const char *text) {
    char path[] = "/tmp/nigh-config-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    enum status status = config_read_file(&config, path, &error);
    unlink(path);
    return status;
}

static enum status read_environment(const char *first, const char *second) {
    const char *environment[] = {"HOME=/", first, second, NULL};
    return config_read_environment(&config, environment, &error);
}

START_TEST(starts_with_the_defaults) {
    ck_assert_str_eq(config.host, "127.0.0.1");
    ck_assert_uint_eq(config.http_port, 6333);
    ck_assert_str_eq(config.storage_path, "./storage");
    ck_assert_uint_eq(config.max_request_size_mb, 32);
    ck_assert_uint_eq(config.keep_alive_s, 75);
    ck_assert(config.check_host && !config.enable_cors);
    ck_assert_str_eq(config.api_key, "");
    ck_assert_int_eq(config_check(&config, &error), STATUS_OK);
}
END_TEST

START_TEST(reads_a_file) {
    ck_assert_int_eq(read_text("log_level: WARN\n"
                               "storage: {storage_path: '/a b'}\n"
                               "service:\n"
                               "  host: \"::1\"   # comment\n"
                               "  http_port: 80\n"
                               "  enable_cors: true\n"
                               "  api_key: k\n"),
                     STATUS_OK);
    ck_assert_str_eq(config.log_level, "warn");
    ck_assert_str_eq(config.storage_path, "/a b");
    ck_assert_str_eq(config.host, "::1");
    ck_assert_uint_eq(config.http_port, 80);
    ck_assert(config.enable_cors);
    ck_assert_str_eq(config.api_key, "k");
}
END_TEST

static const char *const harmless[] = {
    "",
    "# only a comment\n",
    "---\n",
    "service:\n  http_port:\n",
    "service:\n  http_port: ~\n",
    "service:\n  api_key: null\n",
};

START_TEST(a_file_that_sets_nothing_leaves_the_defaults) {
    struct config defaults = config;
    ck_assert_msg(read_text(harmless[_i]) == STATUS_OK, "%s", error.message);
    ck_assert_mem_eq(&config, &defaults, sizeof(config));
}
END_TEST

static const struct {
    const char *text;
    const char *message; /* a part of it */
} wrong_files[] = {
    {"servise:\n  http_port: 1\n", "line 2: unknown section servise"},
    {"service:\n  htp_port: 1\n", "line 2: unknown option service.htp_port"},
    {"service:\n  htp_port:\n", "unknown option service.htp_port"},
    {"http_port: 1\n", "line 1: unknown option http_port"},
    {"\n\nservice:\n  http_port: 65536\n", "line 4: service.http_port must be a number from 0 to"},
    {"service:\n  http_port: -1\n", "must be a number"},
    {"service:\n  http_port: 1.5\n", "must be a number"},
    {"service:\n  http_port: 0x10\n", "must be a number"},
    {"service:\n  http_port: ''\n", "must be a number"},
    {"service:\n  http_port: 99999999999999999999999\n", "must be a number"},
    {"service:\n  enable_cors: yes\n", "must be true or false"},
    {"service:\n  enable_cors: 1\n", "must be true or false"},
    {"service:\n  api_key: ''\n", "service.api_key is empty"},
    {"service:\n  api_key: 'a b'\n", "visible ASCII"},
    {"service:\n  api_key: \"a\\nb\"\n", "visible ASCII"},
    {"service:\n  host: ''\n", "service.host is empty"},
    {"service:\n  host: [a, b]\n", "no option takes a list"},
    {"service:\n  host: {a: b}\n", "unknown section"},
    {"- service\n", "no option takes a list"},
    {"service\n", "expected keys with values"},
    {"log_level: loud\n", "must be one of: error warn info debug"},
    {"log_level: &a info\nlog_format: *a\n", "alias"},
    {"service: {http_port: 1\n", "line"},
    {"a: b: c\n", "line 1"},
    {"\xFF\xFE\xFF", "line"},
};

START_TEST(says_what_is_wrong_with_a_file_and_where) {
    ck_assert_int_ne(read_text(wrong_files[_i].text), STATUS_OK);
    ck_assert_msg(strstr(error.message, wrong_files[_i].message), "said: %s", error.message);
    ck_assert_ptr_null(strchr(error.message, '\n'));
}
END_TEST

START_TEST(a_missing_file_is_an_error) {
    ck_assert_int_eq(config_read_file(&config, "/nonexistent.yaml", &error), STATUS_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "/nonexistent.yaml"));
}
END_TEST

START_TEST(a_text_of_1023_bytes_fits_and_not_one_more) {
    static char text[2000];
    memset(text, 'a', CONFIG_TEXT_MAX);
    text[CONFIG_TEXT_MAX - 1] = '\0';
    ck_assert_int_eq(config_set(&config, "service.host", text, &error), STATUS_OK);
    text[CONFIG_TEXT_MAX - 1] = 'a';
    ck_assert_int_eq(config_set(&config, "service.host", text, &error), STATUS_INVALID);
}
END_TEST

START_TEST(the_environment_comes_before_the_file) {
    ck_assert_int_eq(read_text("service: {http_port: 1, host: a}\n"), STATUS_OK);
    ck_assert_int_eq(read_environment("NIGH__SERVICE__HTTP_PORT=2", NULL), STATUS_OK);
    ck_assert_uint_eq(config.http_port, 2);
    ck_assert_str_eq(config.host, "a");
}
END_TEST

START_TEST(our_name_comes_before_the_shared_one) {
    ck_assert_int_eq(read_environment("NIGH__SERVICE__HTTP_PORT=2", "QDRANT__SERVICE__HTTP_PORT=3"),
                     STATUS_OK);
    ck_assert_uint_eq(config.http_port, 2);
    ck_assert_int_eq(read_environment("QDRANT__SERVICE__HTTP_PORT=3", NULL), STATUS_OK);
    ck_assert_uint_eq(config.http_port, 3);
}
END_TEST

START_TEST(names_of_qdrant_that_are_not_shared_change_nothing) {
    struct config defaults = config;
    ck_assert_int_eq(
        read_environment("QDRANT__SERVICE__GRPC_PORT=1", "QDRANT__SERVICE__KEEP_ALIVE_S=1"),
        STATUS_OK);
    ck_assert_mem_eq(&config, &defaults, sizeof(config));
}
END_TEST

static const struct {
    const char *variable, *message;
} wrong_variables[] = {
    {"NIGH__SERVICE__HTP_PORT=1", "NIGH__SERVICE__HTP_PORT"},
    {"NIGH__=1", "NIGH__"},
    {"NIGH__SERVICE__HTTP_PORT=x", "NIGH__SERVICE__HTTP_PORT: service.http_port must be"},
    {"NIGH__SERVICE__API_KEY=", "service.api_key is empty"},
    {"QDRANT__SERVICE__HTTP_PORT=x", "QDRANT__SERVICE__HTTP_PORT"},
};

START_TEST(says_which_variable_is_wrong) {
    ck_assert_int_ne(read_environment(wrong_variables[_i].variable, NULL), STATUS_OK);
    ck_assert_msg(strstr(error.message, wrong_variables[_i].message), "said: %s", error.message);
}
END_TEST

START_TEST(never_repeats_a_key_in_a_message) {
    ck_assert_int_ne(read_environment("NIGH__SERVICE__API_KEY=se cret", NULL), STATUS_OK);
    ck_assert_ptr_null(strstr(error.message, "cret"));
}
END_TEST

START_TEST(takes_flags_in_both_forms) {
    size_t used;
    ck_assert_int_eq(config_read_flag(&config, "--http-port=7", NULL, &used, &error), STATUS_OK);
    ck_assert_uint_eq(config.http_port, 7);
    ck_assert_uint_eq(used, 1);
    ck_assert_int_eq(config_read_flag(&config, "--http-port", "8", &used, &error), STATUS_OK);
    ck_assert_uint_eq(config.http_port, 8);
    ck_assert_uint_eq(used, 2);
    ck_assert_int_eq(config_read_flag(&config, "--enable-cors", "x", &used, &error), STATUS_OK);
    ck_assert(config.enable_cors);
    ck_assert_uint_eq(used, 1);
    ck_assert_int_eq(config_read_flag(&config, "--enable-cors=false", NULL, &used, &error),
                     STATUS_OK);
    ck_assert(!config.enable_cors);
}
END_TEST

static const struct {
    const char *flag, *value, *message;
} wrong_flags[] = {
    {"--htp", "1", "unknown flag --htp"},
    {"--", "1", "unknown flag"},
    {"-h", "1", "unknown flag"},
    {"serve", NULL, "unknown flag"},
    {"--http-port", NULL, "needs a value"},
    {"--http-port=", NULL, "must be a number"},
    {"--api-key", "k", "unknown flag"}, /* the list of processes would show it */
};

START_TEST(says_what_is_wrong_with_a_flag) {
    size_t used;
    ck_assert_int_ne(
        config_read_flag(&config, wrong_flags[_i].flag, wrong_flags[_i].value, &used, &error),
        STATUS_OK);
    ck_assert_msg(strstr(error.message, wrong_flags[_i].message), "said: %s", error.message);
}
END_TEST

START_TEST(refuses_options_that_contradict_each_other) {
    strcpy(config.api_key, "k");
    strcpy(config.read_only_api_key, "k");
    ck_assert_int_eq(config_check(&config, &error), STATUS_INVALID);
    config_init(&config);
    config.body_budget_mb = config.max_request_size_mb - 1;
    ck_assert_int_eq(config_check(&config, &error), STATUS_INVALID);
    config_init(&config);
    config.map_size_max_mb = config.map_size_mb - 1;
    ck_assert_int_eq(config_check(&config, &error), STATUS_INVALID);
}
END_TEST

/* config/config.yaml is generated from the table of options. */
START_TEST(the_documented_configuration_is_the_one_in_use) {
    char *printed = NULL, read[64 * 1024];
    size_t length = 0;
    FILE *out = open_memstream(&printed, &length), *file = fopen("config/config.yaml", "r");
    ck_assert_ptr_nonnull(out);
    ck_assert_msg(file != NULL, "run from the top of the tree");
    config_print_yaml(out);
    fclose(out);
    size_t read_length = fread(read, 1, sizeof(read), file);
    fclose(file);
    ck_assert_msg(read_length == length && memcmp(read, printed, length) == 0,
                  "config/config.yaml is old: nigh --print-config > config/config.yaml");
    struct config defaults = config;
    ck_assert_int_eq(config_read_file(&config, "config/config.yaml", &error), STATUS_OK);
    ck_assert_mem_eq(&config, &defaults, sizeof(config));
    free(printed);
}
END_TEST

#define LOOP(tests, test, rows) \
    tcase_add_loop_test(tests, test, 0, (int)(sizeof(rows) / sizeof((rows)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, starts_with_the_defaults);
    tcase_add_test(tests, reads_a_file);
    LOOP(tests, a_file_that_sets_nothing_leaves_the_defaults, harmless);
    LOOP(tests, says_what_is_wrong_with_a_file_and_where, wrong_files);
    tcase_add_test(tests, a_missing_file_is_an_error);
    tcase_add_test(tests, a_text_of_1023_bytes_fits_and_not_one_more);
    tcase_add_test(tests, the_environment_comes_before_the_file);
    tcase_add_test(tests, our_name_comes_before_the_shared_one);
    tcase_add_test(tests, names_of_qdrant_that_are_not_shared_change_nothing);
    LOOP(tests, says_which_variable_is_wrong, wrong_variables);
    tcase_add_test(tests, never_repeats_a_key_in_a_message);
    tcase_add_test(tests, takes_flags_in_both_forms);
    LOOP(tests, says_what_is_wrong_with_a_flag, wrong_flags);
    tcase_add_test(tests, refuses_options_that_contradict_each_other);
    tcase_add_test(tests, the_documented_configuration_is_the_one_in_use);
    suite_add_tcase(suite, tests);
    return suite;
}
