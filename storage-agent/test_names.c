/* Names, DSN and hash of the storage agent: hostile plane names stay harmless and within PostgreSQL's limit. */
#include "storage-agent/names.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define UID "4F0C9a3e-1b2c-4d5e-8f90-a1b2c3d4e5f6"
#define DIGITS "4f0c9a3e1b2c4d5e8f90a1b2c3d4e5f6"

static const kfx_storage_server_t server = {"postgres-postgresql.kubeflex-system.svc", "5432", "CA-PEM"};

static void names_of(const char *plane, const char *database, const char *login)
{
    kfx_storage_names_t names;
    assert_int_equal(kfx_storage_names(plane, UID, &names, NULL), 0);
    assert_string_equal(names.database, database);
    assert_string_equal(names.owner, database);
    assert_string_equal(names.login, login);
    assert_true(strlen(names.login) <= 63);
    kfx_storage_names_swap(&names);
    assert_string_equal(names.other, login);
    assert_memory_equal(names.login, login, strlen(login) - 1);
    assert_int_equal(names.login[strlen(login) - 1], 'b');
}

static void test_names(void **state)
{
    (void)state;
    names_of("cp1", "cp1_" DIGITS, "cp1_" DIGITS "_a");
    names_of("postgres", "postgres_" DIGITS, "postgres_" DIGITS "_a");
    names_of("select", "select_" DIGITS, "select_" DIGITS "_a");
    names_of("1cp", "1cp_" DIGITS, "1cp_" DIGITS "_a");
    names_of("a\"b';--", "a\"b';--_" DIGITS, "a\"b';--_" DIGITS "_a");
    /* 60 characters: cut to 26 */
    names_of("abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwxyz_" DIGITS,
             "abcdefghijklmnopqrstuvwxyz_" DIGITS "_a");
}

static void test_bad_uid(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "4f0c",
                                      "4f0c9a3e-1b2c-4d5e-8f90-a1b2c3d4e5f",
                                      "4f0c9a3e-1b2c-4d5e-8f90-a1b2c3d4e5f67",
                                      "4f0c9a3e-1b2c-4d5e-8f90-a1b2c3d4e5fg",
                                      "'; DROP DATABASE postgres; --"};
    kfx_storage_names_t names;
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        assert_int_equal(kfx_storage_names("cp1", bad[i], &names, &err), -1);
        assert_int_equal(err.code, KFX_E_INVALID);
    }
    assert_int_equal(kfx_storage_names("", UID, &names, NULL), -1);
}

static void test_lock_follows_uid_only(void **state)
{
    (void)state;
    kfx_storage_names_t a, b, c;
    assert_int_equal(kfx_storage_names("cp1", UID, &a, NULL), 0);
    assert_int_equal(kfx_storage_names("cp2", DIGITS, &b, NULL), 0);
    assert_int_equal(kfx_storage_names("cp1", "00000000-0000-0000-0000-000000000001", &c, NULL), 0);
    assert_true(a.lock == b.lock);
    assert_true(a.lock != c.lock);
    assert_true(strcmp(a.database, c.database) != 0);
}

static void test_escape(void **state)
{
    (void)state;
    KFX_FREE char *text = kfx_url_escape("a b/c@d:e%f?g#h\"\xc3\xa9-._~Z9");
    assert_string_equal(text, "a%20b%2Fc%40d%3Ae%25f%3Fg%23h%22%C3%A9-._~Z9");
    KFX_FREE char *empty = kfx_url_escape("");
    assert_string_equal(empty, "");
}

static void test_dsn_round_trip(void **state)
{
    (void)state;
    static const char *const passwords[] = {"simple", "p@ss:w/o?r#d%", "\"'\\ ", "%41"};
    kfx_storage_names_t names;
    char password[KFX_PASSWORD_SIZE];

    assert_int_equal(kfx_storage_names("cp1", UID, &names, NULL), 0);
    KFX_FREE char *plain = kfx_dsn_write(&names, &server, "secret");
    assert_string_equal(plain,
                        "postgres://cp1_" DIGITS "_a:secret@postgres-postgresql.kubeflex-system.svc:5432/cp1_" DIGITS
                        "?sslmode=verify-full&sslrootcert=/etc/kine/tls/ca.crt");
    for (size_t i = 0; i < KFX_COUNT(passwords); i++) {
        KFX_FREE char *dsn = kfx_dsn_write(&names, &server, passwords[i]);
        assert_true(kfx_dsn_password(dsn, &names, password));
        assert_string_equal(password, passwords[i]);
    }
}

