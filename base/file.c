#include "base/file.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define LINKS_MAX 40 /* what the kernel follows in one path (path_resolution(7)) */
#define LOCK_POLL_MS 20

static int fail(kfx_error_t *err, const char *what, const char *path)
{
    int number = errno;
    kfx_code_t code = KFX_E_INTERNAL;
    if (number == ENOENT || number == ENOTDIR)
        code = KFX_E_NOT_FOUND;
    else if (number == EACCES || number == EPERM || number == EROFS)
        code = KFX_E_FORBIDDEN;
    else if (number == EISDIR || number == ENAMETOOLONG || number == ELOOP)
        code = KFX_E_INVALID;
    return kfx_error_set(err, code, "%s %s: %s", what, path, strerror(number));
}

char *kfx_file_read(const char *path, size_t max, size_t *len, kfx_error_t *err)
{
    KFX_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fail(err, "read", path);
        return NULL;
    }
    if (max > (size_t)INT64_MAX - 1)
        max = (size_t)INT64_MAX - 1;
    /* Files in /proc and pipes tell no size, so it is not asked. One byte more shows whether max is enough. */
    KFX_CLEANUP(kfx_buf_wipe) kfx_buf_t content = KFX_BUF_INIT(max + 1);
    char chunk[16384];
    for (;;) {
        size_t room = max + 1 - content.len;
        ssize_t n = read(fd, chunk, room < sizeof chunk ? room : sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(err, "read", path);
        else if (n > 0 && (kfx_buf_add(&content, chunk, (size_t)n) < 0 || content.len > max))
            kfx_error_set(err, KFX_E_INVALID, "read %s: it is larger than %zu bytes", path, max);
        else if (n > 0)
            continue;
        kfx_wipe(chunk, sizeof chunk);
        if (n != 0)
            return NULL;
        char *data = kfx_buf_steal(&content, len);
        if (!data)
            kfx_error_set(err, KFX_E_INTERNAL, "read %s: out of memory", path);
        return data;
    }
}

/* Where a write to path must go: symbolic links in its last part are followed, even to a file that is not there yet.
 * Caller frees. */
static char *final_target(const char *path, kfx_error_t *err)
{
    KFX_FREE char *at = kfx_xstrdup(path);
    for (int i = 0; i < LINKS_MAX; i++) {
        char link[PATH_MAX];
        ssize_t n = readlink(at, link, sizeof link - 1);
        if (n < 0 && (errno == EINVAL || errno == ENOENT))
            return KFX_STEAL(at);
        if (n < 0) {
            fail(err, "write", path);
            return NULL;
        }
        link[n] = 0;
        const char *slash = strrchr(at, '/');
        char *next =
            link[0] == '/' || !slash ? kfx_xstrdup(link) : kfx_xasprintf("%.*s/%s", (int)(slash - at), at, link);
        free(at);
        at = next;
    }
    errno = ELOOP;
    fail(err, "write", path);
    return NULL;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Owner first: chown(2) clears set-id bits. */
static int fill(int fd, const void *data, size_t len, const struct stat *old, mode_t mode)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    if (old && (old->st_uid != st.st_uid || old->st_gid != st.st_gid) && fchown(fd, old->st_uid, old->st_gid) < 0)
        return -1;
    if (fchmod(fd, old ? old->st_mode & 07777 : mode) < 0 || write_all(fd, data, len) < 0)
        return -1;
    return fsync(fd);
}

int kfx_file_put_in_place(const char *from, const char *path)
{
    const char *slash = strrchr(path, '/');
    KFX_FREE char *dir = slash ? kfx_xasprintf("%.*s", (int)(slash - path) + 1, path) : kfx_xstrdup(".");
    if (rename(from, path) < 0)
        return -1;
    /* The rename is done; that it survives a power cut is an extra not every file system offers. */
    KFX_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        fsync(fd);
    return 0;
}

static int replace(const char *target, const char *dir, const void *data, size_t len, const struct stat *old,
                   mode_t mode)
{
    KFX_FREE char *tmp = kfx_xasprintf("%s/.kfx-XXXXXX", dir);
    KFX_CLOSE int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fill(fd, data, len, old, mode) == 0 && kfx_file_put_in_place(tmp, target) == 0)
        return 0;
    int number = errno;
    unlink(tmp);
    errno = number;
    return -1;
}

int kfx_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, kfx_error_t *err)
{
    KFX_FREE char *target = final_target(path, err);
    if (!target)
        return -1;
    struct stat st;
    bool exists = stat(target, &st) == 0;
    if (!exists && errno != ENOENT)
        return fail(err, "write", path);
    if (exists && !S_ISREG(st.st_mode))
        return kfx_error_set(err, KFX_E_INVALID, "write %s: it is no regular file", path);

    const char *slash = strrchr(target, '/');
    KFX_FREE char *dir =
        slash ? kfx_xasprintf("%.*s", slash == target ? 1 : (int)(slash - target), target) : kfx_xstrdup(".");
    if (replace(target, dir, data, len, exists ? &st : NULL, mode) < 0)
        return fail(err, "write", path);
    return 0;
}

/* The first holder that /proc/locks shows for this inode (proc_locks(5)); another pid namespace's is not seen. */
static void describe_holder(int fd, char *out, size_t size)
{
    kfx_copy(out, size, "another process");
    struct stat st;
    FILE *locks = fopen("/proc/locks", "re");
    if (!locks)
        return;
    char row[256];
    while (fstat(fd, &st) == 0 && fgets(row, sizeof row, locks)) {
        char type[16];
        long pid;
        uint64_t inode;
        if (sscanf(row, "%*s %15s %*s %*s %ld %*x:%*x:%" SCNu64, type, &pid, &inode) != 3 || inode != st.st_ino ||
            strcmp(type, "FLOCK") != 0 || pid <= 0)
            continue;
        char path[64], name[32] = "";
        snprintf(path, sizeof path, "/proc/%ld/comm", pid);
        FILE *comm = fopen(path, "re");
        if (comm) {
            if (fgets(name, sizeof name, comm))
                name[strcspn(name, "\n")] = 0;
            fclose(comm);
        }
        snprintf(out, size, "process %ld%s%s%s", pid, *name ? " (" : "", name, *name ? ")" : "");
        break;
    }
    fclose(locks);
}

/* The path may have been removed or replaced by the one who held the lock: then this lock guards nothing. */
static bool still_there(int fd, const char *path)
{
    struct stat locked, there;
    return fstat(fd, &locked) == 0 && stat(path, &there) == 0 && locked.st_dev == there.st_dev &&
           locked.st_ino == there.st_ino;
}

int kfx_file_lock(const char *path, int timeout_ms, kfx_error_t *err)
{
    int64_t deadline = kfx_now_ms() + (timeout_ms > 0 ? timeout_ms : 0);
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return fail(err, "lock", path);
        int rc = flock(fd, LOCK_EX | LOCK_NB);
        if (rc == 0 && still_there(fd, path))
            return fd;
        bool busy = rc < 0 && (errno == EWOULDBLOCK || errno == EINTR);
        if (rc < 0 && !busy) {
            fail(err, "lock", path);
            close(fd);
            return -1;
        }
        int64_t left = deadline - kfx_now_ms();
        if (left <= 0) {
            char holder[96];
            describe_holder(fd, holder, sizeof holder);
            close(fd);
            return kfx_error_set(err, KFX_E_TIMEOUT, "lock %s: held by %s for more than %d ms", path, holder,
                                 timeout_ms);
        }
        close(fd);
        if (busy)
            poll(NULL, 0, left < LOCK_POLL_MS ? (int)left : LOCK_POLL_MS);
    }
}
