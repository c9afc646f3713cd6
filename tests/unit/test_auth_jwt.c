/* test_auth_jwt.c: units of auth/auth.h with signed tokens: which are taken, which never, and what is said about them. Tokens are made by lib/tokens.h, or stand
   in the RFCs. Each refused one stands beside a twin that is served. */
#include "auth/auth.h"
#include "lib/tokens.h"
#include "net/wire.h"
#include "test_base.h"

#define NOW_S 1999999000LL /* a thousand seconds before the end of most tokens here */

static const struct conf *conf;
static struct auth *auth;
static struct worker worker;
static char token[TOKEN_ROOM];
static const char *why;
static struct identity who; /* of the last that was served; ended by the next check */

static void house(const char *format, ...) PRINTF(1, 2);
/* format: the members of jwt */
static void house(const char *format, ...)
{
    char jwt[1024], yaml[1536];
    struct complaint wrong;
    va_list args;
    va_start(args, format);
    vsnprintf(jwt, sizeof jwt, format, args);
    va_end(args);
    snprintf(yaml, sizeof yaml, "keys: {a: {key: abc}, dots: {key: a.b.c}}\njwt: {%s}\nbackends: {b: {url: \"http://x\"}}", jwt);
    struct conf_options options = { .yaml = text_of(yaml) };
    identity_end(&who);
    auth_free(auth);
    conf_unref(conf);
    if (!conf_load(&options, &conf, &wrong))
        fail_msg("refused: %s", wrong.text);
    auth = auth_new(conf, NULL);
    assert_non_null(auth);
    worker.wall = NOW_S * NANOS_PER_S;
}

static int begin(void **state)
{
    (void)state;
    tokens_start();
    house("jwks: %s", tokens_path("set.json"));
    return 0;
}

static int end(void **state)
{
    (void)state;
    identity_end(&who);
    auth_free(auth);
    conf_unref(conf);
    auth = NULL;
    conf = NULL;
    return 0;
}

static enum fail shows(enum http_header_id id, struct text value)
{
    struct http_header header = { TEXT("x"), value, id };
    struct http_head head = { .count = 1, .headers = &header };
    head.first[id] = 1;
    identity_end(&who);
    why = "";
    return auth_check(auth, &worker, &head, &who, &why);
}

static enum fail bears(const char *value)
{
    static char bearer[TOKEN_ROOM + 16];
    snprintf(bearer, sizeof bearer, "Bearer %s", value);
    return shows(HEADER_AUTHORIZATION, text_of(bearer));
}

static void served(const char *value)
{
    enum fail f = bears(value);
    if (f != OK)
        fail_msg("%s: %s: %.300s", fail_name(f), why, value);
    assert_true(who.is_known && who.role == CONF_ROLE_USER);
}

/* sentence: a part of it */
static void refused(const char *value, const char *sentence)
{
    enum fail f = bears(value);
    if (f != FAIL_BAD_TOKEN || strstr(why, sentence) == NULL)
        fail_msg("%s: \"%s\", not \"%s\": %.300s", fail_name(f), why, sentence, value);
    assert_null(strpbrk(why, "\"\\")); /* it stands in a quoted string */
}

#define HEAD(kid, alg)  "{\"alg\":\"" alg "\",\"kid\":\"" kid "\"}"
#define CLAIMS(more)    "{\"sub\":\"ann\",\"exp\":2000000000" more "}"

static const char *made(enum signer by, const char *header, const char *payload) { return token_sign(by, header, payload, token); }
/* By the Ed25519 key, which is the quickest. */
static const char *with(const char *payload) { return made(SIGN_EDDSA, HEAD("ed", "EdDSA"), payload); }

static const struct {
    enum signer by, twin;
    const char *header, *alg_alone, *file;
} algs[] = {
    { SIGN_RS256, SIGN_RS256_TWIN, HEAD("rsa", "RS256"), "{\"alg\":\"RS256\"}", "rsa.pem" },
    { SIGN_ES256, SIGN_ES256_TWIN, HEAD("ec", "ES256"), "{\"alg\":\"ES256\"}", "ec.pem" },
    { SIGN_EDDSA, SIGN_EDDSA_TWIN, HEAD("ed", "EdDSA"), "{\"alg\":\"EdDSA\"}", "ed.pem" },
    { SIGN_HS256, SIGN_HS256, HEAD("oct", "HS256"), "{\"alg\":\"HS256\"}", "secret" },
};

