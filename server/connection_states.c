#include "server/connection_states.h"

#define TO(state) (1u << CONNECTION_##state)
static const unsigned moves[CONNECTION_STATES] = {
    [CONNECTION_IDLE] = TO(HEAD) | TO(CLOSING),
    [CONNECTION_HEAD] = TO(BODY) | TO(ANSWERING) | TO(CLOSING),
    [CONNECTION_BODY] = TO(RUNNING) | TO(ANSWERING) | TO(CLOSING),
    [CONNECTION_RUNNING] = TO(LANED) | TO(ANSWERING) | TO(CLOSING),
    [CONNECTION_LANED] = TO(IDLE) | TO(RUNNING) | TO(CLOSING),
    [CONNECTION_ANSWERING] = TO(IDLE) | TO(LINGERING) | TO(CLOSING),
    [CONNECTION_LINGERING] = TO(CLOSING),
    [CONNECTION_CLOSING] = 0,
};
#undef TO

bool connection_states_may_follow(enum connection_state from, enum connection_state to) {
    return (moves[from] >> to & 1) != 0;
}

static uint64_t lingering_deadline_ms(const struct connection *connection, uint64_t now) {
    uint64_t idle = now + (connection->server->is_draining ? CONNECTION_LINGER_DRAINING_MS
                                                           : CONNECTION_LINGER_IDLE_MS);
    uint64_t whole = connection->since_ms + CONNECTION_LINGER_MS;
    return idle < whole ? idle : whole;
}

uint64_t connection_states_deadline_ms(const struct connection *connection) {
    const struct config *config = connection->server->config;
    uint64_t now = server_now_ms(connection->server);
    switch (connection->state) {
    case CONNECTION_IDLE:
        return connection->since_ms + config->keep_alive_s * 1000;
    case CONNECTION_HEAD:
        return connection->since_ms + config->head_timeout_s * 1000;
    case CONNECTION_BODY: /* of a window; connection_expire() looks how much came in it */
        return connection->since_ms + CONNECTION_BODY_WINDOW_MS;
    case CONNECTION_RUNNING: /* the request has its own */
        if (connection->input_ended)
            return now + CONNECTION_GONE_MS;
        return connection->is_delegated ? now + CONNECTION_LOOK_MS : UINT64_MAX;
    case CONNECTION_LANED:
        return now + (connection->input_ended ? CONNECTION_GONE_MS : CONNECTION_LOOK_MS);
    case CONNECTION_ANSWERING: /* without progress; connection_expire() looks whether there was */
        return now + config->write_timeout_s * 1000;
    case CONNECTION_LINGERING:
        return lingering_deadline_ms(connection, now);
    default:
        return UINT64_MAX;
    }
}
