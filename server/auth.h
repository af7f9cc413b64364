/* auth.h -- who may do what: the API key and the read-only key.
 *
 * Keys are compared by their HMAC under a key of this process, so the time a comparison takes says
 * nothing about how many bytes were right. Every key is compared, whichever matches. Nothing here
 * logs or returns a key. Immutable after creation; any thread.
 */
#ifndef AUTH_H
#define AUTH_H

#include "index/status.h"
#include "server/http_head.h"

enum auth_verdict {
    AUTH_FULL,      /* or no key is configured */
    AUTH_READ_ONLY, /* the read-only key */
    AUTH_MISSING,   /* no key was sent */
    AUTH_WRONG,     /* a key was sent that is none of ours */
    AUTH_UNCERTAIN, /* there was no memory to tell */
};

struct auth;

/* Either key may be NULL; both are borrowed during the call. With neither everybody may do
 * everything. */
MUST_CHECK enum status auth_create(const char *api_key, const char *read_only_key,
                                   struct auth **auth, struct error *error);
void auth_free(struct auth *auth);

bool auth_is_required(const struct auth *auth);

/* api_key and authorization are the values of those headers. Where both are sent, both must hold
 * the same right; otherwise it would depend on who reads which. */
enum auth_verdict auth_check(const struct auth *auth, struct http_text api_key,
                             struct http_text authorization);

/* True if host (the value of Host, with or without port) is a name of this machine's loopback
 * interface, or bound, the name the server was told to listen on. */
bool auth_host_is_local(struct http_text host, const char *bound);

#endif
