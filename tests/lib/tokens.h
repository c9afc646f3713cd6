/* tokens.h: what an identity provider does, for tests: keys made on the spot, in files as weir reads them, and tokens signed by them. Uses OpenSSL itself and nothing
   of src/auth, so that both are each other's judge. */
#ifndef WEIR_TESTS_TOKENS_H
#define WEIR_TESTS_TOKENS_H

#include "base/text.h"

/* Who signs. TWIN: another key of the kind of the one before, which nobody has configured. */
enum signer { SIGN_HS256, SIGN_RS256, SIGN_ES256, SIGN_EDDSA, SIGN_RS256_TWIN, SIGN_ES256_TWIN, SIGN_EDDSA_TWIN, SIGNERS };

#define TOKENS_SECRET "an HS256 secret of more than thirty-two bytes"
#define TOKEN_ROOM    131072 /* bytes of the longest token that a test makes */

/* Makes keys and files, once a process; the files go at its end. */
void tokens_start(void);
/* rsa.pem, ec.pem, ed.pem: public keys; secret; set.json: all four with the kids rsa, ec, ed and oct; rsa.crt: a certificate; and what a test wrote with tokens_file.
   Valid until the next call but three. */
const char *tokens_path(const char *file);
void tokens_file(const char *file, struct text content);
/* The content of a file, NUL-terminated; valid until the next call. */
struct text tokens_read(const char *file);

/* HEADER.PAYLOAD.SIGNATURE into out (TOKEN_ROOM), from JSON as it stands, signed as `by` does it, whatever the header says. Returns out. */
char *token_sign(enum signer by, const char *header, const char *payload, char *out);
/* The same by HMAC-SHA-256 with this secret. */
char *token_sign_secret(struct text secret, const char *header, const char *payload, char *out);
/* The keys of RFC 7515, appendix A.1 to A.3, and of RFC 8037, A.1, as a set; and the tokens of the former: HS256, RS256, ES256. Their iss is joe, and
   they expire at 1300819380. */
extern const char tokens_rfc_set[];
extern const char *const tokens_rfc[3];
/* base64url without padding, NUL-terminated; returns its length. */
size_t token_encode(struct text bytes, char *out);

#endif
