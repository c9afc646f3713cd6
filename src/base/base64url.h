/* base64url.h: reads base64url as JWTs have it (RFC 7515 2, RFC 4648 5). Called by conf's key sets and by auth. */
#ifndef WEIR_BASE64URL_H
#define WEIR_BASE64URL_H

#include "base/text.h"

/* Bytes that so many letters hold at most. */
#define BASE64URL_BYTES(letters) ((letters) / 4 * 3 + 2)

/* Decodes t into out, which has room for BASE64URL_BYTES(t.len). False: a letter that is none (padding, line ends and blanks too), a length that no bytes have,
   or bits behind the last byte that are not 0: what has one spelling cannot be spelt in a way that another reader takes for something else. */
bool base64url_read(struct text t, uint8_t *out, size_t *out_len) MUSTUSE;

#endif
