/* api_error.h -- from statuses to HTTP; the only place that knows HTTP codes of failures. */
#ifndef API_ERROR_H
#define API_ERROR_H

#include "index/status.h"

struct api_call;

unsigned api_error_http_status(enum status status);

/* Fills call->answer with the error in the API's form. Never fails: falls back to static text. */
void api_error_answer(struct api_call *call, enum status status, const char *message);

#endif
