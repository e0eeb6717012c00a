/* bus/keys.c: see keys.h. */
#include "bus/keys.h"

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

bool kfx_bus_key_valid(const char *key)
{
    uint8_t binary[32];
    bool good = key && strlen(key) == KFX_Z85_SIZE - 1 && zmq_z85_decode(binary, key) != NULL;
    kfx_wipe(binary, sizeof(binary));
    return good;
}

void kfx_bus_role_secret(const char *role, char out[128])
{
    snprintf(out, 128, "kubeflex-bus-%s", role);
    for (char *c = out; *c; c++)
        if (*c == ':')
            *c = '-';
}

/* text is wiped by the caller. A line end, as editors leave it, is no part of the key. */
static int take(const char *name, char *text, char out[KFX_Z85_SIZE], kfx_error_t *err)
{
    text[strcspn(text, "\r\n")] = '\0';
    if (!kfx_bus_key_valid(text))
        return kfx_error_set(err, KFX_E_INVALID, "%s is no Z85 text of 40 characters", name);
    kfx_copy(out, KFX_Z85_SIZE, text);
    return 0;
}

static int from_secret(const json_t *secret, const char *name, char out[KFX_Z85_SIZE], kfx_error_t *err)
{
    const char *data = kfx_json_str(secret, "data", name);
    const char *owner = kfx_json_str(secret, "metadata", "name");
    if (!data)
        return kfx_error_set(err, KFX_E_INVALID, "Secret %s has no key %s", owner ? owner : "?", name);
    size_t len;
    char *text = kfx_base64_decode(data, &len, NULL);
    if (!text)
        return kfx_error_set(err, KFX_E_INVALID, "key %s of Secret %s is no base64", name, owner ? owner : "?");
    int rc = take(name, text, out, err);
    kfx_wipe(text, len);
    free(text);
    return rc == 0 ? 0 : kfx_error_wrap(err, "Secret %s", owner ? owner : "?");
}

int kfx_bus_keys_from_secret(const json_t *secret, kfx_bus_keys_t *keys, kfx_error_t *err)
{
    kfx_bus_keys_t found = {"", "", ""};
    int rc = 0;
    if (from_secret(secret, "public.key", found.public_key, err) != 0 ||
        from_secret(secret, "secret.key", found.secret_key, err) != 0 ||
        from_secret(secret, "server.key", found.server_key, err) != 0)
        rc = -1;
    if (rc == 0)
        *keys = found;
    kfx_wipe(&found, sizeof(found));
    return rc;
}

static int from_file(const char *dir, const char *secret, const char *name, char out[KFX_Z85_SIZE], kfx_error_t *err)
{
    KFX_FREE char *path = kfx_xasprintf("%s/%s/%s", dir, secret, name);
    size_t len;
    char *text = kfx_file_read(path, 1024, &len, err);
    if (!text)
        return -1;
    int rc = take(path, text, out, err);
    kfx_wipe(text, len);
    free(text);
    return rc;
}

int kfx_bus_keys_from_dir(const char *dir, const char *role, kfx_bus_keys_t *keys, kfx_error_t *err)
{
    char secret[128];
    kfx_bus_role_secret(role, secret);
    kfx_bus_keys_t found = {"", "", ""};
    int rc = 0;
    if (from_file(dir, secret, "public.key", found.public_key, err) != 0 ||
        from_file(dir, secret, "secret.key", found.secret_key, err) != 0 ||
        from_file(dir, secret, "server.key", found.server_key, err) != 0)
        rc = -1;
    if (rc == 0)
        *keys = found;
    kfx_wipe(&found, sizeof(found));
    return rc;
}
