#include "storage/thread_role.h"

static _Thread_local enum thread_role current;

void thread_role_set(enum thread_role role) {
    current = role;
}

enum thread_role thread_role_get(void) {
    return current;
}

bool thread_role_may_act_as(enum thread_role role) {
    return current == role || current == THREAD_ROLE_NONE;
}
