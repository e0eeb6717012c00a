/* What a digest asks for and which step follows from what is there: the pure halves of task.c and database.c; the form
 * of the Secret; the certificate, checked by OpenSSL itself. */
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "storage-agent/certs.h"
#include "storage-agent/database.h"
#include "storage-agent/shared.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define UID "4f0c9a3e-1b2c-4d5e-8f90-a1b2c3d4e5f6"

static const char wanted[KFX_DSN_HASH_PART] = "0123456789abcdef";

static kfx_storage_ask_t ask(bool deleting, kfx_child_t *children, size_t count)
{
    kfx_digest_t digest = {.type = "k8s", .count = count, .children = children};
    kfx_storage_job_t job = {.plane = "cp1", .uid = UID, .deleting = deleting, .digest = &digest};
    return kfx_storage_ask(&job, wanted);
}

static void test_ask(void **state)
{
    (void)state;
    kfx_child_t space = {.kind = "Namespace", .name = "cp1-system", .owned = true};
    kfx_child_t secret = {
        .kind = "Secret", .name = "kine-dsn", .owned = true, .hash = "0123456789abcdef-5060abcde01234"};
    kfx_child_t both[2];

#define ASK(deleting) (both[0] = space, both[1] = secret, ask(deleting, both, 2))
    assert_int_equal(ask(false, NULL, 0), KFX_ASK_DATABASE);
    assert_int_equal(ask(false, &space, 1), KFX_ASK_SECRET);
    assert_int_equal(ask(true, &space, 1), KFX_ASK_DROP);
    assert_int_equal(ask(true, NULL, 0), KFX_ASK_DROP);
    assert_int_equal(ASK(false), KFX_ASK_NOTHING);
    assert_int_equal(ASK(true), KFX_ASK_DROP);

    secret.drifted = true;
    assert_int_equal(ASK(false), KFX_ASK_SECRET);
    secret.drifted = false;
    secret.owned = false;
    assert_int_equal(ASK(false), KFX_ASK_SECRET);
    secret.owned = true;
    secret.terminating = true;
    assert_int_equal(ASK(false), KFX_ASK_SECRET);
    secret.terminating = false;
    kfx_copy(secret.hash, sizeof secret.hash, "ffff456789abcdef-5060abcde01234");
    assert_int_equal(ASK(false), KFX_ASK_SECRET);
    kfx_copy(secret.hash, sizeof secret.hash, "");
    assert_int_equal(ASK(false), KFX_ASK_SECRET);

    space.owned = false; /* a Namespace that is somebody else's gets no Secret */
    assert_int_equal(ASK(false), KFX_ASK_DATABASE);
    space.owned = true;
    space.terminating = true;
    assert_int_equal(ASK(false), KFX_ASK_DATABASE);
    space.terminating = false;
    kfx_copy(space.name, sizeof space.name, "cp2-system");
    assert_int_equal(ASK(false), KFX_ASK_DATABASE);
}

static void test_steps_live(void **state)
{
    (void)state;
    kfx_db_state_t s = {0};

    assert_int_equal(kfx_db_next(&s, false), KFX_DB_ROLES);
    s.owner = true;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_ROLES);
    s.login = s.can_login = s.limited = true;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_ROLES);
    s.member = true;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_CREATE);
    s.database = true;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_FOREIGN);
    s.owned = true;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_SETTLE);
    s.settled = true;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_SETTLE);
    s.open = true;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_DONE);
    s.settled = false; /* somebody granted CONNECT to PUBLIC again */
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_SETTLE);
    s.settled = true;
    s.can_login = false;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_LOGIN);
    s.can_login = true;
    s.limited = false;
    assert_int_equal(kfx_db_next(&s, false), KFX_DB_LOGIN);
}

