#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kfx-file-XXXXXX");
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

/* The tests make plain files and links only, in the folder itself. */
static int teardown(void **state)
{
    (void)state;
    DIR *entries = opendir(dir);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        if (entry->d_name[0] != '.' || strncmp(entry->d_name, ".kfx", 4) == 0)
            remove(entry->d_name);
    }
    closedir(entries);
    return chdir("/") == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static size_t entries_in_dir(void)
{
    size_t count = 0;
    DIR *entries = opendir(dir);
    while (readdir(entries))
        count++;
    closedir(entries);
    return count - 2;
}

static void put(const char *path, const char *content, mode_t mode)
{
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_file_write_atomic(path, content, strlen(content), mode, &err) < 0)
        fail_msg("%s", err.msg);
}

static void expect(const char *path, const char *content)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_FREE char *got = kfx_file_read(path, 1 << 20, NULL, &err);
    if (!got)
        fail_msg("%s", err.msg);
    assert_string_equal(got, content);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_write_and_read(void **state)
{
    (void)state;
    mode_t old = umask(077);
    put("new", "one", 0644);
    umask(old);
    expect("new", "one");
    assert_int_equal(mode_of("new"), 0644);
    size_t len = 0;
    assert_int_equal(kfx_file_write_atomic("new", "a\0b", 3, 0600, NULL), 0);
    KFX_FREE char *data = kfx_file_read("new", 3, &len, NULL);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "a\0b\0", 4);
    put("empty", "", 0600);
    expect("empty", "");
    assert_int_equal(entries_in_dir(), 2); /* no temporary file is left */
}

static void test_absolute_path(void **state)
{
    (void)state;
    KFX_FREE char *path = kfx_xasprintf("%s/abs", dir);
    put(path, "x", 0600);
    expect("abs", "x");
}

static void test_existing_file_keeps_its_mode(void **state)
{
    (void)state;
    put("f", "old", 0600);
    assert_int_equal(chmod("f", 0640), 0);
    put("f", "new", 0600);
    assert_int_equal(mode_of("f"), 0640);
    expect("f", "new");
}

