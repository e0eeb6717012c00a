/* Which file, under which lock, and that nothing is changed when something is wrong. */
#include "cli/kubefile.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static char dir[64];

static char *in_dir(const char *name)
{
    return kfx_xasprintf("%s/%s", dir, name);
}

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    chmod(path, mode);
}

static char *get(const char *path)
{
    return kfx_file_read(path, 1 << 20, NULL, NULL);
}

static int setup(void **state)
{
    (void)state;
    kfx_copy(dir, sizeof dir, "/tmp/kfx-test-XXXXXX");
    unsetenv("KUBECONFIG");
    if (!mkdtemp(dir))
        return -1;
    return setenv("HOME", dir, 1);
}

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(dir, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int set_x(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    (void)err;
    kfx_kc_put(kc, KFX_KC_CLUSTERS, ctx, json_pack("{s:s}", "server", "https://x"));
    return 0;
}

static char x_name[] = "x";

static void test_sources(void **state)
{
    (void)state;
    KFX_FREE char *a = in_dir("a"), *b = in_dir("b"), *c = in_dir("c");
    KFX_FREE char *home = in_dir(".kube/config");
    KFX_FREE char *first = kfx_kubefile_path(NULL, NULL);
    assert_string_equal(first, home);

    KFX_FREE char *list = kfx_xasprintf("%s::%s:%s:%s", a, a, b, c);
    setenv("KUBECONFIG", list, 1);
    KFX_FREE char *none = kfx_kubefile_path(NULL, NULL);
    assert_string_equal(none, c); /* none exists: the last one */
    put(b, "{}", 0600);
    KFX_FREE char *existing = kfx_kubefile_path(NULL, NULL);
    assert_string_equal(existing, b);
    KFX_FREE char *flag = kfx_kubefile_path(a, NULL); /* the flag wins */
    assert_string_equal(flag, a);
    setenv("KUBECONFIG", "", 1);
    KFX_FREE char *empty = kfx_kubefile_path(NULL, NULL);
    assert_string_equal(empty, home);
}

static void test_new_file(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("new/.kube/config");
    assert_int_equal(kfx_kubefile_edit(path, set_x, x_name, NULL), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    kfx_kc_t kc;
    assert_int_equal(kfx_kubefile_load(path, false, &kc, NULL), 0);
    assert_string_equal(kfx_json_str(kc.tree[0], "kind"), "Config");
    assert_non_null(kfx_kc_body(&kc, KFX_KC_CLUSTERS, "x"));
    kfx_kc_release(&kc);
}

static void test_mode_stays(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("config");
    put(path, "clusters: []\n", 0640);
    assert_int_equal(kfx_kubefile_edit(path, set_x, x_name, NULL), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void expect_untouched(const char *path, const char *text, kfx_code_t code, const char *word)
{
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_kubefile_edit(path, set_x, x_name, &err), -1);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.msg, path));
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
    KFX_FREE char *now = get(path);
    assert_string_equal(now, text);
}

static void test_broken_file(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("config");
    static const char *const texts[] = {"clusters: [", "a: b\n\tc: d\n", "just text", "clusters: 7\n", "a: 1\na: 2\n"};
    for (size_t i = 0; i < KFX_COUNT(texts); i++) {
        put(path, texts[i], 0600);
        expect_untouched(path, texts[i], KFX_E_INVALID, "left as it is");
    }
}

static void test_read_only_file(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("config");
    put(path, "clusters: []\n", 0444);
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_kubefile_check_writable(path, &err), -1);
    assert_non_null(strstr(err.msg, "read-only"));
    expect_untouched(path, "clusters: []\n", KFX_E_FORBIDDEN, "chmod u+w");
    /* Reading goes on. */
    kfx_kc_t kc;
    assert_int_equal(kfx_kubefile_load(path, false, &kc, NULL), 0);
    kfx_kc_release(&kc);
}

static void test_missing_flag_file(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("nothing");
    kfx_kc_t kc;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_kubefile_load(path, false, &kc, &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "--kubeconfig"));
    assert_int_equal(kfx_kubefile_load(path, true, &kc, NULL), 0);
    assert_string_equal(kfx_kc_current(&kc), "");
    kfx_kc_release(&kc);
}

