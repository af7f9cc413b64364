#include "server/auth.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum {
    DIGEST_BYTES = 32, /* SHA-256 */
    SALT_BYTES = 32,
    HOST_BYTES_MAX = 255,
};

struct auth {
    unsigned char salt[SALT_BYTES]; /* random, of this process */
    bool has_api_key, has_read_only_key;
    unsigned char api_key[DIGEST_BYTES];
    unsigned char read_only_key[DIGEST_BYTES];
};

static bool digest(const struct auth *auth, const char *bytes, size_t length,
                   unsigned char out[DIGEST_BYTES]) {
    unsigned int written = 0;
    return HMAC(EVP_sha256(), auth->salt, SALT_BYTES, (const unsigned char *)bytes, length, out,
                &written) != NULL &&
           written == DIGEST_BYTES;
}

enum status auth_create(const char *api_key, const char *read_only_key, struct auth **created,
                        struct error *error) {
    struct auth *auth = calloc(1, sizeof(*auth));
    if (!auth)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the API keys");
    auth->has_api_key = api_key != NULL;
    auth->has_read_only_key = read_only_key != NULL;
    bool is_ok = getrandom(auth->salt, SALT_BYTES, 0) == SALT_BYTES;
    is_ok = is_ok && (!api_key || digest(auth, api_key, strlen(api_key), auth->api_key));
    is_ok = is_ok && (!read_only_key ||
                      digest(auth, read_only_key, strlen(read_only_key), auth->read_only_key));
    if (!is_ok) {
        auth_free(auth);
        return error_set(error, STATUS_IO, "SHA-256 or random numbers are not available");
    }
    *created = auth;
    return STATUS_OK;
}

void auth_free(struct auth *auth) {
    if (auth)
        OPENSSL_cleanse(auth, sizeof(*auth));
    free(auth);
}

bool auth_is_required(const struct auth *auth) {
    return auth->has_api_key || auth->has_read_only_key;
}

static enum auth_verdict check_key(const struct auth *auth, struct http_text key) {
    unsigned char sent[DIGEST_BYTES];
    if (!digest(auth, key.bytes, key.length, sent))
        return AUTH_UNCERTAIN;
    /* No early exit: both comparisons always run. */
    bool is_full = CRYPTO_memcmp(sent, auth->api_key, DIGEST_BYTES) == 0;
    bool is_read_only = CRYPTO_memcmp(sent, auth->read_only_key, DIGEST_BYTES) == 0;
    if (is_full && auth->has_api_key)
        return AUTH_FULL;
    return is_read_only && auth->has_read_only_key ? AUTH_READ_ONLY : AUTH_WRONG;
}

/* The token of "Bearer <token>"; NULL for any other scheme. */
static struct http_text bearer_token(struct http_text authorization) {
    static const char scheme[] = "Bearer ";
    const size_t scheme_length = sizeof(scheme) - 1;
    if (!authorization.bytes || authorization.length <= scheme_length ||
        strncasecmp(authorization.bytes, scheme, scheme_length) != 0)
        return (struct http_text){0};
    struct http_text token = {.bytes = authorization.bytes + scheme_length,
                              .length = authorization.length - scheme_length};
    while (token.length > 0 && token.bytes[0] == ' ')
        token.bytes++, token.length--;
    return token;
}

enum auth_verdict auth_check(const struct auth *auth, struct http_text api_key,
                             struct http_text authorization) {
    if (!auth_is_required(auth))
        return AUTH_FULL;
    struct http_text token = bearer_token(authorization);
    if (!api_key.bytes && !token.bytes)
        return AUTH_MISSING;
    enum auth_verdict by_key = api_key.bytes ? check_key(auth, api_key) : AUTH_MISSING;
    enum auth_verdict by_token = token.bytes ? check_key(auth, token) : AUTH_MISSING;
    if (by_key == AUTH_MISSING)
        return by_token;
    if (by_token == AUTH_MISSING || by_token == by_key)
        return by_key;
    return by_key == AUTH_UNCERTAIN || by_token == AUTH_UNCERTAIN ? AUTH_UNCERTAIN : AUTH_WRONG;
}

/* ---- Host ----------------------------------------------------------------------------------- */

/* Cuts the port off: "name:80" and "[::1]:80". False if it is no host at all. */
static bool split_host(struct http_text host, char name[HOST_BYTES_MAX + 1]) {
    const char *start = host.bytes, *end = host.bytes + host.length, *name_end;
    if (host.length > 0 && start[0] == '[') {
        start++;
        name_end = memchr(start, ']', (size_t)(end - start));
        if (!name_end || (name_end + 1 < end && name_end[1] != ':'))
            return false;
    } else {
        name_end = memchr(start, ':', host.length);
        if (!name_end)
            name_end = end;
    }
    size_t length = (size_t)(name_end - start);
    if (length == 0 || length > HOST_BYTES_MAX)
        return false;
    memcpy(name, start, length);
    name[length] = '\0';
    return true;
}

bool auth_host_is_local(struct http_text host, const char *bound) {
    char name[HOST_BYTES_MAX + 1];
    struct in_addr v4;
    struct in6_addr v6;
    if (!host.bytes || !split_host(host, name))
        return false;
    if (strcasecmp(name, "localhost") == 0 || strcasecmp(name, "localhost.") == 0 ||
        strcasecmp(name, bound) == 0)
        return true;
    if (inet_pton(AF_INET, name, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
