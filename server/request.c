#include "server/request.h"

#include <stdio.h>
#include <string.h>

enum {
    RETRY_AFTER_S = 1,
};

void request_refuse(struct job *job, unsigned http_status, const char *text) {
    api_fail(&job->call, STATUS_BAD_REQUEST, "%s", text);
    job->call.answer.http_status = http_status; /* the API's own errors know fewer statuses */
}

void request_refuse_for_now(struct job *job, const char *text) {
    api_fail(&job->call, STATUS_UNAVAILABLE, "%s", text);
    job->call.answer.http_status = 503;
    job->call.answer.retry_after_s = RETRY_AFTER_S;
}

static enum request_verdict answer_text(struct job *job, unsigned http_status, const char *text) {
    job->call.answer = (struct api_answer){
        .http_status = http_status,
        .content_type = text[0] ? "text/plain; charset=utf-8" : NULL,
        .body = text,
        .length = strlen(text),
    };
    return REQUEST_ANSWERED;
}

/* OPTIONS needs no key and tells nothing but the table of routes. */
static enum request_verdict answer_options(struct server *server, const struct http_head *head,
                                           struct job *job) {
    struct reply *reply = &job->reply;
    reply->is_preflight = server->config->enable_cors && head->preflight_method.bytes;
    char methods[64] = "";
    const struct route *route;
    struct route_arguments arguments;
    enum route_match match = ROUTE_WRONG_METHOD;
    if (head->path.bytes[0] == '*')
        snprintf(methods, sizeof(methods), "GET, HEAD, POST, PUT, PATCH, DELETE");
    else
        match = routes_match("OPTIONS", head->path.bytes, head->path.length, &job->input, &route,
                             &arguments, methods);
    if (match == ROUTE_NOT_FOUND)
        return answer_text(job, 404, "");
    snprintf(reply->allow, sizeof(reply->allow), "%s%sOPTIONS", methods, methods[0] ? ", " : "");
    return answer_text(job, 204, "");
}

/* True if the request may go on. The routes without key are exempt as matched, never by what the
 * path looks like. */
static bool authorise(struct server *server, const struct http_head *head, struct job *job) {
    const struct route *route = job->call.route;
    if (route && route->access == ACCESS_PUBLIC)
        return true;
    enum auth_verdict verdict = auth_check(server->auth, head->api_key, head->authorization);
    if (verdict == AUTH_UNCERTAIN) {
        request_refuse_for_now(job, "no memory to check the API key");
        return false;
    }
    if (verdict == AUTH_MISSING) {
        answer_text(job, 401, "Must provide an API key or an Authorization bearer token");
        return false;
    }
    if (verdict == AUTH_WRONG) {
        answer_text(job, 401, "Invalid API key or JWT");
        return false;
    }
    job->call.is_read_only = verdict == AUTH_READ_ONLY;
    if (job->call.is_read_only && route && route->access == ACCESS_WRITE) {
        api_fail(&job->call, STATUS_FORBIDDEN, "the read-only key may not change anything");
        job->call.answer.http_status = 403;
        return false;
    }
    return true;
}

static enum request_verdict answer_unmatched(enum route_match match, struct job *job) {
    switch (match) {
    case ROUTE_NOT_FOUND:
        return answer_text(job, 404, "");
    case ROUTE_WRONG_METHOD:
        return answer_text(job, 405, "");
    case ROUTE_NO_MEMORY:
        request_refuse_for_now(job, "no memory for the path");
        return REQUEST_ANSWERED;
    default:
        request_refuse(job, 400,
                       "the path holds a bad percent code, invalid UTF-8 or too many segments");
        return REQUEST_ANSWERED;
    }
}

/* Asks storage, and the file system through it: not on the loop. With a full queue it is refused,
 * which is the right answer to the question. */
static bool is_readiness(const struct route *route) {
    return strcmp(route->pattern, "/readyz") == 0;
}

static enum request_verdict judge_body(struct server *server, const struct http_head *head,
                                       struct job *job) {
    bool is_public = job->call.route->access == ACCESS_PUBLIC;
    uint64_t bytes_max =
        is_public ? SERVER_DISCARD_BYTES_MAX : server->config->max_request_size_mb * 1024 * 1024;
    if (head->content_encoding.bytes && !http_text_is(head->content_encoding, "identity")) {
        request_refuse(job, 415, "a body must come without content-encoding");
        return REQUEST_ANSWERED;
    }
    if (head->content_length > bytes_max) {
        api_fail(&job->call, STATUS_TOO_LARGE,
                 "JSON payload (%llu bytes) is larger than allowed (limit: %llu bytes).",
                 (unsigned long long)head->content_length, (unsigned long long)bytes_max);
        job->call.answer.http_status = 413;
        return REQUEST_LAST;
    }
    if (is_public && !is_readiness(job->call.route))
        return REQUEST_RUN_ON_LOOP; /* whose body, if any, is thrown away */
    if (job_expect_body(job, (size_t)head->content_length) != STATUS_OK) {
        request_refuse_for_now(job, "no memory for the body at the moment");
        return REQUEST_LAST;
    }
    return REQUEST_RUN;
}

static bool keep_query(const struct http_head *head, struct job *job) {
    if (!head->query.bytes)
        return true;
    job->call.query = arena_text(&job->input, head->query.bytes, head->query.length);
    job->call.query_length = head->query.length;
    return job->call.query != NULL;
}

enum request_verdict request_judge(struct server *server, const struct http_head *head,
                                   struct job *job) {
    job->reply.is_head = strcmp(head->method, "HEAD") == 0;
    job->reply.is_http_1_0 = head->is_http_1_0;
    if (server->checks_host && head->authority.bytes &&
        !auth_host_is_local(head->authority, server->config->host)) {
        request_refuse(job, 421,
                       "this host name is not served without an API key: use localhost, set "
                       "service.api_key, or set service.check_host to false");
        return REQUEST_LAST;
    }
    if (strcmp(head->method, "OPTIONS") == 0)
        return answer_options(server, head, job);

    char allow[64] = "";
    enum route_match match =
        routes_match(head->method, head->path.bytes, head->path.length, &job->input,
                     &job->call.route, &job->call.arguments, allow);
    if (match != ROUTE_FOUND)
        job->call.route = NULL;
    if (!authorise(server, head, job))
        return REQUEST_ANSWERED;
    if (match != ROUTE_FOUND) {
        snprintf(job->reply.allow, sizeof(job->reply.allow), "%s", allow);
        return answer_unmatched(match, job);
    }
    if (!keep_query(head, job)) {
        request_refuse_for_now(job, "no memory for the request");
        return REQUEST_ANSWERED;
    }
    if (server->is_draining && is_readiness(job->call.route))
        return answer_text(job, 503, "some shards are not ready");
    return judge_body(server, head, job);
}
