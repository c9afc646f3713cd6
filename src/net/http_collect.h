/* http_collect.h: what http_parse.c (the driver) and http_collect.c (llhttp's callbacks) agree on. */
#ifndef WEIR_HTTP_COLLECT_H
#define WEIR_HTTP_COLLECT_H

#include "net/http_parse.h"

/* The table in http_parse.h. */
enum state { IDLE, BLANK, HEAD, PLAIN, LINE, DATA, TRAILERS, BROKEN };

/* What a callback asked the driver to do after it paused llhttp. */
enum pending { NOTHING, LINE_BEGUN, LINE_DONE, HEAD_DONE, INTERIM_DONE, CHUNK_LINE_DONE, BODY_SLICE, MESSAGE_DONE };

#define HTTP_PREFACE    "This is the beginning of an HTTP/2 connection, which is not spoken here."
#define HTTP_NO_VERSION "The request line has no HTTP version." /* found in two places */

extern const llhttp_settings_t http_collect_callbacks;

#endif
