/* test_net_wire.c: units of net/wire.h: what a person reads when a connection failed. */
#include "net/wire.h"
#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include "test_base.h" /* last: cmocka takes the word fail */

/* Whoever reads one of these in a 502 must know whose certificate it is about: "its" is the peer's, "ours" and "our" are what weir showed. */
static const struct {
    int error;
    const char *says;
} rows[] = {
    { ECONNREFUSED, "Connection refused" },
    { WIRE_CUT, "no close_notify came" },
    { WIRE_PLAIN_HTTP, "HTTP without TLS" },
    { WIRE_NOT_TLS, "does not speak TLS" },
    { WIRE_BROKEN, "is not allowed" },
    { WIRE_NO_MEMORY, "no memory" },
    { WIRE_SLOW, "took too long" },
    { WIRE_VERIFY + X509_V_ERR_CERT_HAS_EXPIRED, "its certificate has expired" },
    { WIRE_VERIFY + X509_V_ERR_CERT_NOT_YET_VALID, "not valid yet" },
    { WIRE_VERIFY + X509_V_ERR_HOSTNAME_MISMATCH, "its certificate is for another host name" },
    { WIRE_VERIFY + X509_V_ERR_IP_ADDRESS_MISMATCH, "its certificate is for another address" },
    { WIRE_VERIFY + X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "self-signed" },
    { WIRE_VERIFY + X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "an authority that is not trusted" },
    { WIRE_VERIFY + X509_V_ERR_INVALID_PURPOSE, "its certificate is not for servers" },
    { WIRE_VERIFY + X509_V_ERR_CERT_REVOKED, "certificate revoked" }, /* OpenSSL's own words where we have none */
    { WIRE_ALERT + SSL_AD_HANDSHAKE_FAILURE, "no common ground" },
    { WIRE_ALERT + SSL_AD_CERTIFICATE_REQUIRED, "requires a certificate of ours" },
    { WIRE_ALERT + SSL_AD_UNKNOWN_CA, "our certificate's authority" },
    { WIRE_ALERT + SSL_AD_BAD_CERTIFICATE, "does not accept our certificate" },
    { WIRE_ALERT + SSL_AD_CERTIFICATE_EXPIRED, "our certificate has expired" },
    { WIRE_ALERT + SSL_AD_UNRECOGNIZED_NAME, "the host name it was asked for" },
    { WIRE_ALERT + SSL_AD_PROTOCOL_VERSION, "neither TLS 1.2 nor 1.3" },
    { WIRE_ALERT + SSL_AD_NO_APPLICATION_PROTOCOL, "HTTP/1.1 over TLS" },
    { WIRE_ALERT + SSL_AD_INTERNAL_ERROR, "internal error" },
};

TEST(each_failure_is_told_in_words_of_its_own)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text = wire_error_text(rows[i].error);
        if (strstr(text, rows[i].says) == NULL)
            fail_msg("%d is told as \"%s\", not as %s", rows[i].error, text, rows[i].says);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(text, wire_error_text(rows[j].error));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_failure_is_told_in_words_of_its_own) };
    return cmocka_run_group_tests_name("net_wire", tests, NULL, NULL);
}
