/* bus/keydir.c: keys in a folder, see keystore.h. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "bus/keystore.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define SERVER_SECRET "kubeflex-bus"

static int put(const char *dir, const char *name, const char *value, kfx_error_t *err)
{
    KFX_FREE char *path = kfx_xasprintf("%s/%s", dir, name);
    return kfx_file_write_atomic(path, value, strlen(value), 0600, err);
}

static bool exists(const char *dir, const char *name)
{
    KFX_FREE char *path = kfx_xasprintf("%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* Makes a pair where there is none. server_key: written beside it, or NULL. */
static int ensure(const char *root, const char *secret, const char *server_key, kfx_error_t *err)
{
    KFX_FREE char *dir = kfx_xasprintf("%s/%s", root, secret);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot make %s: %s", dir, strerror(errno));
    if (!exists(dir, "public.key")) {
        char public_key[KFX_Z85_SIZE], secret_key[KFX_Z85_SIZE];
        if (zmq_curve_keypair(public_key, secret_key) != 0)
            return kfx_error_set(err, KFX_E_INTERNAL, "libzmq was built without CURVE");
        int rc = put(dir, "secret.key", secret_key, err); /* the public one last: it says that the pair is whole */
        kfx_wipe(secret_key, sizeof(secret_key));
        if (rc != 0 || put(dir, "public.key", public_key, err) != 0)
            return -1;
    }
    return server_key ? put(dir, "server.key", server_key, err) : 0;
}

static int read_server(const char *root, kfx_bus_keys_t *server, kfx_error_t *err)
{
    static const char *const names[] = {"public.key", "secret.key"};
    char *out[] = {server->public_key, server->secret_key};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        KFX_FREE char *path = kfx_xasprintf("%s/" SERVER_SECRET "/%s", root, names[i]);
        size_t len;
        char *text = kfx_file_read(path, 1024, &len, err);
        if (!text)
            return -1;
        text[strcspn(text, "\r\n")] = '\0';
        bool good = kfx_bus_key_valid(text);
        if (good)
            kfx_copy(out[i], KFX_Z85_SIZE, text);
        kfx_wipe(text, len);
        free(text);
        if (!good)
            return kfx_error_set(err, KFX_E_INVALID, "%s is no Z85 text of 40 characters", path);
    }
    kfx_copy(server->server_key, KFX_Z85_SIZE, server->public_key);
    return 0;
}

int kfx_keystore_dir(const char *dir, kfx_bus_keys_t *server, kfx_auth_t *auth, kfx_error_t *err)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot make %s: %s", dir, strerror(errno));
    if (ensure(dir, SERVER_SECRET, NULL, err) != 0 || read_server(dir, server, err) != 0)
        return -1;
    char name[KFX_SERVICE_SIZE];
    const char *role;
    for (size_t i = 0; (role = kfx_role_at(i, name)); i++) {
        char secret[128];
        kfx_bus_keys_t keys;
        kfx_bus_role_secret(role, secret);
        if (ensure(dir, secret, server->public_key, err) != 0 || kfx_bus_keys_from_dir(dir, role, &keys, err) != 0)
            return -1;
        kfx_auth_set(auth, role, keys.public_key, kfx_now_ms());
        kfx_wipe(&keys, sizeof(keys));
    }
    return 0;
}