TEST(each_algorithm_by_each_way_to_a_key)
{
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        house("jwks: %s", tokens_path("set.json"));
        served(made(algs[i].by, algs[i].header, CLAIMS("")));
        served(made(algs[i].by, algs[i].alg_alone, CLAIMS(""))); /* the only key of its kind */
        house("keys: [%s]", tokens_path(algs[i].file));
        served(made(algs[i].by, algs[i].alg_alone, CLAIMS("")));
        served(made(algs[i].by, algs[i].header, CLAIMS(""))); /* a key without a name is tried whatever the token calls it */
        if (algs[i].twin != algs[i].by)
            refused(made(algs[i].twin, algs[i].alg_alone, CLAIMS("")), "signature is wrong");
        else
            refused(token_sign_secret(TEXT(TOKENS_SECRET "\n"), algs[i].alg_alone, CLAIMS(""), token), "signature is wrong");
        for (size_t k = 0; k < ARRAY_LEN(algs); k++)
            if (k != i)
                refused(made(algs[k].by, algs[k].alg_alone, CLAIMS("")), "No key here");
    }
    house("keys: [%s, %s]", tokens_path("rsa.crt"), tokens_path("ec.pem"));
    served(made(SIGN_RS256, "{\"alg\":\"RS256\"}", CLAIMS("")));
}

/* Every bit of what was signed, and of the signature, counts; so does its length. */
TEST(a_changed_letter_is_a_wrong_token)
{
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        served(made(algs[i].by, algs[i].header, CLAIMS("")));
        size_t len = strlen(token);
        for (size_t at = 0; at < len; at += 7) {
            char was = token[at];
            token[at] = was == '.' ? '.' : was == 'A' ? 'B' : 'A';
            if (token[at] != was)
                assert_int_equal(bears(token), FAIL_BAD_TOKEN);
            token[at] = was;
        }
        snprintf(token + len, sizeof token - len, "AAAA");
        refused(token, "signature is wrong");
        token[len] = 0;
        served(token);
        token[len - 4] = 0;
        assert_int_equal(bears(token), FAIL_BAD_TOKEN);
        strrchr(token, '.')[1] = 0;
        refused(token, "signature is wrong");
    }
}

/* ---- the RFCs' own ---- */

TEST(the_examples_of_rfc_7515_and_8037)
{
    tokens_file("rfc.json", text_of(tokens_rfc_set));
    house("jwks: %s, tenant: iss", tokens_path("rfc.json"));
    for (size_t i = 0; i < ARRAY_LEN(tokens_rfc); i++) {
        worker.wall = 1300819379 * NANOS_PER_S;
        served(tokens_rfc[i]);
        assert_true(text_eq(who.tenant, TEXT("joe")));
        worker.wall = 1300819380 * NANOS_PER_S + 60 * NANOS_PER_S;
        refused(tokens_rfc[i], "expired");
    }
    /* 8037 A.4 signs a sentence that is no JSON: its signature holds, and that is all there is to hold */
    refused("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", "payload is not a JSON object");
    refused("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAA", "signature is wrong");
}

/* ---- hostile 41 ---- */

/* hostile 41: no spelling of none, and no algorithm that is not ours, with a signature or without. */
TEST(none_is_no_algorithm)
{
    static const char *const algs_wrong[] = {
        "\"none\"", "\"None\"", "\"NONE\"", "\"nOnE\"", "\"no\\u006ee\"", "\"none \"", "\"\"", "\" \"", "null", "0", "true", "[\"HS256\"]", "{}", "\"hs256\"", "\"HS256 \"", "\"HS256\\u0000\"",
        "\"HS384\"", "\"HS512\"", "\"RS384\"", "\"PS256\"", "\"ES256K\"", "\"ES384\"", "\"dir\"", "\"RSA-OAEP\"", "\"eddsa\"",
    };
    char header[128];
    for (size_t i = 0; i < ARRAY_LEN(algs_wrong); i++) {
        for (int kid = 0; kid < 2; kid++) {
            snprintf(header, sizeof header, "{\"alg\":%s%s}", algs_wrong[i], kid ? ",\"kid\":\"oct\"" : "");
            refused(made(SIGN_HS256, header, CLAIMS("")), "alg is not");
            strrchr(token, '.')[1] = 0;
            refused(token, "alg is not");
        }
    }
    refused(made(SIGN_HS256, "{\"typ\":\"JWT\"}", CLAIMS("")), "alg is not");
    served(made(SIGN_HS256, "{\"typ\":\"JWT\",\"alg\":\"HS256\"}", CLAIMS("")));
    served(made(SIGN_HS256, "{\"typ\":\"JWT\",\"alg\":\"HS\\u0032\\u00356\"}", CLAIMS(""))); /* another spelling of the same text */
}

