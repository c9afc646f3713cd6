/* vault.c: what a reload reads again and nobody should find meanwhile: the environment and the --set options, as they were given. They move into a file of
   memory that no process maps, so that neither `ps`, nor /proc/PID/environ, nor a core dump has them. cli/serve.c fills it, and opens it for each load. */
#include "keeper/keeper.h"
#include "base/account.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ASIDE_STACK     (1u << 20)  /* YAML and certificates are read on it */
#define VAULT_BYTES_MAX (16u << 20) /* the kernel gives a program 6 MiB of words at most */

/* What this program, its libraries and the tools that watch it ask for themselves. Where one ends in '*', whatever begins like it. */
static const char *const kept[] = { "PATH", "HOME", "USER", "LANG", "LC_*", "TZ", "TERM", "NO_COLOR", "TMPDIR", "XDG_*", "STATE_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_*",
                                    "WEIR_LOCAL", "LD_*", "MALLOC_*", "GLIBC_TUNABLES", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "OPENSSL_CONF",
                                    "SSL_CERT_*", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy" };

static bool is_kept(struct text name)
{
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        struct text k = text_of(kept[i]);
        if (text_ends(k, TEXT("*")) ? text_starts(name, (struct text){ k.at, k.len - 1 }) : text_eq(name, k))
            return true;
    }
    return false;
}

/* NAME=VALUE: what stands behind the first '='. */
static struct text value_of(const char *word, struct text *out_name)
{
    return text_cut(text_of(word), '=', out_name);
}

static bool write_all(int fd, struct text t)
{
    while (t.len > 0) {
        ssize_t n = write(fd, t.at, t.len);
        if (n < 0 && errno != EINTR)
            return false;
        t.at += MAX(n, 0);
        t.len -= (size_t)MAX(n, 0);
    }
    return true;
}

static bool write_words(struct vault *v, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t bytes = strlen(words[i]) + 1; /* the NUL too */
        if (!write_all(v->fd, (struct text){ words[i], bytes }))
            return false;
        v->bytes += bytes;
    }
    return true;
}

/* A key that was given as --set is in `ps` from the start; from now on it is not. The rest of the words stays: an operator looks there. */
static void blot(const char *set)
{
    struct text name, value = value_of(set, &name);
    if (text_ends(name, TEXT(".key")) && value.len > 0)
        memset((char *)(uintptr_t)value.at, '*', value.len);
}

bool vault_fill(struct vault *v, char **variables, const char *const *sets, size_t sets_count, struct complaint *why)
{
    size_t count = 0;
    while (variables[count] != NULL)
        count++;
    *v = (struct vault){ .fd = memfd_create("weir", MFD_CLOEXEC), .environ_count = count, .sets_count = sets_count };
    if (v->fd < 0 || !write_words(v, (const char *const *)variables, count) || !write_words(v, sets, sets_count) || v->bytes > VAULT_BYTES_MAX)
        return complain(why, NULL, 0, 0, "cannot put the environment aside: %s", strerror(errno));
    for (size_t i = 0; i < count; i++) {
        struct text name, value = value_of(variables[i], &name);
        if (!is_kept(name))
            mem_wipe((char *)(uintptr_t)value.at, value.len);
    }
    for (size_t i = 0; i < sets_count; i++)
        blot(sets[i]);
    return true;
}

static bool read_all(const struct vault *v, struct buf *out)
{
    if (buf_reserve(out, v->bytes) != OK)
        return false;
    while (buf_len(out) < v->bytes) {
        ssize_t n = pread(v->fd, buf_end(out), v->bytes - buf_len(out), (off_t)buf_len(out));
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        buf_added(out, (size_t)MAX(n, 0));
    }
    return true;
}

bool vault_open(const struct vault *v, struct vault_words *out, struct complaint *why)
{
    size_t count = v->environ_count + v->sets_count + 1; /* the NULL behind the environment */
    *out = (struct vault_words){ .at = mem_alloc(count * sizeof *out->at) };
    buf_init_secret(&out->bytes, VAULT_BYTES_MAX);
    if (out->at == NULL || !read_all(v, &out->bytes)) {
        vault_close(out);
        return complain(why, NULL, 0, 0, "cannot read the environment that was put aside: no memory left");
    }
    char *word = out->bytes.mem;
    for (size_t i = 0; i < count; i++) {
        out->at[i] = i == v->environ_count ? NULL : word;
        word += out->at[i] != NULL ? strlen(word) + 1 : 0;
    }
    out->environ = out->at;
    out->sets = (const char *const *)(out->at + v->environ_count + 1);
    return true;
}

void vault_close(struct vault_words *words)
{
    buf_fini(&words->bytes); /* wiped */
    mem_free(words->at);
    *words = (struct vault_words){ 0 };
}

struct aside {
    void (*fn)(void *arg);
    void *arg;
};

static void *aside_thread(void *p)
{
    struct aside *a = p;
    a->fn(a->arg);
    account_settle();
    return NULL;
}

bool vault_aside(void (*fn)(void *arg), void *arg, struct complaint *why)
{
    struct aside a = { fn, arg };
    pthread_attr_t attr;
    pthread_t thread;
    void *stack = mmap(NULL, ASIDE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    int error = stack == MAP_FAILED ? errno : pthread_attr_init(&attr);
    if (error == 0) {
        error = pthread_attr_setstack(&attr, stack, ASIDE_STACK); /* one of its own: glibc would keep it mapped for the next thread */
        if (error == 0)
            error = pthread_create(&thread, &attr, aside_thread, &a);
        (void)pthread_attr_destroy(&attr);
    }
    if (error == 0)
        (void)pthread_join(thread, NULL); /* cannot fail: it is ours, and joined once */
    if (stack != MAP_FAILED)
        (void)munmap(stack, ASIDE_STACK);
    return error == 0 || complain(why, NULL, 0, 0, "cannot start a thread to read the configuration on: %s", strerror(error));
}