static void test_existing_file_keeps_its_owner(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    put("f", "old", 0640);
    assert_int_equal(chown("f", 1, 2), 0);
    put("f", "new", 0600);
    struct stat st;
    assert_int_equal(stat("f", &st), 0);
    assert_int_equal(st.st_uid, 1);
    assert_int_equal(st.st_gid, 2);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void test_symbolic_links_are_followed(void **state)
{
    (void)state;
    put("target", "old", 0600);
    assert_int_equal(symlink("target", "link"), 0);
    KFX_FREE char *absolute = kfx_xasprintf("%s/link", dir);
    assert_int_equal(symlink(absolute, "link2"), 0);
    assert_int_equal(chdir("/"), 0); /* a relative link starts where the link is */
    KFX_FREE char *absolute2 = kfx_xasprintf("%s/link2", dir);
    put(absolute2, "new", 0644);
    assert_int_equal(chdir(dir), 0);
    expect("target", "new");
    struct stat st;
    assert_int_equal(lstat("link2", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(mode_of("target"), 0600);

    assert_int_equal(symlink("later", "dangling"), 0);
    put("dangling", "made", 0600);
    expect("later", "made");

    assert_int_equal(symlink("loop2", "loop1"), 0);
    assert_int_equal(symlink("loop1", "loop2"), 0);
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_file_write_atomic("loop1", "x", 1, 0600, &err), -1);
    assert_int_equal(err.code, KFX_E_INVALID);
}

static void test_write_errors(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_file_write_atomic("nowhere/f", "x", 1, 0600, &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "nowhere/f"));
    assert_int_equal(kfx_file_write_atomic(dir, "x", 1, 0600, &err), -1);
    assert_int_equal(err.code, KFX_E_INVALID);
    assert_int_equal(kfx_file_write_atomic("/dev/null", "x", 1, 0600, &err), -1);
    assert_int_equal(err.code, KFX_E_INVALID);
    put("f", "x", 0600);
    assert_int_equal(kfx_file_write_atomic("f/below", "x", 1, 0600, &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    assert_int_equal(entries_in_dir(), 1);
}

static void test_read_errors(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(kfx_file_read("missing", 100, NULL, &err));
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    assert_string_equal(err.msg, "read missing: No such file or directory");
    assert_null(kfx_file_read(dir, 100, NULL, &err));
    assert_int_equal(err.code, KFX_E_INVALID);
    put("f", "12345", 0600);
    assert_null(kfx_file_read("f", 4, NULL, &err));
    assert_int_equal(err.code, KFX_E_INVALID);
    assert_non_null(strstr(err.msg, "larger than 4 bytes"));
    KFX_FREE char *all = kfx_file_read("f", 5, NULL, &err);
    assert_string_equal(all, "12345");
    assert_null(kfx_file_read("/dev/zero", 100000, NULL, &err));
    assert_int_equal(err.code, KFX_E_INVALID);
    KFX_FREE char *proc = kfx_file_read("/proc/self/stat", 4096, NULL, &err); /* its size says 0 */
    assert_true(strlen(proc) > 10);
}

static void test_large_file(void **state)
{
    (void)state;
    size_t size = 300001, len = 0;
    KFX_FREE char *content = kfx_xcalloc(size, 1);
    for (size_t i = 0; i < size; i++)
        content[i] = (char)(i * 7 >> 3);
    assert_int_equal(kfx_file_write_atomic("large", content, size, 0600, NULL), 0);
    KFX_FREE char *back = kfx_file_read("large", size, &len, NULL);
    assert_int_equal(len, size);
    assert_memory_equal(back, content, size);
}

/* A reader in another thread must see one of the two contents at any time. */
static atomic_int stop_reading, torn;

static void *read_always(void *unused)
{
    while (!stop_reading) {
        KFX_FREE char *got = kfx_file_read("f", 100000, NULL, NULL);
        if (!got || strlen(got) != 50000 || got[0] != got[49999])
            torn++;
    }
    return unused;
}

static void test_readers_never_see_half(void **state)
{
    (void)state;
    char a[50001], b[50001];
    memset(a, 'a', 50000);
    memset(b, 'b', 50000);
    a[50000] = b[50000] = 0;
    put("f", a, 0600);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_always, NULL), 0);
    for (int i = 0; i < 40; i++)
        put("f", i % 2 ? a : b, 0600);
    stop_reading = 1;
    pthread_join(reader, NULL);
    assert_int_equal(torn, 0);
}

static void test_lock_excludes_and_names_the_holder(void **state)
{
    (void)state;
    KFX_CLOSE int held = kfx_file_lock("lock", 0, NULL);
    assert_true(held >= 0);
    assert_int_equal(mode_of("lock"), 0600);
    kfx_error_t err = KFX_ERROR_INIT;
    int64_t begin = kfx_now_ms();
    assert_int_equal(kfx_file_lock("lock", 60, &err), -1);
    assert_in_range(kfx_now_ms() - begin, 60, 5000);
    assert_int_equal(err.code, KFX_E_TIMEOUT);
    char me[32];
    snprintf(me, sizeof me, "process %d (", (int)getpid());
    if (!strstr(err.msg, me) && !strstr(err.msg, "another process"))
        fail_msg("%s", err.msg);
    assert_int_equal(kfx_file_lock("nowhere/lock", 0, &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
}

static void test_lock_is_taken_when_the_holder_ends(void **state)
{
    (void)state;
    int ready[2], go[2];
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = kfx_file_lock("lock", 0, NULL);
        char c = fd >= 0 ? 'y' : 'n';
        if (write(ready[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
            _exit(1);
        _exit(0); /* the kernel drops the lock */
    }
    char c = 0;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    assert_int_equal(kfx_file_lock("lock", 0, NULL), -1);
    assert_int_equal(write(go[1], &c, 1), 1);
    KFX_CLOSE int fd = kfx_file_lock("lock", 10000, NULL);
    assert_true(fd >= 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
}

static void test_lock_leaves_content_alone(void **state)
{
    (void)state;
    put("f", "precious", 0640);
    KFX_CLOSE int fd = kfx_file_lock("f", 0, NULL);
    assert_true(fd >= 0);
    expect("f", "precious");
    assert_int_equal(mode_of("f"), 0640);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write_and_read),
        TEST(test_absolute_path),
        TEST(test_existing_file_keeps_its_mode),
        TEST(test_existing_file_keeps_its_owner),
        TEST(test_symbolic_links_are_followed),
        TEST(test_write_errors),
        TEST(test_read_errors),
        TEST(test_large_file),
        TEST(test_readers_never_see_half),
        TEST(test_lock_excludes_and_names_the_holder),
        TEST(test_lock_is_taken_when_the_holder_ends),
        TEST(test_lock_leaves_content_alone),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