static void confused(struct text secret)
{
    static const char *const headers[] = { HEAD("rsa", "HS256"), HEAD("ec", "HS256"), HEAD("ed", "HS256"), "{\"alg\":\"HS256\"}", HEAD("oct", "HS256"),
                                           HEAD("rsa", "RS256"), HEAD("ec", "ES256"), HEAD("oct", "RS256"), "{\"alg\":\"RS256\"}", "{\"alg\":\"EdDSA\"}" };
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        assert_int_equal(bears(token_sign_secret(secret, headers[i], CLAIMS(""), token)), FAIL_BAD_TOKEN);
}

/* hostile 41: what is public is never a secret, whatever a token says its algorithm is. */
TEST(a_public_key_is_no_secret)
{
    static const char *const files[] = { "rsa.pem", "ec.pem", "ed.pem", "rsa.crt", "set.json" };
    for (int only_public = 0; only_public < 2; only_public++) {
        if (only_public)
            house("keys: [%s, %s, %s]", tokens_path("rsa.pem"), tokens_path("ec.pem"), tokens_path("ed.pem"));
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
            struct text t = tokens_read(files[i]);
            confused(t);
            confused((struct text){ t.at, t.len - 1 });
            ptrdiff_t lines = text_find(t, TEXT("\n"));
            confused((struct text){ t.at + lines + 1, t.len - (size_t)lines - 1 });
        }
        confused(TEXT_NONE);
        confused(TEXT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        confused(TEXT("secret"));
        /* a key of one kind for the algorithm of another */
        for (size_t i = 0; i < 3; i++)
            for (size_t k = 0; k < ARRAY_LEN(algs); k++)
                if (k != i)
                    assert_int_equal(bears(made(algs[i].by, algs[k].header, CLAIMS(""))), FAIL_BAD_TOKEN);
    }
}

/* hostile 41: a kid is compared with the names of keys; nothing is opened, asked or fetched because of it, nor because of anything else in the header. */
TEST(a_header_leads_nowhere)
{
    static const char *const kids[] = { "\"../../../../dev/null\"", "\"/dev/null\"", "\"file:///dev/null\"", "\"' OR '1'='1\"", "\"' UNION SELECT 'x' --\"", "\"\"", "\"RSA\"", "\"rs\"", "\"rsa \"",
                                        "\"rsa\\u0000\"", "\"http://id.example/keys\"", "\"*\"", "\"%s%n\"", "\"oct\"" };
    static const char *const no_texts[] = { "null", "0", "[\"ed\"]", "{\"ed\":1}", "true" };
    static const char *const more[] = { "\"jku\":\"http://10.0.0.1/keys\"", "\"x5u\":\"http://10.0.0.1/keys\"", "\"x5c\":[\"MII\"]", "\"typ\":\"at+jwt\"", "\"cty\":\"JWT\"",
                                        "\"jwk\":{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}" };
    char header[512];
    for (size_t i = 0; i < ARRAY_LEN(kids); i++) {
        snprintf(header, sizeof header, "{\"alg\":\"EdDSA\",\"kid\":%s}", kids[i]);
        refused(made(SIGN_EDDSA, header, CLAIMS("")), "No key here");
        snprintf(header, sizeof header, "{\"alg\":\"HS256\",\"kid\":%s}", kids[i]);
        assert_int_equal(bears(token_sign_secret(TEXT_NONE, header, CLAIMS(""), token)), FAIL_BAD_TOKEN); /* what a kid that leads to an empty file would get */
    }
    for (size_t i = 0; i < ARRAY_LEN(no_texts); i++) {
        snprintf(header, sizeof header, "{\"alg\":\"EdDSA\",\"kid\":%s}", no_texts[i]);
        refused(made(SIGN_EDDSA, header, CLAIMS("")), "kid is not a text");
    }
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        snprintf(header, sizeof header, "{\"alg\":\"EdDSA\",\"kid\":\"ed\",%s}", more[i]);
        served(made(SIGN_EDDSA, header, CLAIMS("")));
        refused(made(SIGN_EDDSA_TWIN, header, CLAIMS("")), "signature is wrong");
    }
    refused(made(SIGN_EDDSA, "{\"alg\":\"EdDSA\",\"crit\":[\"exp\"],\"exp\":1}", CLAIMS("")), "crit");
    refused(made(SIGN_EDDSA, "{\"alg\":\"EdDSA\",\"crit\":[]}", CLAIMS("")), "crit");
    refused(made(SIGN_EDDSA, "{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":false}", CLAIMS("")), "crit");
}

