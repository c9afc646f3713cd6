/* torn.c: see torn.h. A VFS of SQLite (sqlite.org/vfs.html) over the usual one, which remembers each file as it was at its last sync. */
#include "lib/torn.h"
#include "base/base.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX  16
#define BYTES_MAX  (4 << 20)
#define SECTOR     512
#define NAME_BYTES 512

struct image {
    char name[NAME_BYTES];
    unsigned char *now, *synced;
    sqlite3_int64 now_len, synced_len;
};

struct torn_file {
    sqlite3_file base;
    struct image *image; /* NULL: a temporary file */
    sqlite3_file *real;
};

static sqlite3_vfs vfs, *under;
static const char *watched;
static struct image images[FILES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static sqlite3_file *real_of(sqlite3_file *f) { return ((struct torn_file *)(void *)f)->real; }

static struct image *image_of(const char *name)
{
    for (int i = 0; i < FILES_MAX; i++) {
        if (images[i].now == NULL) {
            snprintf(images[i].name, NAME_BYTES, "%s", name);
            images[i].now = calloc(1, BYTES_MAX);
            images[i].synced = calloc(1, BYTES_MAX);
            ASSERT(images[i].now != NULL && images[i].synced != NULL);
            return &images[i];
        }
        if (strcmp(images[i].name, name) == 0)
            return &images[i];
    }
    ASSERT(!"more files than the test has room for");
    return NULL;
}

static int torn_close(sqlite3_file *f) { return real_of(f)->pMethods->xClose(real_of(f)); }
static int torn_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at) { return real_of(f)->pMethods->xRead(real_of(f), to, n, at); }
static int torn_size(sqlite3_file *f, sqlite3_int64 *out) { return real_of(f)->pMethods->xFileSize(real_of(f), out); }
static int torn_lock(sqlite3_file *f, int how) { return real_of(f)->pMethods->xLock(real_of(f), how); }
static int torn_unlock(sqlite3_file *f, int how) { return real_of(f)->pMethods->xUnlock(real_of(f), how); }
static int torn_reserved(sqlite3_file *f, int *out) { return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out); }
static int torn_control(sqlite3_file *f, int op, void *arg) { return real_of(f)->pMethods->xFileControl(real_of(f), op, arg); }
static int torn_sector(sqlite3_file *f) { (void)f; return SECTOR; }
static int torn_traits(sqlite3_file *f) { (void)f; return 0; } /* promises nothing of a modern disk */
static int torn_shm_map(sqlite3_file *f, int i, int n, int grow, void volatile **out) { return real_of(f)->pMethods->xShmMap(real_of(f), i, n, grow, out); }
static int torn_shm_lock(sqlite3_file *f, int at, int n, int how) { return real_of(f)->pMethods->xShmLock(real_of(f), at, n, how); }
static void torn_shm_barrier(sqlite3_file *f) { real_of(f)->pMethods->xShmBarrier(real_of(f)); }
static int torn_shm_unmap(sqlite3_file *f, int gone) { return real_of(f)->pMethods->xShmUnmap(real_of(f), gone); }

static int torn_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    struct image *m = ((struct torn_file *)(void *)f)->image;
    if (m != NULL) {
        ASSERT(at + n <= BYTES_MAX);
        pthread_mutex_lock(&lock);
        memcpy(m->now + at, from, (size_t)n);
        m->now_len = MAX(m->now_len, at + n);
        pthread_mutex_unlock(&lock);
    }
    return real_of(f)->pMethods->xWrite(real_of(f), from, n, at);
}

static int torn_truncate(sqlite3_file *f, sqlite3_int64 len)
{
    struct image *m = ((struct torn_file *)(void *)f)->image;
    if (m != NULL) {
        pthread_mutex_lock(&lock);
        memset(m->now + len, 0, (size_t)(BYTES_MAX - len));
        m->now_len = MIN(m->now_len, len);
        pthread_mutex_unlock(&lock);
    }
    return real_of(f)->pMethods->xTruncate(real_of(f), len);
}

static int torn_sync(sqlite3_file *f, int flags)
{
    struct image *m = ((struct torn_file *)(void *)f)->image;
    (void)flags; /* nothing need reach a disk: this process stands for it */
    if (m != NULL) {
        pthread_mutex_lock(&lock);
        memcpy(m->synced, m->now, BYTES_MAX);
        m->synced_len = m->now_len;
        pthread_mutex_unlock(&lock);
    }
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    2, torn_close, torn_read, torn_write, torn_truncate, torn_sync, torn_size, torn_lock, torn_unlock, torn_reserved, torn_control, torn_sector, torn_traits,
    torn_shm_map, torn_shm_lock, torn_shm_barrier, torn_shm_unmap, NULL, NULL,
};

static int torn_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags)
{
    struct torn_file *f = (struct torn_file *)(void *)file;
    (void)v;
    f->real = (sqlite3_file *)(void *)(f + 1);
    f->base.pMethods = NULL;
    int code = under->xOpen(under, name, f->real, flags, out_flags);
    if (f->real->pMethods == NULL)
        return code;
    pthread_mutex_lock(&lock);
    f->image = name != NULL && strncmp(name, watched, strlen(watched)) == 0 ? image_of(name) : NULL;
    pthread_mutex_unlock(&lock);
    f->base.pMethods = &methods;
    return code;
}

static int torn_delete(sqlite3_vfs *v, const char *name, int sync)
{
    (void)v;
    pthread_mutex_lock(&lock);
    if (strncmp(name, watched, strlen(watched)) == 0) {
        struct image *m = image_of(name);
        m->now_len = m->synced_len = 0;
    }
    pthread_mutex_unlock(&lock);
    return under->xDelete(under, name, sync);
}

void torn_begin(const char *prefix)
{
    watched = prefix;
    under = sqlite3_vfs_find(NULL);
    vfs = *under;
    vfs.zName = "torn";
    vfs.pNext = NULL;
    vfs.szOsFile = (int)sizeof(struct torn_file) + under->szOsFile;
    vfs.xOpen = torn_open;
    vfs.xDelete = torn_delete;
    sqlite3_vfs_register(&vfs, 1);
}

void torn_end(void)
{
    sqlite3_vfs_unregister(&vfs);
    sqlite3_vfs_register(under, 1);
    for (int i = 0; i < FILES_MAX; i++) {
        free(images[i].now);
        free(images[i].synced);
        images[i] = (struct image){ 0 };
    }
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void write_image(const struct image *m, const char *to, uint64_t *seed)
{
    char path[2 * NAME_BYTES];
    const char *base = strrchr(m->name, '/');
    snprintf(path, sizeof path, "%s%s", to, base != NULL ? base : m->name);
    sqlite3_int64 least = MIN(m->now_len, m->synced_len), most = MAX(m->now_len, m->synced_len);
    sqlite3_int64 len = most > least ? least + (sqlite3_int64)(next(seed) % (uint64_t)(most - least + 1)) : most;
    FILE *out = fopen(path, "wb");
    ASSERT(out != NULL);
    for (sqlite3_int64 at = 0; at < len; at += SECTOR) {
        const unsigned char *from = next(seed) % 2 != 0 ? m->now : m->synced;
        size_t n = (size_t)MIN((sqlite3_int64)SECTOR, len - at);
        ASSERT(fwrite(from + at, 1, n, out) == n);
    }
    fclose(out);
}

void torn_crash(const char *to, uint64_t seed)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < FILES_MAX && images[i].now != NULL; i++)
        write_image(&images[i], to, &seed);
    pthread_mutex_unlock(&lock);
}
