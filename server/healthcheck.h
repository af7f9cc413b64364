/* healthcheck.h -- asks a running server whether it lives; for containers, which have no curl. */
#ifndef HEALTHCHECK_H
#define HEALTHCHECK_H

#include "server/config.h"

enum {
    HEALTHCHECK_TIMEOUT_S = 3,
};

/* Sends GET /healthz to the configured port (on this machine if the host is a wildcard).
 * STATUS_OK: it answered 200 in time. */
MUST_CHECK enum status healthcheck_run(const struct config *config, struct error *error);

#endif