/* hostile 41: from when and until when, to the second, and the skew of 60 around it. */
TEST(a_token_has_its_time)
{
    static const struct {
        const char *payload, *sentence; /* NULL = served */
    } rows[] = {
        { "{\"sub\":\"a\",\"exp\":1999998941}", NULL },
        { "{\"sub\":\"a\",\"exp\":1999998940}", "expired" },
        { "{\"sub\":\"a\",\"exp\":1999998940.5}", NULL },
        { "{\"sub\":\"a\",\"exp\":0}", "expired" },
        { "{\"sub\":\"a\",\"exp\":-1}", "expired" },
        { "{\"sub\":\"a\",\"exp\":-9223372036854775808}", "expired" },
        { "{\"sub\":\"a\",\"exp\":18446744073709551615}", NULL },
        { "{\"sub\":\"a\",\"exp\":99999999999999999999999}", NULL },
        { "{\"sub\":\"a\",\"exp\":1e300}", NULL },
        { "{\"sub\":\"a\",\"exp\":-1e300}", "expired" },
        { "{\"sub\":\"a\",\"exp\":1e999}", "payload" },
        { "{\"sub\":\"a\"}", "no exp" },
        { "{\"sub\":\"a\",\"exp\":null}", "no exp" },
        { "{\"sub\":\"a\",\"exp\":\"2000000000\"}", "no exp" },
        { "{\"sub\":\"a\",\"exp\":[2000000000]}", "no exp" },
        { "{\"sub\":\"a\",\"exp\":true}", "no exp" },
        { "{\"sub\":\"a\",\"Exp\":2000000000}", "no exp" },
        { CLAIMS(",\"nbf\":1999999060"), NULL },
        { CLAIMS(",\"nbf\":1999999061"), "not valid yet" },
        { CLAIMS(",\"nbf\":1e300"), "not valid yet" },
        { CLAIMS(",\"nbf\":-5"), NULL },
        { CLAIMS(",\"nbf\":null"), "nbf is not" },
        { CLAIMS(",\"nbf\":\"0\""), "nbf is not" },
        { CLAIMS(",\"iat\":\"whenever\""), NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].sentence == NULL)
            served(with(rows[i].payload));
        else
            refused(with(rows[i].payload), rows[i].sentence);
    house("jwks: %s, skew: 0s", tokens_path("set.json"));
    served(with("{\"sub\":\"a\",\"exp\":1999999001,\"nbf\":1999999000}"));
    refused(with("{\"sub\":\"a\",\"exp\":1999999000}"), "expired");
    refused(with(CLAIMS(",\"nbf\":1999999001")), "not valid yet");
}

TEST(a_token_is_for_whom_it_says)
{
    house("jwks: %s, issuer: \"https://id.example\", audience: weir", tokens_path("set.json"));
#define ISS ",\"iss\":\"https://id.example\""
    served(with(CLAIMS(ISS ",\"aud\":\"weir\"")));
    served(with(CLAIMS(ISS ",\"aud\":[\"other\",\"weir\"]")));
    refused(with(CLAIMS(ISS ",\"aud\":[\"other\"]")), "another audience");
    refused(with(CLAIMS(ISS ",\"aud\":[]")), "another audience");
    refused(with(CLAIMS(ISS ",\"aud\":[[\"weir\"]]")), "another audience");
    refused(with(CLAIMS(ISS ",\"aud\":{\"weir\":1}")), "another audience");
    refused(with(CLAIMS(ISS ",\"aud\":\"weir2\"")), "another audience");
    refused(with(CLAIMS(ISS ",\"aud\":\"WEIR\"")), "another audience");
    refused(with(CLAIMS(ISS)), "another audience");
    refused(with(CLAIMS(",\"aud\":\"weir\"")), "another issuer");
    refused(with(CLAIMS(",\"aud\":\"weir\",\"iss\":[\"https://id.example\"]")), "another issuer");
    refused(with(CLAIMS(",\"aud\":\"weir\",\"iss\":\"https://id.example/\"")), "another issuer");
    refused(with(CLAIMS(",\"aud\":\"weir\",\"iss\":\"https://id.example\\u0000\"")), "another issuer");
}