static int give_up(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    set_x(ctx, kc, err);
    return kfx_error_set(err, KFX_E_CONFLICT, "no");
}

static void test_failed_edit_writes_nothing(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("config");
    put(path, "clusters: []\n", 0600);
    assert_int_equal(kfx_kubefile_edit(path, give_up, x_name, NULL), -1);
    KFX_FREE char *now = get(path);
    assert_string_equal(now, "clusters: []\n");
}

static int keep(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    (void)ctx;
    (void)kc;
    (void)err;
    return 0;
}

/* An edit that changes nothing does not rewrite the file: its comments stay. */
static void test_no_change_no_write(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("config");
    put(path, "# mine\nclusters: []\n", 0600);
    assert_int_equal(kfx_kubefile_edit(path, keep, NULL, NULL), 0);
    KFX_FREE char *now = get(path);
    assert_string_equal(now, "# mine\nclusters: []\n");
}

static void test_symlink(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("config"), *link = in_dir("link");
    put(path, "clusters: []\n", 0600);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(kfx_kubefile_edit(link, set_x, x_name, NULL), 0);
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    KFX_FREE char *now = get(path);
    assert_non_null(strstr(now, "https://x"));
}

static void test_several_files(void **state)
{
    (void)state;
    KFX_FREE char *a = in_dir("a"), *b = in_dir("b");
    put(a, "# a\ncontexts: []\n", 0600);
    put(b, "clusters: [{name: x, cluster: {server: old}}]\n", 0600);
    KFX_FREE char *list = kfx_xasprintf("%s:%s", a, b);
    setenv("KUBECONFIG", list, 1);
    assert_int_equal(kfx_kubefile_edit(NULL, set_x, x_name, NULL), 0);
    KFX_FREE char *first = get(a), *second = get(b);
    assert_string_equal(first, "# a\ncontexts: []\n"); /* changed where it is, only there */
    assert_non_null(strstr(second, "https://x"));
}

/* Twenty writers at once: every one's entry is there in the end. */
static void test_concurrent_edits(void **state)
{
    (void)state;
    enum { WRITERS = 20 };
    KFX_FREE char *path = in_dir("config");
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            char name[16];
            snprintf(name, sizeof name, "w%d", i);
            _exit(kfx_kubefile_edit(path, set_x, name, NULL) == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    kfx_kc_t kc;
    assert_int_equal(kfx_kubefile_load(path, false, &kc, NULL), 0);
    assert_int_equal(json_array_size(json_object_get(kc.tree[0], "clusters")), WRITERS);
    kfx_kc_release(&kc);
}

/* Nothing is written while kubectl holds its lock; afterwards it is. */
static void test_respects_kubectls_lock(void **state)
{
    (void)state;
    KFX_FREE char *path = in_dir("config"), *lock = in_dir("config.lock");
    put(path, "clusters: []\n", 0600);
    put(lock, "", 0600);
    int usual = kfx_kubefile_lock_wait_ms;
    kfx_kubefile_lock_wait_ms = 50;
    kfx_error_t err = KFX_ERROR_INIT;
    int rc = kfx_kubefile_edit(path, set_x, x_name, &err);
    kfx_kubefile_lock_wait_ms = usual;
    assert_int_equal(rc, -1);
    assert_int_equal(err.code, KFX_E_TIMEOUT);
    assert_non_null(strstr(err.msg, lock));
    KFX_FREE char *before = get(path);
    assert_string_equal(before, "clusters: []\n");

    unlink(lock);
    assert_int_equal(kfx_kubefile_edit(path, set_x, x_name, NULL), 0);
    assert_int_not_equal(access(lock, F_OK), 0); /* we leave none behind */
    KFX_FREE char *now = get(path);
    assert_non_null(strstr(now, "https://x"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sources),
        TEST(test_new_file),
        TEST(test_mode_stays),
        TEST(test_broken_file),
        TEST(test_read_only_file),
        TEST(test_missing_flag_file),
        TEST(test_failed_edit_writes_nothing),
        TEST(test_no_change_no_write),
        TEST(test_symlink),
        TEST(test_several_files),
        TEST(test_concurrent_edits),
        TEST(test_respects_kubectls_lock),
    };
    return cmocka_run_group_tests_name("cli-kubefile", tests, NULL, NULL);
}
