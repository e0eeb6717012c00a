/* The file of a backup: what is written is read again, and nothing else is taken for one. */
#include "cli/backup_file.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LARGE (3 * KFX_BACKUP_PIECE + 17)

static char dir[] = "/tmp/kflex-test-XXXXXX";
static char path[64];

static kfx_backup_record_t record_of(const char *key, uint32_t value_len, int64_t created, int64_t changed, int64_t ttl)
{
    kfx_backup_record_t record = {
        .key_len = (uint32_t)strlen(key), .value_len = value_len, .created = created, .changed = changed, .ttl = ttl};
    kfx_copy(record.key, sizeof record.key, key);
    return record;
}

static char *large_value(void)
{
    char *value = kfx_xcalloc(1, LARGE);
    for (size_t i = 0; i < LARGE; i++)
        value[i] = (char)(i * 7);
    return value;
}

static void write_sample(void)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *header = json_pack("{s:s, s:i}", "plane", "cp1", "revision", 90);
    KFX_FREE char *value = large_value();
    kfx_backup_writer_t *writer = kfx_backup_create(path, header, &err);
    assert_non_null(writer);
    kfx_backup_record_t a = record_of("/registry/a", LARGE, 3, 90, 0), b = record_of("/registry/b", 0, 4, 4, 3600);
    assert_int_equal(kfx_backup_write(writer, &a, value, &err), 0);
    assert_int_equal(kfx_backup_write(writer, &b, "", &err), 0);
    assert_int_equal(kfx_backup_write(writer, &a, value, &err), -1); /* it would be no file that is read again */
    kfx_backup_sum_t sum;
    assert_int_equal(kfx_backup_finish(&writer, &sum, &err), 0);
    assert_int_equal(sum.records, 2);
    assert_int_equal(sum.bytes, 2 * strlen("/registry/a") + LARGE);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/cp1", dir);
    write_sample();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir); /* nothing was left there */
}

/* Reads all of it; the code of what is wrong, KFX_OK where it is right. */
static kfx_code_t check(const char *data, size_t len)
{
    kfx_error_t err = KFX_ERROR_INIT;
    FILE *file = fmemopen((void *)(uintptr_t)data, len, "r");
    assert_non_null(file);
    kfx_backup_record_t record;
    KFX_BACKUP_READER kfx_backup_reader_t *reader = kfx_backup_open(file, &err);
    int rc = reader ? 1 : -1;
    while (rc > 0)
        rc = kfx_backup_next(reader, &record, &err);
    fclose(file);
    assert_int_equal(rc, err.code == KFX_OK ? 0 : -1);
    return err.code;
}

static void test_round_trip(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    KFX_BACKUP_READER kfx_backup_reader_t *reader = kfx_backup_open(file, &err);
    assert_non_null(reader);
    assert_string_equal(kfx_json_str(kfx_backup_header(reader), "plane"), "cp1");
    assert_int_equal(kfx_backup_revision(reader), 90);
    kfx_backup_record_t record;
    assert_int_equal(kfx_backup_next(reader, &record, &err), 1);
    assert_string_equal(record.key, "/registry/a");
    assert_int_equal(record.created, 3);
    assert_int_equal(record.changed, 90);
    assert_int_equal(record.ttl, 0);
    KFX_FREE char *value = large_value(), *piece = kfx_xcalloc(1, KFX_BACKUP_PIECE);
    size_t at = 0;
    int got;
    while ((got = kfx_backup_piece(reader, piece, &err)) > 0) {
        assert_memory_equal(piece, value + at, got);
        at += (size_t)got;
    }
    assert_int_equal(got, 0);
    assert_int_equal(at, LARGE);
    assert_int_equal(kfx_backup_next(reader, &record, &err), 1);
    assert_string_equal(record.key, "/registry/b");
    assert_int_equal(record.ttl, 3600);
    assert_int_equal(kfx_backup_next(reader, &record, &err), 0);
    assert_int_equal(kfx_backup_next(reader, &record, &err), 0);
    assert_int_equal(kfx_backup_sum(reader)->records, 2);
    fclose(file);
}

/* One bit of any byte, or any part of the end less. */
static void test_damage(void **state)
{
    (void)state;
    size_t len;
    KFX_FREE char *data = kfx_file_read(path, 1 << 20, &len, NULL);
    assert_non_null(data);
    assert_int_equal(check(data, len), KFX_OK);
    for (size_t i = 0; i < len; i += i < 256 || i + 256 > len ? 1 : 997) {
        data[i] ^= 0x10;
        assert_int_equal(check(data, len), KFX_E_INVALID);
        data[i] ^= 0x10;
    }
    for (size_t cut = 1; cut < 256; cut++)
        assert_int_equal(check(data, len - cut), KFX_E_INVALID);
    KFX_FREE char *longer = kfx_xcalloc(1, len + 1);
    memcpy(longer, data, len);
    assert_int_equal(check(longer, len + 1), KFX_E_INVALID);
}

static void test_only_ours_to_read(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* A backup that ends early leaves nothing behind, and what was there before as it was. */
static void test_given_up(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *header = json_pack("{s:i}", "revision", 1);
    kfx_backup_writer_t *writer = kfx_backup_create(path, header, &err);
    assert_non_null(writer);
    kfx_backup_writer_t *second = kfx_backup_create(path, header, &err);
    assert_null(second);
    assert_int_equal(err.code, KFX_E_EXISTS);
    KFX_FREE char *part = kfx_xasprintf("%s.part", path);
    assert_int_equal(access(part, F_OK), 0); /* the refused one took nothing away */
    kfx_backup_abort(&writer);
    assert_int_equal(access(part, F_OK), -1);
    size_t len;
    KFX_FREE char *data = kfx_file_read(path, 1 << 20, &len, NULL);
    assert_int_equal(check(data, len), KFX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_only_ours_to_read),
        cmocka_unit_test(test_given_up),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