/* hostile 41: names twice, nesting, size, bytes that are no JSON or no base64url. */
TEST(a_token_is_read_in_one_way)
{
    static const char *const payloads[] = { "", "null", "[]", "\"x\"", "{", CLAIMS("") " x", "\xef\xbb\xbf" CLAIMS(""), CLAIMS(",\"sub\":\"bob\""), CLAIMS(",\"s\\u0075b\":\"bob\""), CLAIMS(",\"a\":{\"b\":1,\"b\":2}"),
                                            CLAIMS(",\"a\":\"\xff\""), CLAIMS(",\"a\":NaN"), CLAIMS(",}"), CLAIMS(",\"a\\u0000\":1"), "{'sub':'ann','exp':2000000000}" };
    static const char *const headers[] = { "", "null", "[]", "{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\"}", "{\"alg\":\"EdDSA\",\"a\\u006cg\":\"none\"}", "{\"alg\":\"none\",\"alg\":\"EdDSA\"}", "{\"alg\":\"EdDSA\"} ,", "EdDSA" };
    char payload[TOKEN_ROOM / 2];
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++)
        refused(with(payloads[i]), "payload is not a JSON object");
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        refused(made(SIGN_EDDSA, headers[i], CLAIMS("")), "header is not a JSON object");
    for (int deep = 63; deep <= 64; deep++) { /* the object itself is a level */
        snprintf(payload, sizeof payload, "{\"sub\":\"a\",\"exp\":2000000000,\"x\":%.*s0%.*s}", deep, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", deep,
                 "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
        if (deep == 63)
            served(with(payload));
        else
            refused(with(payload), "payload");
    }
    for (unsigned pad = 5800; pad < 6100; pad++) { /* around 8 KiB, to the byte */
        snprintf(payload, sizeof payload, "{\"sub\":\"a\",\"exp\":2000000000,\"x\":\"%0*d\"}", (int)pad, 0);
        with(payload);
        if (strlen(token) <= 8192)
            served(token);
        else
            refused(token, "longer than 8 KiB");
    }
    snprintf(payload, sizeof payload, "{\"sub\":\"a\",\"exp\":2000000000,\"x\":\"%060000d\"}", 0);
    refused(with(payload), "longer than 8 KiB");
    size_t n = (size_t)snprintf(payload, sizeof payload, "{\"sub\":\"a\",\"exp\":2000000000,\"x\":[0"); /* the tree that is largest for its bytes */
    while (n < 5900)
        n += (size_t)snprintf(payload + n, sizeof payload - n, ",0");
    snprintf(payload + n, sizeof payload - n, "]}");
    served(with(payload));
}

/* hostile 41: other spellings of the same bytes are other tokens, and none of ours. */
TEST(base64url_has_one_spelling)
{
    static char other[TOKEN_ROOM + 8];
    served(with(CLAIMS("")));
    size_t len = strlen(token), last = len - 1; /* 64 bytes: the last letter holds two bits that are none */
    for (const char *end_of = "==", *c = end_of; *c != 0; c++) {
        snprintf(other, sizeof other, "%s%s", token, c);
        refused(other, "signature is not base64url");
    }
    for (unsigned bits = 1; bits < 16; bits++) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        snprintf(other, sizeof other, "%s", token);
        other[last] = letters[(unsigned)(strchr(letters, token[last]) - letters) + bits < 64 ? (unsigned)(strchr(letters, token[last]) - letters) + bits : 1];
        assert_int_equal(bears(other), FAIL_BAD_TOKEN);
    }
    for (const char *c = "+/=,~ \x01\x80"; *c != 0; c++) {
        snprintf(other, sizeof other, "%s", token);
        strrchr(other, '.')[1] = *c;
        assert_int_equal(bears(other), FAIL_BAD_TOKEN);
        other[0] = *c;
        if (*c != ' ')
            assert_int_equal(bears(other), FAIL_BAD_TOKEN);
    }
    /* one dot or three are a key, which nobody knows */
    snprintf(other, sizeof other, "%s.", token);
    assert_int_equal(bears(other), FAIL_BAD_KEY);
    snprintf(other, sizeof other, ".%s", token);
    assert_int_equal(bears(other), FAIL_BAD_KEY);
    *strrchr(token, '.') = 0;
    assert_int_equal(bears(token), FAIL_BAD_KEY);
    assert_int_equal(bears(".."), FAIL_BAD_TOKEN);
    assert_int_equal(bears("..."), FAIL_BAD_KEY);
    assert_int_equal(bears("abc"), OK);
    assert_int_equal(bears("a.b.c"), OK); /* a key that looks like a token is still a key */
    assert_true(text_eq(who.name, TEXT("dots")));
}

/* A signature by ES256 is r and s, 32 bytes each (RFC 7518 3.4), not what X.509 has. */
TEST(es256_is_sixty_four_bytes)
{
    static const unsigned char der[] = { 0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01 };
    unsigned char zero[65] = { 0 };
    char *signature;
    served(made(SIGN_ES256, HEAD("ec", "ES256"), CLAIMS("")));
    signature = strrchr(token, '.') + 1;
    token_encode((struct text){ (const char *)der, sizeof der }, signature);
    refused(token, "signature is wrong");
    for (size_t n = 63; n <= 65; n++) {
        token_encode((struct text){ (const char *)zero, n }, signature); /* r = s = 0: taken by Java in 2022 (CVE-2022-21449) */
        refused(token, "signature is wrong");
    }
    memset(zero, 0xff, sizeof zero);
    token_encode((struct text){ (const char *)zero, 64 }, signature);
    refused(token, "signature is wrong");
}

