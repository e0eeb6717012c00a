#include "cli/kubefile.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "cli/kubetext.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#define KFX_LOCK_POLL_MS 20

int kfx_kubefile_lock_wait_ms = 5000;

/* ~/.kube/config. Fresh. */
static char *default_path(kfx_error_t *err)
{
    const char *home = getenv("HOME");
    if (!home || !*home) {
        const struct passwd *pw = getpwuid(getuid());
        home = pw ? pw->pw_dir : NULL;
    }
    if (!home || !*home) {
        kfx_error_set(err, KFX_E_INVALID, "no home folder: set $HOME or name the kubeconfig with --kubeconfig FILE");
        return NULL;
    }
    return kfx_xasprintf("%s/.kube/config", home);
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* The files of $KUBECONFIG, empty and repeated ones left out. */
static int paths_from_env(const char *list, kfx_kc_t *kc, kfx_error_t *err)
{
    KFX_FREE char *copy = kfx_xstrdup(list);
    char *rest = copy;
    for (char *one; (one = strsep(&rest, ":"));) {
        bool known = *one == '\0';
        for (size_t i = 0; i < kc->count; i++)
            known |= strcmp(kc->path[i], one) == 0;
        if (known)
            continue;
        if (kc->count == KFX_KC_FILES_MAX)
            return kfx_error_set(err, KFX_E_INVALID, "$KUBECONFIG names more than %d files", KFX_KC_FILES_MAX);
        kc->path[kc->count++] = kfx_xstrdup(one);
    }
    return 0;
}

static int find_paths(const char *flag, kfx_kc_t *kc, kfx_error_t *err)
{
    memset(kc, 0, sizeof *kc);
    const char *env = getenv("KUBECONFIG");
    if (flag && *flag)
        kc->path[kc->count++] = kfx_xstrdup(flag);
    else if (env && paths_from_env(env, kc, err) < 0)
        return -1;
    if (kc->count == 0) {
        char *path = default_path(err);
        if (!path)
            return -1;
        kc->path[kc->count++] = path;
    }
    kc->main = kc->count - 1;
    for (size_t i = 0; i < kc->count; i++)
        if (exists(kc->path[i])) {
            kc->main = i;
            break;
        }
    return 0;
}

static int read_one(kfx_kc_t *kc, size_t i, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    size_t len = 0;
    char *text = kfx_file_read(kc->path[i], KFX_KUBEFILE_MAX, &len, &why);
    if (!text && why.code == KFX_E_NOT_FOUND) {
        kc->tree[i] = kfx_kc_new_tree();
        return 0;
    }
    if (!text) {
        if (err)
            *err = why;
        return kfx_error_wrap(err, "cannot read the kubeconfig");
    }
    json_t *tree = kfx_yaml_parse(text, len, &why);
    kfx_wipe(text, len);
    free(text);
    if (!tree)
        return kfx_error_set(err, KFX_E_INVALID,
                             "kubeconfig %s cannot be read: %s. Repair it (`kubectl config view --kubeconfig %s` shows "
                             "the same fault) or name another with --kubeconfig; it was left as it is",
                             kc->path[i], why.msg, kc->path[i]);
    if (json_is_object(tree) && json_object_size(tree) == 0) {
        json_decref(tree);
        tree = kfx_kc_new_tree();
    }
    kc->tree[i] = tree;
    if (kfx_kc_check(tree, kc->path[i], err) < 0)
        return kfx_error_wrap(err, "kubeconfig left as it is");
    return 0;
}

static int load_all(const char *flag, bool may_miss, kfx_kc_t *kc, kfx_error_t *err)
{
    if (find_paths(flag, kc, err) < 0)
        return -1;
    if (flag && *flag && !may_miss && !exists(flag))
        return kfx_error_set(err, KFX_E_NOT_FOUND, "kubeconfig %s does not exist: check --kubeconfig", flag);
    for (size_t i = 0; i < kc->count; i++)
        if (read_one(kc, i, err) < 0)
            return -1;
    return 0;
}

int kfx_kubefile_load(const char *flag, bool may_miss, kfx_kc_t *kc, kfx_error_t *err)
{
    if (load_all(flag, may_miss, kc, err) == 0)
        return 0;
    kfx_kc_release(kc);
    return -1;
}

char *kfx_kubefile_path(const char *flag, kfx_error_t *err)
{
    kfx_kc_t kc;
    char *path = find_paths(flag, &kc, err) == 0 ? kfx_xstrdup(kc.path[kc.main]) : NULL;
    kfx_kc_release(&kc);
    return path;
}

/* An existing file must be writable (root counts the mode bits too: they say what the owner wants), and its folder. */
static int check_path(const char *path, kfx_error_t *err)
{
    struct stat st;
    KFX_FREE char *real = realpath(path, NULL);
    const char *target = real ? real : path;
    KFX_FREE char *copy = kfx_xstrdup(target);
    const char *dir = dirname(copy);
    if (stat(target, &st) == 0) {
        if (!S_ISREG(st.st_mode))
            return kfx_error_set(err, KFX_E_INVALID, "kubeconfig %s is not a regular file: name one with --kubeconfig",
                                 path);
        if ((st.st_mode & 0222) == 0 || access(target, W_OK) < 0)
            return kfx_error_set(err, KFX_E_FORBIDDEN,
                                 "kubeconfig %s is read-only: make it writable (`chmod u+w %s`) or name another with "
                                 "--kubeconfig; nothing was changed",
                                 path, path);
    }
    if (exists(dir) && access(dir, W_OK) < 0)
        return kfx_error_set(
            err, KFX_E_FORBIDDEN,
            "folder %s of the kubeconfig is not writable (%s): name another with --kubeconfig; nothing "
            "was changed",
            dir, strerror(errno));
    return 0;
}

int kfx_kubefile_check_writable(const char *flag, kfx_error_t *err)
{
    KFX_FREE char *path = kfx_kubefile_path(flag, err);
    return path ? check_path(path, err) : -1;
}

/* mkdir -p of the file's folder, 0700 as kubectl's. */
static int make_folder(const char *path, kfx_error_t *err)
{
    KFX_FREE char *copy = kfx_xstrdup(path);
    char *dir = dirname(copy);
    for (char *p = dir + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(dir, 0755); /* what matters is whether the last one is there */
        *p = '/';
    }
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return kfx_error_set(err, KFX_E_FORBIDDEN, "cannot make folder %s for the kubeconfig: %s", dir,
                             strerror(errno));
    return 0;
}

/* ".config.kflex-lock" beside the file; kubectl's own lock is the file "config.lock", which it makes and removes, and
 * which we only wait for: making it ourselves would leave it behind when we are killed, and kubectl would refuse to
 * edit for ever. */
static int lock_file(const char *path, kfx_error_t *err)
{
    KFX_FREE char *real = realpath(path, NULL);
    KFX_FREE char *a = kfx_xstrdup(real ? real : path);
    KFX_FREE char *b = kfx_xstrdup(a);
    KFX_FREE char *lock = kfx_xasprintf("%s/.%s.kflex-lock", dirname(a), basename(b));
    int fd = kfx_file_lock(lock, kfx_kubefile_lock_wait_ms, err);
    if (fd < 0)
        return kfx_error_wrap(err, "kubeconfig %s is being changed by somebody else", path);

    KFX_FREE char *theirs = kfx_xasprintf("%s.lock", real ? real : path);
    int64_t deadline = kfx_now_ms() + kfx_kubefile_lock_wait_ms;
    while (exists(theirs)) {
        if (kfx_now_ms() >= deadline) {
            close(fd);
            return kfx_error_set(
                err, KFX_E_TIMEOUT,
                "kubeconfig %s is locked by kubectl: if no kubectl is running, remove %s and try again", path, theirs);
        }
        poll(NULL, 0, KFX_LOCK_POLL_MS); /* a file's disappearance is no event on every file system */
    }
    return fd;
}

/* What is in the file keeps its text where it does not change. before: what the file was read as. */
static char *text_for(const kfx_kc_t *kc, size_t i, const json_t *before, kfx_error_t *err)
{
    size_t len = 0;
    char *old = kfx_file_read(kc->path[i], KFX_KUBEFILE_MAX, &len, NULL);
    char *text = kfx_kubetext_rewrite(old ? old : "", len, before, kc->tree[i], err);
    if (old)
        kfx_wipe(old, len);
    free(old);
    return text;
}

static int write_one(const kfx_kc_t *kc, size_t i, const json_t *before, kfx_error_t *err)
{
    char *text = text_for(kc, i, before, err);
    if (!text)
        return -1;
    size_t len = strlen(text);
    int rc = kfx_file_write_atomic(kc->path[i], text, len, 0600, err);
    kfx_wipe(text, len);
    free(text);
    return rc < 0 ? kfx_error_wrap(err, "cannot write kubeconfig %s", kc->path[i]) : 0;
}

/* Runs the edit on trees just read, and writes the changed ones. */
static int edit_locked(const char *flag, int (*edit)(void *ctx, kfx_kc_t *kc, kfx_error_t *err), void *ctx,
                       kfx_kc_t *kc, json_t *before, kfx_error_t *err)
{
    if (load_all(flag, true, kc, err) < 0)
        return -1;
    for (size_t i = 0; i < kc->count; i++)
        json_array_append_new(before, json_deep_copy(kc->tree[i]));
    if (edit(ctx, kc, err) < 0)
        return -1;
    for (size_t i = 0; i < kc->count; i++)
        if (!json_equal(json_array_get(before, i), kc->tree[i]) && check_path(kc->path[i], err) < 0)
            return -1;
    for (size_t i = 0; i < kc->count; i++)
        if (!json_equal(json_array_get(before, i), kc->tree[i]) && write_one(kc, i, json_array_get(before, i), err) < 0)
            return -1;
    return 0;
}

int kfx_kubefile_edit(const char *flag, int (*edit)(void *ctx, kfx_kc_t *kc, kfx_error_t *err), void *ctx,
                      kfx_error_t *err)
{
    KFX_FREE char *path = kfx_kubefile_path(flag, err);
    if (!path || check_path(path, err) < 0 || make_folder(path, err) < 0)
        return -1;
    KFX_CLOSE int fd = lock_file(path, err);
    if (fd < 0)
        return -1;
    KFX_JSON json_t *before = json_array();
    kfx_kc_t kc;
    int rc = edit_locked(flag, edit, ctx, &kc, before, err);
    kfx_kc_release(&kc);
    return rc;
}
