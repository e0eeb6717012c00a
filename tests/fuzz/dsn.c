/* tests/fuzz/dsn.c: a DSN that somebody put into a Secret, and the round trip of our own with any password and server.
 */
#include "base/mem.h"
#include "storage-agent/outside.h"
#include "storage-agent/secret.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

static char *text_of(kfx_input_t *in, size_t max)
{
    size_t len;
    const uint8_t *part = kfx_take_part(in, &len);
    char *text = kfx_xcalloc(1, len + 1);
    memcpy(text, part, len < max ? len : max);
    return text;
}

/* A user's Secret: what is understood is written again so that it is understood as the same. */
static void read_users(const char *dsn)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_SECRET json_t *secret = kfx_secret_new("ns", "name", "Opaque");
    KFX_CLEANUP(kfx_outside_clear) kfx_outside_t first = {.etcd = false}, second = {.etcd = false};

    kfx_secret_set(secret, "endpoint", dsn);
    kfx_secret_set(secret, "ca.crt", "CA");
    if (kfx_outside_read(&first, secret, &err) < 0) {
        assert(err.code == KFX_E_INVALID);
        return;
    }
    assert(kfx_outside_dsn(first.endpoint, &second));
    assert(strcmp(first.host, second.host) == 0 && strcmp(first.port, second.port) == 0);
    assert(strcmp(first.database, second.database) == 0 && strcmp(first.user, second.user) == 0);
    assert(strcmp(first.password, second.password) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_input_t in = {data, size};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_storage_names_t names;
    char password[KFX_PASSWORD_SIZE];
    assert(kfx_storage_names("cp1", "4f0c8a52-0000-4000-8000-0123456789ab", &names, &err) == 0);
    KFX_FREE char *foreign = text_of(&in, 4096), *mine = text_of(&in, KFX_PASSWORD_SIZE - 1), *host = text_of(&in, 255);
    kfx_dsn_password(foreign, &names, password);
    kfx_storage_server_t server = {.host = host, .port = "5432", .ca_pem = ""};
    KFX_FREE char *dsn = kfx_dsn_write(&names, &server, mine);
    if (mine[0] && host[0] && kfx_dsn_password(dsn, &names, password))
        assert(strcmp(password, mine) == 0);
    kfx_dsn_hash_matches(foreign, "0123456789abcdef");
    read_users(foreign);
    read_users(dsn);
    return 0;
}