/* ---- what claims mean ---- */

static void means(const char *payload, const char *name, const char *tenant)
{
    served(with(payload));
    assert_true(text_eq(who.name, text_of(name)));
    assert_true(text_eq(who.tenant, text_of(tenant)));
}

TEST(claims_name_the_tenant)
{
    char payload[1024];
    means(CLAIMS(""), "ann", "ann");
    means(CLAIMS(",\"tenant\":\"acme\""), "ann", "acme");
    assert_int_equal(who.owner, OWNER_TENANT);
    means("{\"sub\":\"acme\",\"exp\":2e9}", "acme", "acme");
    assert_int_equal(who.owner, OWNER_SUB); /* it goes by that name, and gets nothing of the tenant acme */
    means("{\"tenant\":\"acme\",\"exp\":2e9}", "acme", "acme");
    means("{\"sub\":\"\",\"tenant\":\"acme\",\"exp\":2e9}", "acme", "acme");
    means("{\"sub\":\"a\\u0007b\\u202ec\\n\",\"tenant\":\"acme\",\"exp\":2e9}", "a?b?c?", "acme"); /* hostile for logs, and no more than a name */
    means("{\"sub\":\"0123456789012345678901234567890123456789012345678901234567890123456789\",\"exp\":2e9}", "0123456789012345678901234567890123456789012345678901234567890123",
          "0123456789012345678901234567890123456789012345678901234567890123456789");
    means("{\"sub\":\"012345678901234567890123456789012345678901234567890123456789012\xc3\xa9\",\"tenant\":\"acme\",\"exp\":2e9}", "012345678901234567890123456789012345678901234567890123456789012", "acme");
    refused(with("{\"exp\":2e9}"), "neither its tenant nor its sub");
    refused(with("{\"sub\":5,\"exp\":2e9}"), "sub is not a text");
    refused(with("{\"sub\":5,\"tenant\":\"acme\",\"exp\":2e9}"), "sub is not a text");
    refused(with("{\"sub\":\"\",\"exp\":2e9}"), "not a plain text");
    refused(with("{\"sub\":\"a\\u0000b\",\"exp\":2e9}"), "not a plain text");
    for (size_t i = 0; i < 6; i++) {
        static const char *const wrong[] = { "null", "\"\"", "5", "[\"acme\"]", "\"ac\\u0000me\"", "\"a\\nb\"" };
        snprintf(payload, sizeof payload, CLAIMS(",\"tenant\":%s"), wrong[i]);
        refused(with(payload), "not a plain text");
    }
    snprintf(payload, sizeof payload, CLAIMS(",\"tenant\":\"%0255d\""), 0);
    served(with(payload));
    snprintf(payload, sizeof payload, CLAIMS(",\"tenant\":\"%0256d\""), 0); /* never cut: two tenants would become one */
    refused(with(payload), "not a plain text");
    house("jwks: %s, tenant: \"https://weir/org\"", tokens_path("set.json"));
    means(CLAIMS(",\"tenant\":\"acme\",\"https://weir/org\":\"other\""), "ann", "other");
}

TEST(claims_name_the_class)
{
    served(with(CLAIMS("")));
    assert_true(who.priority == CONF_CLASS_NORMAL && who.priority_max == CONF_CLASS_NORMAL);
    served(with(CLAIMS(",\"priority\":\"high\"")));
    assert_true(who.priority == CONF_CLASS_HIGH && who.priority_max == CONF_CLASS_HIGH);
    served(with(CLAIMS(",\"priority\":\"low\"")));
    assert_true(who.priority == CONF_CLASS_LOW && who.priority_max == CONF_CLASS_LOW);
    refused(with(CLAIMS(",\"priority\":\"High\"")), "priority is not");
    refused(with(CLAIMS(",\"priority\":2")), "priority is not");
    refused(with(CLAIMS(",\"priority\":null")), "priority is not");
    house("jwks: %s, priority: tier", tokens_path("set.json"));
    served(with(CLAIMS(",\"priority\":\"high\",\"tier\":\"low\"")));
    assert_int_equal(who.priority, CONF_CLASS_LOW);
}