static void test_steps_deleting(void **state)
{
    (void)state;
    kfx_db_state_t s = {.owner = true,
                        .login = true,
                        .member = true,
                        .can_login = true,
                        .limited = true,
                        .database = true,
                        .owned = true,
                        .settled = true,
                        .open = true};

    assert_int_equal(kfx_db_next(&s, true), KFX_DB_LOCKOUT);
    s.can_login = false;
    assert_int_equal(kfx_db_next(&s, true), KFX_DB_DROP);
    s.database = false;
    assert_int_equal(kfx_db_next(&s, true), KFX_DB_DROP_ROLES);
    s.login = false;
    assert_int_equal(kfx_db_next(&s, true), KFX_DB_DROP_ROLES);
    s.owner = false;
    s.other = s.other_can_login = true; /* a password is being replaced */
    assert_int_equal(kfx_db_next(&s, true), KFX_DB_LOCKOUT);
    s.other_can_login = false;
    assert_int_equal(kfx_db_next(&s, true), KFX_DB_DROP_ROLES);
    s.other = false;
    assert_int_equal(kfx_db_next(&s, true), KFX_DB_DONE);
}

static void test_secret(void **state)
{
    (void)state;
    const kfx_storage_server_t server = {"h.svc", "5432", "CA-PEM"};
    kfx_storage_names_t names;
    kfx_dsn_seen_t seen;

    assert_int_equal(kfx_storage_names("cp1", UID, &names, NULL), 0);
    KFX_SECRET json_t *secret =
        kfx_dsn_secret("cp1", UID, &names, &server, "pass/word", "0123456789abcdef-5060abcde01234");
    assert_string_equal(kfx_json_str(secret, "metadata", "namespace"), "cp1-system");
    assert_string_equal(kfx_json_str(secret, "metadata", "name"), "kine-dsn");
    assert_string_equal(kfx_json_str(secret, "metadata", "labels", "kflex.kubestellar.org/controlplane"), "cp1");
    assert_string_equal(kfx_json_str(secret, "metadata", "ownerReferences", "0", "uid"), UID);
    KFX_FREE char *ca = kfx_secret_value(secret, "ca.crt", NULL);
    assert_string_equal(ca, "CA-PEM");
    assert_null(kfx_secret_value(secret, "nothing", NULL));

    kfx_dsn_inspect(secret, UID, &names, &seen);
    assert_true(seen.ours && seen.usable);
    assert_string_equal(seen.password, "pass/word");
    assert_string_equal(seen.hash, "0123456789abcdef-5060abcde01234");
    assert_false(seen.swapped);
    kfx_storage_names_swap(&names);
    kfx_dsn_inspect(secret, UID, &names, &seen); /* the names' own order is the other one */
    assert_true(seen.ours && seen.usable && seen.swapped);
    kfx_dsn_inspect(secret, "another", &names, &seen);
    assert_false(seen.ours);
    kfx_json_put(secret, json_false(), "metadata", "ownerReferences"); /* no list at all */
    kfx_json_put(secret, json_string("%%%"), "data", "endpoint");      /* no base64 */
    kfx_dsn_inspect(secret, UID, &names, &seen);
    assert_false(seen.ours || seen.usable);
}

static X509 *parse(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(cert);
    return cert;
}

static int verify(X509 *cert, X509 *ca, const char *host)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, cert, NULL);
    X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), host, 0);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
    int ok = X509_verify_cert(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return ok == 1;
}

static void test_certificate(void **state)
{
    (void)state;
    static const char *const names[] = {"postgres-postgresql", "postgres-postgresql.kubeflex-system.svc", "127.0.0.1"};
    KFX_CLEANUP(kfx_server_cert_free) kfx_server_cert_t made = {0};

    assert_int_equal(kfx_server_cert_make(names, 3, &made, NULL), 0);
    X509 *ca = parse(made.ca_pem), *cert = parse(made.cert_pem);
    assert_true(verify(cert, ca, "postgres-postgresql"));
    assert_true(verify(cert, ca, "postgres-postgresql.kubeflex-system.svc"));
    assert_false(verify(cert, ca, "postgres-postgresql.other.svc"));
    assert_true(X509_check_ip_asc(cert, "127.0.0.1", 0) == 1);
    assert_false(X509_check_ca(cert) == 1);
    assert_non_null(strstr(made.key_pem, "BEGIN PRIVATE KEY"));
    X509_free(cert);
    X509_free(ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask),    cmocka_unit_test(test_steps_live),  cmocka_unit_test(test_steps_deleting),
        cmocka_unit_test(test_secret), cmocka_unit_test(test_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
