/* wire.c: why a connection failed, in words for whoever reads a 502 or the log. Called wherever a connection's error is told. */
#include "net/wire.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>

static const char *verify_text(int code)
{
    switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "its certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "its certificate is not valid yet";
    case X509_V_ERR_HOSTNAME_MISMATCH:
        return "its certificate is for another host name";
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "its certificate is for another address";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return "its certificate is self-signed and not trusted";
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "its certificate comes from an authority that is not trusted";
    case X509_V_ERR_INVALID_PURPOSE:
        return "its certificate is not for servers";
    default:
        return X509_verify_cert_error_string(code);
    }
}

static const char *alert_text(int alert)
{
    switch (alert) {
    case SSL_AD_HANDSHAKE_FAILURE:
        return "it refused the TLS handshake: no common ground";
    case SSL_AD_CERTIFICATE_REQUIRED:
        return "it requires a certificate of ours";
    case SSL_AD_UNKNOWN_CA:
        return "it does not trust our certificate's authority";
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
        return "it does not accept our certificate";
    case SSL_AD_CERTIFICATE_EXPIRED:
        return "it says that our certificate has expired";
    case SSL_AD_UNRECOGNIZED_NAME:
        return "it does not know the host name it was asked for";
    case SSL_AD_PROTOCOL_VERSION:
        return "it speaks neither TLS 1.2 nor 1.3";
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return "it does not speak HTTP/1.1 over TLS";
    default:
        return SSL_alert_desc_string_long(alert);
    }
}

const char *wire_error_text(int error)
{
    switch (error) {
    case WIRE_CUT:
        return "the connection was cut: no close_notify came";
    case WIRE_PLAIN_HTTP:
        return "it spoke HTTP without TLS";
    case WIRE_NOT_TLS:
        return "it does not speak TLS there";
    case WIRE_BROKEN:
        return "TLS failed: what came is not allowed";
    case WIRE_NO_MEMORY:
        return "there is no memory left";
    case WIRE_SLOW:
        return "its TLS handshake took too long";
    default:
        break;
    }
    if (error >= WIRE_VERIFY)
        return verify_text(error - WIRE_VERIFY);
    return error >= WIRE_ALERT ? alert_text(error - WIRE_ALERT) : strerror(error);
}