/* A list of nothing is not "all". And a role is nothing that a token could have. */
TEST(claims_name_the_models)
{
    static const char *const wrong[] = { "[]", "\"\"", "\" \"", "null", "5", "{}", "[5]", "[\"a\",null]", "[\"\"]", "[\"a\\u0000\"]", "[[\"a\"]]", "\"a\\nb\"" };
    char payload[4096];
    served(with(CLAIMS(",\"role\":\"admin\"")));
    assert_true(auth_may_use(&who, TEXT("whatever")) && who.role == CONF_ROLE_USER);
    served(with(CLAIMS(",\"models\":[\"chat\",\"embed\"]")));
    assert_true(auth_may_use(&who, TEXT("chat")) && auth_may_use(&who, TEXT("embed")) && !auth_may_use(&who, TEXT("cha")) && !auth_may_use(&who, TEXT_NONE));
    served(with(CLAIMS(",\"models\":\" chat  embed \"")));
    assert_true(who.models.count == 2 && auth_may_use(&who, TEXT("chat")) && auth_may_use(&who, TEXT("embed")) && !auth_may_use(&who, TEXT("chat  embed")));
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        snprintf(payload, sizeof payload, CLAIMS(",\"models\":%s"), wrong[i]);
        refused(with(payload), "models are not a list");
    }
    for (int count = 64; count <= 65; count++) {
        size_t n = (size_t)snprintf(payload, sizeof payload, "{\"sub\":\"a\",\"exp\":2e9,\"models\":\"");
        for (int i = 0; i < count; i++)
            n += (size_t)snprintf(payload + n, sizeof payload - n, "m%d ", i);
        snprintf(payload + n, sizeof payload - n, "\"}");
        if (count == 64)
            served(with(payload));
        else
            refused(with(payload), "models are not a list");
    }
}

/* ---- tokens that were seen ---- */

