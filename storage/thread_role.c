#include "storage/thread_role.h"

#include <pthread.h>

/* The main thread keeps the program's name, by which `ps` and `pidof` know the process. */
static const char *const names[] = {
    [THREAD_ROLE_WORKER] = "worker",
    [THREAD_ROLE_WRITER] = "writer",
    [THREAD_ROLE_BUILDER] = "builder",
};

static _Thread_local enum thread_role current;

void thread_role_set(enum thread_role role) {
    current = role;
    if (role < sizeof(names) / sizeof(names[0]) && names[role])
        (void)pthread_setname_np(pthread_self(), names[role]);
}

enum thread_role thread_role_get(void) {
    return current;
}

bool thread_role_may_act_as(enum thread_role role) {
    return current == role || current == THREAD_ROLE_NONE;
}
