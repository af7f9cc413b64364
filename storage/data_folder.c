#include "storage/data_folder.h"
#include "storage/file.h"
#include "storage/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    NUMBER_DIGITS = 16,  /* of a collection's folder name */
    LEFTOVERS_MAX = 256, /* folders removed at one start */
};

/* ---- Opening ----------------------------------------------------------------------------------
 */

/* LMDB's locks and maps do not work over a network. */
static enum status check_file_system(const char *path, struct error *error) {
    static const struct {
        unsigned long magic;
        const char *name;
    } remote[] = {{0x6969, "NFS"}, {0xFF534D42, "CIFS"}, {0xFE534D42, "SMB2"}, {0x01021997, "9P"}};
    struct statfs info;
    if (statfs(path, &info) < 0)
        return error_set(error, STATUS_IO, "look at %s: %s", path, strerror(errno));
    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
        if ((unsigned long)info.f_type == remote[i].magic)
            return error_set(error, STATUS_INVALID,
                             "the data folder %s lies on %s: use a local file system", path,
                             remote[i].name);
    return STATUS_OK;
}

static enum status make_folder(const char *path, struct error *error) {
    if (mkdir(path, 0750) == 0 || errno == EEXIST)
        return STATUS_OK;
    return error_set(error, STATUS_IO, "cannot create the folder %s: %s", path, strerror(errno));
}

static enum status lock_folder(struct storage *storage, struct error *error) {
    char path[PATH_MAX];
    if (!file_path_join(path, sizeof(path), storage->path, "lock"))
        return error_set(error, STATUS_INVALID, "path too long: %s", storage->path);
    storage->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (storage->lock_fd < 0)
        return error_set(error, STATUS_IO, "the data folder %s is not writable: %s", storage->path,
                         strerror(errno));
    if (flock(storage->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(error, STATUS_CONFLICT,
                         "the data folder %s is in use: stop the other nigh, or use another folder",
                         storage->path);
    return STATUS_OK;
}

/* Calls visit for each number that a folder of a collection has. */
static enum status each_folder(struct storage *storage,
                               void (*visit)(struct storage *storage, uint64_t number),
                               struct error *error) {
    DIR *folder = opendir(storage->collections_path);
    if (!folder)
        return error_set(error, STATUS_IO, "look at %s: %s", storage->collections_path,
                         strerror(errno));
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char *end;
        uint64_t number = strtoull(entry->d_name, &end, 16);
        if (strlen(entry->d_name) == NUMBER_DIGITS && *end == '\0')
            visit(storage, number);
    }
    closedir(folder);
    return STATUS_OK;
}

/* A number that a folder has is never given again, also if the catalogue is an old copy. */
static void pass_number(struct storage *storage, uint64_t number) {
    if (number >= storage->catalogue.next_number)
        storage->catalogue.next_number = number + 1;
}

/* A catalogue that is missing or empty beside collections was lost: to go on would show a server
 * without data. */
static enum status check_folders(struct storage *storage, bool is_new, struct error *error) {
    uint64_t first = storage->catalogue.next_number;
    enum status status = each_folder(storage, pass_number, error);
    if (status == STATUS_OK && is_new && storage->catalogue.next_number > first)
        return error_set(error, STATUS_CORRUPT,
                         "the catalogue of %s is missing or empty, but there are collections: "
                         "restore %s/catalogue, or move %s away",
                         storage->path, storage->path, storage->collections_path);
    return status;
}

enum status data_folder_open(struct storage *storage, struct error *error) {
    char path[PATH_MAX];
    bool is_new;
    enum status status = make_folder(storage->path, error);
    if (status == STATUS_OK)
        status = check_file_system(storage->path, error);
    if (status == STATUS_OK)
        status = lock_folder(storage, error);
    if (status != STATUS_OK)
        return status;
    if (!file_path_join(storage->collections_path, sizeof(storage->collections_path), storage->path,
                        "collections") ||
        !file_path_join(path, sizeof(path), storage->path, "catalogue"))
        return error_set(error, STATUS_INVALID, "path too long: %s", storage->path);
    status = make_folder(storage->collections_path, error);
    if (status == STATUS_OK)
        status = make_folder(path, error);
    if (status == STATUS_OK)
        status = catalogue_open(&storage->catalogue, path, false, &is_new, error);
    if (status != STATUS_OK)
        return status;
    status = check_folders(storage, is_new, error);
    if (status == STATUS_OK && is_new)
        status = catalogue_create(&storage->catalogue, error);
    if (status == STATUS_OK)
        status = file_sync_folder(path, error);
    if (status == STATUS_OK)
        status = file_sync_folder(storage->path, error);
    if (status != STATUS_OK)
        catalogue_close(&storage->catalogue);
    return status;
}

/* ---- Leftovers --------------------------------------------------------------------------------
 */

struct leftovers {
    uint64_t numbers[LEFTOVERS_MAX];
    size_t count;
};

static void note_leftover(void *context, uint64_t number) {
    struct leftovers *leftovers = context;
    if (leftovers->count < LEFTOVERS_MAX)
        leftovers->numbers[leftovers->count++] = number;
}

/* Removes the folders that the catalogue names as nobody's; those beyond LEFTOVERS_MAX at the next
 * start. */
static enum status remove_leftovers(struct storage *storage, struct error *error) {
    struct leftovers leftovers = {.count = 0};
    enum status status =
        catalogue_each_leftover(&storage->catalogue, note_leftover, &leftovers, error);
    for (size_t i = 0; i < leftovers.count && status == STATUS_OK; i++) {
        char path[PATH_MAX];
        status = storage_collection_path(storage, leftovers.numbers[i], path, error);
        if (status == STATUS_OK)
            status = file_remove_folder(path, error);
        if (status == STATUS_OK)
            status = file_sync_folder(storage->collections_path, error);
        if (status == STATUS_OK)
            status = catalogue_forget(&storage->catalogue, leftovers.numbers[i], error);
    }
    return status;
}

static void warn_of_stray_folder(struct storage *storage, uint64_t number) {
    for (size_t i = 0; i < storage->entries_count; i++)
        if (storage->entries[i]->number == number)
            return;
    log_event(LOG_LEVEL_WARN,
              "the catalogue does not know the folder %s/%016llx: it is left alone; is the "
              "catalogue an old copy?",
              storage->collections_path, (unsigned long long)number);
}

enum status data_folder_tidy(struct storage *storage, struct error *error) {
    struct error leftover = {0};
    if (remove_leftovers(storage, &leftover) != STATUS_OK)
        log_event(LOG_LEVEL_WARN, "a leftover folder: %s", leftover.message);
    return each_folder(storage, warn_of_stray_folder, error);
}