/* hostile 36: no part of a token that was seen, and nothing that begins like it, is it. */
TEST(only_the_whole_token_was_seen)
{
    static char other[TOKEN_ROOM];
    served(with(CLAIMS("")));
    served(token);
    size_t len = strlen(token);
    for (size_t n = 1; n < len; n++) {
        snprintf(other, sizeof other, "%.*s", (int)n, token);
        assert_int_not_equal(bears(other), OK);
    }
    for (size_t i = 0; i < len; i++) {
        snprintf(other, sizeof other, "%s", token);
        other[i] = other[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(bears(other), OK);
    }
    served(token);
    assert_int_equal(shows(HEADER_X_API_KEY, text_of(token)), FAIL_BAD_KEY); /* a token is a bearer's */
}

/* hostile 92: whatever the clock does, a token that was seen is asked for its time at every use. */
TEST(a_seen_token_ends_with_its_time)
{
    served(with(CLAIMS(",\"nbf\":1999998000")));
    worker.wall = (NOW_S + 86400) * NANOS_PER_S;
    refused(token, "expired");
    worker.wall = NOW_S * NANOS_PER_S;
    served(token);
    worker.wall = (NOW_S - 3600) * NANOS_PER_S;
    refused(token, "not valid yet");
    worker.wall = 2000000059 * NANOS_PER_S;
    served(token);
    worker.wall = 2000000060 * NANOS_PER_S;
    refused(token, "expired");
}

/* A reload asks anew: what its keys no longer sign is gone. Who asked before keeps what was lent. */
TEST(a_new_configuration_has_seen_nothing)
{
    served(with(CLAIMS(",\"tenant\":\"acme\",\"models\":[\"chat\"]")));
    struct identity old = who;
    who = identity_open();
    house("keys: [%s]", tokens_path("rsa.pem"));
    refused(token, "No key here");
    assert_true(text_eq(old.tenant, TEXT("acme")) && auth_may_use(&old, TEXT("chat")) && !auth_may_use(&old, TEXT("m")));
    identity_end(&old);
    identity_end(&old);
}

/* More tokens than places: all are served, what is held stays bounded, and who is asked for again and again stays. */
TEST(what_is_remembered_is_bounded)
{
    char payload[128], *often = mem_copy_text(text_of(with(CLAIMS(""))));
    assert_non_null(often);
    served(often);
    struct identity held = who;
    who = identity_open();
    int64_t before = mem_alive();
    for (int i = 0; i < 3000; i++) {
        snprintf(payload, sizeof payload, "{\"sub\":\"user-%d\",\"exp\":2e9}", i);
        served(token_sign(SIGN_HS256, HEAD("oct", "HS256"), payload, token));
        served(often);
    }
    assert_in_range(mem_alive() - before, 900, 1024 + 8);
    assert_true(text_eq(held.name, TEXT("ann")));
    identity_end(&held);
    mem_free(often);
}

/* ---- keys that come while we run ---- */

static struct keyring *ring_of(const char *key)
{
    struct keyring *r = keyring_new(key != NULL);
    assert_non_null(r);
    if (key == NULL)
        return r;
    r->keys[0] = (struct conf_key){ .name = arena_copy(&r->arena, TEXT("new")), .tenant = arena_copy(&r->arena, TEXT("acme")), .priority = CONF_CLASS_LOW, .limits = { .rpm = 7 } };
    /* SHA-256 of "abcd" */
    static const uint8_t hash[32] = { 0x88, 0xd4, 0x26, 0x6f, 0xd4, 0xe6, 0x33, 0x8d, 0x13, 0xb8, 0x45, 0xfc, 0xf2, 0x89, 0x57, 0x9d,
                                      0x20, 0x9c, 0x89, 0x78, 0x23, 0xb9, 0x21, 0x7d, 0xa3, 0xe1, 0x61, 0x93, 0x6f, 0x03, 0x15, 0x89 };
    memcpy(r->keys[0].sha256, hash, sizeof hash);
    return r;
}

static void renew(struct keyring *r)
{
    struct auth *next = auth_new(conf, r);
    assert_non_null(next);
    auth_free(auth);
    auth = next;
    keyring_unref(r);
}

TEST(a_ring_brings_keys_and_takes_them)
{
    assert_int_equal(bears("abcd"), FAIL_BAD_KEY);
    renew(ring_of("abcd"));
    assert_int_equal(bears("abcd"), OK);
    assert_true(text_eq(who.name, TEXT("new")) && who.limits->rpm == 7);
    struct identity held = who;
    who = identity_open();
    assert_int_equal(bears("abc"), OK);
    renew(ring_of(NULL));
    assert_int_equal(bears("abcd"), FAIL_BAD_KEY);
    assert_int_equal(bears("abc"), OK);
    assert_true(text_eq(held.tenant, TEXT("acme")) && held.limits->rpm == 7);
    identity_end(&held);
}

/* Where nothing is configured everybody may; once there was a ring, revoking its last key opens nothing. */
TEST(an_empty_ring_still_asks)
{
    struct complaint wrong;
    struct conf_options options = { .yaml = TEXT("backends: {b: {url: \"http://x\"}}") };
    conf_unref(conf);
    assert_true(conf_load(&options, &conf, &wrong));
    renew(NULL);
    assert_int_equal(bears("whatever"), OK);
    assert_false(who.is_known);
    renew(ring_of(NULL));
    assert_int_equal(bears("whatever"), FAIL_BAD_KEY);
    renew(ring_of("abcd"));
    assert_int_equal(bears("abcd"), OK);
}

/* ---- memory ---- */

/* Fails each allocation in turn, OpenSSL's too: a right token is served or finds no memory, and is never called wrong. */
TEST(short_memory_is_no_wrong_signature)
{
    unsigned refusals = 0;
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        made(algs[i].by, algs[i].header, CLAIMS(",\"models\":[\"chat\"]"));
        for (uint64_t nth = 1, count = UINT64_MAX; nth <= count; nth++) {
            house("jwks: %s", tokens_path("set.json"));
            (void)mem_fault(nth);
            enum fail f = bears(token);
            count = mem_fault(0);
            if (f != OK && f != FAIL_NO_MEMORY)
                fail_msg("allocation %llu of %llu, algorithm %zu: %s, %s", (unsigned long long)nth, (unsigned long long)count, i, fail_name(f), why);
            refusals += f != OK;
            served(token);
        }
    }
    assert_true(refusals > 20);
}

int main(void)
{
    wire_library_start();
#define ROW(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        ROW(each_algorithm_by_each_way_to_a_key),
        ROW(a_changed_letter_is_a_wrong_token),
        ROW(the_examples_of_rfc_7515_and_8037),
        ROW(none_is_no_algorithm),
        ROW(a_public_key_is_no_secret),
        ROW(a_header_leads_nowhere),
        ROW(a_token_has_its_time),
        ROW(a_token_is_for_whom_it_says),
        ROW(a_token_is_read_in_one_way),
        ROW(base64url_has_one_spelling),
        ROW(es256_is_sixty_four_bytes),
        ROW(claims_name_the_tenant),
        ROW(claims_name_the_class),
        ROW(claims_name_the_models),
        ROW(only_the_whole_token_was_seen),
        ROW(a_seen_token_ends_with_its_time),
        ROW(a_new_configuration_has_seen_nothing),
        ROW(what_is_remembered_is_bounded),
        ROW(a_ring_brings_keys_and_takes_them),
        ROW(an_empty_ring_still_asks),
        ROW(short_memory_is_no_wrong_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
