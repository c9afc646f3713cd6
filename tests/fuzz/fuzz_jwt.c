/* fuzz_jwt.c: any bytes as a token, and as the header (first line; none: a right one) and payload of a token that was signed. Oracles: bytes that nobody signed are
   never served; what is served has an algorithm that is HS256 to a second reader, an identity that is plain text, and the same identity when it was seen before; it is
   refused with another signature and behind its end; and what base64url takes has this one spelling. */
#include "auth/inner.h"
#include "base/base64url.h"
#include "base/json.h"
#include "fuzz/fuzz.h"
#include "lib/tokens.h"

#define NOW_S 1999999000LL
#define SKEW  (60 * NANOS_PER_S) /* the default */

static const struct conf *conf;
static struct worker worker;

static void start(void)
{
    char yaml[512];
    struct complaint why;
    tokens_start();
    snprintf(yaml, sizeof yaml, "jwt: {jwks: %s, issuer: id}\nbackends: {b: {url: \"http://x\"}}", tokens_path("set.json"));
    struct conf_options o = { .yaml = text_of(yaml) };
    ASSERT(conf_load(&o, &conf, &why));
}

static enum fail shows(struct auth *a, struct text token, struct identity *who)
{
    struct buf b;
    const char *why = NULL;
    buf_init(&b, 1u << 20);
    told(buf_add_text(&b, TEXT("Bearer ")));
    told(buf_add_text(&b, token));
    char *value = fuzz_copy(buf_text(&b));
    struct http_header header = { TEXT("authorization"), { value, buf_len(&b) }, HEADER_AUTHORIZATION };
    struct http_head head = { .count = 1, .headers = &header };
    head.first[HEADER_AUTHORIZATION] = 1;
    enum fail f = auth_check(a, &worker, &head, who, &why);
    mem_free(value);
    buf_fini(&b);
    ASSERT(f == OK || f == FAIL_BAD_TOKEN || f == FAIL_BAD_KEY || f == FAIL_NO_KEY);
    ASSERT(f != FAIL_BAD_TOKEN || (why != NULL && strpbrk(why, "\"\\") == NULL));
    return f;
}

static bool is_plain(struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.at[i] < 0x20 || t.at[i] == 0x7f)
            return false;
    return t.len > 0 && text_is_utf8(t);
}

static void check_identity(const struct identity *who)
{
    ASSERT(who->is_known && who->role == CONF_ROLE_USER && who->limits == NULL && who->priority == who->priority_max);
    ASSERT(is_plain(who->name) && who->name.len <= 64 && is_plain(who->tenant) && who->tenant.len <= 255);
    for (uint32_t i = 0; i < who->models.count; i++)
        ASSERT(is_plain(text_of(who->models.at[i])));
}

/* As a reader without our strictness sees it. */
static bool says_hs256(struct text header)
{
    yyjson_doc *doc = yyjson_read(header.at, header.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool is = yyjson_equals_str(yyjson_obj_get(root, "alg"), "HS256") && yyjson_obj_get(root, "crit") == NULL;
    yyjson_doc_free(doc);
    return is;
}

static void check_signed(struct text header, struct text payload)
{
    static char token[TOKEN_ROOM];
    struct identity who, again;
    char *h = mem_copy_text(header), *p = mem_copy_text(payload);
    struct auth *a = auth_new(conf, NULL);
    ASSERT(h != NULL && p != NULL && a != NULL);
    token_sign(SIGN_HS256, h, p, token);
    worker.wall = NOW_S * NANOS_PER_S;
    if (strlen(h) == header.len && strlen(p) == payload.len && shows(a, text_of(token), &who) == OK) {
        ASSERT(says_hs256(header));
        check_identity(&who);
        ASSERT(shows(a, text_of(token), &again) == OK);
        ASSERT(again.token == who.token && text_eq(again.tenant, who.tenant) && again.models.count == who.models.count);
        identity_end(&again);
        if (who.token->exp < NEVER - SKEW) {
            worker.wall = who.token->exp + SKEW;
            ASSERT(shows(a, text_of(token), &again) == FAIL_BAD_TOKEN);
        }
        worker.wall = NOW_S * NANOS_PER_S;
        char *signature = strrchr(token, '.') + 1;
        *signature = *signature == 'A' ? 'B' : 'A';
        ASSERT(shows(a, text_of(token), &again) == FAIL_BAD_TOKEN);
        auth_free(a);
        check_identity(&who); /* what was lent outlives the table */
        identity_end(&who);
    } else {
        auth_free(a);
    }
    mem_free(h);
    mem_free(p);
}

static void check_raw(struct text in)
{
    struct identity who;
    struct auth *a = auth_new(conf, NULL);
    ASSERT(a != NULL);
    worker.wall = NOW_S * NANOS_PER_S;
    ASSERT(shows(a, in, &who) != OK);
    auth_free(a);
}

static void check_base64url(struct text in)
{
    size_t len;
    char *copy = fuzz_copy(in), *again = mem_alloc(in.len + 8);
    uint8_t *bytes = mem_alloc(BASE64URL_BYTES(in.len));
    ASSERT(again != NULL && bytes != NULL);
    if (base64url_read((struct text){ copy, in.len }, bytes, &len)) {
        ASSERT(len <= BASE64URL_BYTES(in.len));
        size_t n = token_encode((struct text){ (char *)bytes, len }, again);
        ASSERT(n == in.len && memcmp(again, in.at, n) == 0);
    }
    mem_free(copy);
    mem_free(again);
    mem_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text in = { (const char *)data, MIN(size, (size_t)16384) }, rest = in;
    if (conf == NULL)
        start();
    int64_t before = mem_alive();
    struct text header = fuzz_line(&rest);
    check_signed(header.len > 0 ? header : TEXT("{\"alg\":\"HS256\"}"), rest);
    check_raw(in);
    check_base64url(in);
    ASSERT(mem_alive() == before);
    return 0;
}
