#include "storage/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FAULT_NAME_MAX = 64,
};

static struct {
    pthread_mutex_t mutex;
    bool is_read; /* the environment has been looked at */
    char name[FAULT_NAME_MAX];
    char action[16];
    long passes_left;
} fault = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void parse(const char *specification) {
    fault.is_read = true;
    fault.name[0] = '\0';
    if (specification && sscanf(specification, "%63[^:]:%ld:%15s", fault.name, &fault.passes_left,
                                fault.action) != 3)
        fault.name[0] = '\0';
}

void fault_set(const char *specification) {
    pthread_mutex_lock(&fault.mutex);
    parse(specification);
    pthread_mutex_unlock(&fault.mutex);
}

bool fault_pass(const char *name) {
    bool fails = false;
    pthread_mutex_lock(&fault.mutex);
    if (!fault.is_read)
        parse(getenv("NIGH_FAULT"));
    if (strcmp(fault.name, name) == 0 && --fault.passes_left <= 0) {
        if (strcmp(fault.action, "kill") == 0)
            raise(SIGKILL);
        fails = fault.passes_left == 0 || strcmp(fault.action, "fail*") == 0;
    }
    pthread_mutex_unlock(&fault.mutex);
    return fails;
}