static void test_dsn_of_somebody_else(void **state)
{
    (void)state;
    static const char *const foreign[] = {
        "",
        "postgres://",
        "mysql://cp1_" DIGITS "_a:x@h:1/cp1_" DIGITS,
        "postgres://postgres:x@h:1/cp1_" DIGITS,
        "postgres://cp1_" DIGITS "_a:x@h:1/postgres",
        "postgres://cp1_" DIGITS "_a:x@h:1/cp1_" DIGITS "0",
        "postgres://cp1_" DIGITS "_a:@h:1/cp1_" DIGITS,
        "postgres://cp1_" DIGITS "_a:%4@h:1/cp1_" DIGITS,
        "postgres://cp1_" DIGITS "_a:%00@h:1/cp1_" DIGITS,
        "postgres://cp1_" DIGITS "_a@h:1/cp1_" DIGITS,
        "postgres://cp1_" DIGITS
        "_a:0123456789012345678901234567890123456789012345678901234567890123456789@h:1/cp1_" DIGITS,
    };
    kfx_storage_names_t names;
    char password[KFX_PASSWORD_SIZE];

    assert_int_equal(kfx_storage_names("cp1", UID, &names, NULL), 0);
    for (size_t i = 0; i < KFX_COUNT(foreign); i++)
        assert_false(kfx_dsn_password(foreign[i], &names, password));
    assert_false(kfx_dsn_password(NULL, &names, password));
}

static void test_hash(void **state)
{
    (void)state;
    kfx_storage_names_t names, other;
    kfx_storage_server_t moved = server;
    char a[KFX_DSN_HASH_PART], b[KFX_DSN_HASH_PART], text[64];

    assert_int_equal(kfx_storage_names("cp1", UID, &names, NULL), 0);
    assert_int_equal(kfx_storage_names("cp2", UID, &other, NULL), 0);
    kfx_dsn_hash(&names, &server, a);
    assert_int_equal(strlen(a), 16);
    kfx_dsn_hash(&names, &server, b);
    assert_string_equal(a, b);
    kfx_dsn_hash(&other, &server, b);
    assert_string_not_equal(a, b);
    moved.ca_pem = "OTHER-CA";
    kfx_dsn_hash(&names, &moved, b);
    assert_string_not_equal(a, b);

    char stamp[KFX_DSN_STAMP_SIZE];
    kfx_dsn_stamp_make(20782, "0123456789abcdef", "fffff", stamp);
    snprintf(text, sizeof text, "%s-%s", a, stamp);
    assert_true(kfx_dsn_hash_matches(text, a));
    assert_false(kfx_dsn_hash_matches(text, b));
    assert_false(kfx_dsn_hash_matches(a, a));
    assert_false(kfx_dsn_hash_matches("", a));
    assert_false(kfx_dsn_hash_matches(NULL, a));
    assert_string_equal(kfx_dsn_stamp(text), stamp);
    assert_int_equal(kfx_dsn_stamp_day(stamp), 20782);
    snprintf(text, sizeof text, "%s-%.13sX", a, stamp);
    assert_false(kfx_dsn_hash_matches(text, a));
    assert_null(kfx_dsn_stamp(text));
    snprintf(text, sizeof text, "%s-0123abcd", a); /* of an earlier form */
    assert_false(kfx_dsn_hash_matches(text, a));

    kfx_storage_names_swap(&names); /* the login role in use changes nothing else */
    kfx_dsn_hash(&names, &server, b);
    assert_string_equal(a, b);
}

static void test_due(void **state)
{
    (void)state;
    char stamp[KFX_DSN_STAMP_SIZE];

    kfx_dsn_stamp_make(20782, "", "fffff", stamp);
    assert_false(kfx_dsn_stamp_due(stamp, "", 29999, 0)); /* any age */
    assert_false(kfx_dsn_stamp_due(stamp, "", 20871, 90));
    assert_true(kfx_dsn_stamp_due(stamp, "", 20872, 90));
    assert_true(kfx_dsn_stamp_due(stamp, "0123456789abcdef", 20782, 0)); /* asked for */
    kfx_dsn_stamp_make(20782, "0123456789abcdef", "fffff", stamp);
    assert_false(kfx_dsn_stamp_due(stamp, "0123456789abcdef", 20782, 0)); /* and done */
    assert_true(kfx_dsn_stamp_due(stamp, "9123456789abcdef", 20782, 0));
    assert_false(kfx_dsn_stamp_due(stamp, "", 20782, 0)); /* the annotation was taken away */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bad_uid),
        cmocka_unit_test(test_lock_follows_uid_only),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_dsn_round_trip),
        cmocka_unit_test(test_dsn_of_somebody_else),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
