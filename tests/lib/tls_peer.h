/* tls_peer.h: what the other end of a TLS connection needs in tests: certificates made on the spot, contexts, randomness and a clock that replay.
   Uses OpenSSL itself and nothing of src/net. lib/actor.h speaks TLS with the contexts made here. */
#ifndef WEIR_TESTS_TLS_PEER_H
#define WEIR_TESTS_TLS_PEER_H

#include "base/base.h"
#include <openssl/ssl.h>

/* Before anything uses OpenSSL: its memory is counted, its randomness is ours, its lazy parts are made. Once a process; further calls do nothing. */
void tls_peer_start(void);
/* From here on OpenSSL's randomness follows from the seed. Lets go of what OpenSSL keeps for this thread, so that blocks can be counted. */
void tls_peer_seed(uint64_t seed);

/* What is made, by its file name in tls_peer_path: a certificate NAME.crt and its key NAME.key. All keys are Ed25519: signatures of one length.
     ca              signs all of the others but self and stranger
     weir            127.0.0.1, localhost      other           the same names, another key
     backend         10.0.0.1 to 10.0.0.4, backend.test
     expired, early  10.0.0.1, until before, from after SIM_EPOCH
     wrong           elsewhere.test            common          no subjectAltName; its common name is backend.test
     self            10.0.0.1, signed by itself
     stranger        10.0.0.1, signed by stranger-ca
     client          a client's */
const char *tls_peer_path(const char *file); /* valid until the next call but three */

/* A context that serves with NAME's certificate; client_ca: and asks for a client's. */
SSL_CTX *tls_peer_server(const char *name, bool client_ca);
/* A context that trusts ca; name: with that certificate of its own, or NULL. */
SSL_CTX *tls_peer_client(const char *name);

#endif
