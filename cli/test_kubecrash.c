/* An edit of a kubeconfig that is killed at every system call it makes: the file is the old or the new one, and the
 * next edit works. */
#include "cli/kubefile.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define STOPS_MAX 2000 /* an edit has far fewer */

static const char old_text[] = "# mine\napiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n"
                               "- name: a\n  context: {cluster: c, user: u}\nclusters:\n- name: c\n  cluster:\n"
                               "    server: https://a\nusers: []\n";

static char dir[64], path[80];

static int edit(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    (void)ctx;
    return kfx_kc_set_hosting(kc, "a", "2026-11-25T00:00:00Z", err);
}

static void reset(void)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(old_text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0640), 0);
}

/* Forgets what a dead edit left behind. */
static void sweep(size_t *leftovers)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strncmp(entry->d_name, ".kfx-", 5) != 0)
            continue;
        ++*leftovers;
        KFX_FREE char *name = kfx_xasprintf("%s/%s", dir, entry->d_name);
        struct stat st;
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_mode & 0007, 0); /* credentials may be in it */
        unlink(name);
    }
    closedir(d);
}

/* Runs an edit and kills it at its nth stop before or after a system call. false: it ended before. */
static bool edit_until(size_t stop)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(77);
        raise(SIGSTOP);
        _exit(kfx_kubefile_edit(path, edit, NULL, NULL) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status))
        skip(); /* this machine lets nobody trace */
    for (size_t i = 0;; i++) {
        if (i == stop) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            assert_true(WIFSIGNALED(status));
            return true;
        }
        assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return false;
        }
        assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
        assert_true(i < STOPS_MAX);
    }
}

static void test_old_or_new(void **state)
{
    (void)state;
    reset();
    assert_int_equal(kfx_kubefile_edit(path, edit, NULL, NULL), 0);
    KFX_FREE char *new_text = kfx_file_read(path, 1 << 20, NULL, NULL);
    assert_non_null(new_text);
    assert_string_not_equal(new_text, old_text);

    size_t stop = 0, olds = 0, news = 0, leftovers = 0;
    for (bool more = true; more; stop++) {
        reset();
        more = edit_until(stop);
        KFX_FREE char *text = kfx_file_read(path, 1 << 20, NULL, NULL);
        assert_non_null(text);
        bool is_new = strcmp(text, new_text) == 0;
        if (!is_new)
            assert_string_equal(text, old_text);
        olds += !is_new;
        news += is_new;
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        sweep(&leftovers);
        assert_int_equal(kfx_kubefile_edit(path, edit, NULL, NULL), 0); /* no lock is left behind */
        KFX_FREE char *after = kfx_file_read(path, 1 << 20, NULL, NULL);
        assert_string_equal(after, new_text);
    }
    /* It was killed before and after it took effect, and while the temporary file was there. */
    assert_true(stop > 20 && olds > 10 && news > 2 && leftovers > 2);
}

static int setup(void **state)
{
    (void)state;
    kfx_copy(dir, sizeof dir, "/tmp/kfx-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/config", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"config", ".config.kflex-lock"};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        KFX_FREE char *name = kfx_xasprintf("%s/%s", dir, names[i]);
        unlink(name);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_or_new),
    };
    return cmocka_run_group_tests_name("cli-kubecrash", tests, setup, teardown);
}
