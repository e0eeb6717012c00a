/* storage-agent/secret.c: see secret.h. */
#include "storage-agent/secret.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "proto/model.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

char *kfx_secret_value(const json_t *secret, const char *key, kfx_error_t *err)
{
    const char *name = kfx_json_str(secret, "metadata", "name");
    const char *text = kfx_json_str(secret, "data", key);
    size_t len = 0;

    char *value = text ? kfx_base64_decode(text, &len, err) : NULL;
    if (!value || len == 0 || strlen(value) != len) {
        if (value)
            kfx_wipe(value, len);
        free(value);
        kfx_error_set(err, KFX_E_INVALID, "Secret %s has no usable key '%s'", name ? name : "?", key);
        return NULL;
    }
    return value;
}

json_t *kfx_secret_new(const char *ns, const char *name, const char *type)
{
    json_t *secret = json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:{}}", "apiVersion", "v1", "kind", "Secret", "metadata",
                               "name", name, "namespace", ns, "type", type, "data");
    if (!secret)
        abort();
    return secret;
}

void kfx_secret_set(json_t *secret, const char *key, const char *value)
{
    char *text = kfx_base64_encode(value, strlen(value));
    kfx_json_put(secret, json_string(text), "data", key);
    kfx_wipe(text, strlen(text));
    free(text);
}

void kfx_secret_free(json_t **secret_p)
{
    json_t *data = json_object_get(*secret_p, "data");
    const char *key;
    json_t *value;

    json_object_foreach (data, key, value) {
        /* jansson gives its own buffer as const; it is ours to overwrite while nobody else holds the string. */
        if (json_is_string(value) && value->refcount == 1 && (*secret_p)->refcount == 1) {
            union {
                const char *in;
                char *out;
            } text = {json_string_value(value)};
            kfx_wipe(text.out, json_string_length(value));
        }
    }
    json_decref(*secret_p);
    *secret_p = NULL;
}

static int random_of(const char *alphabet, char *out, size_t n, kfx_error_t *err)
{
    size_t letters = strlen(alphabet);
    unsigned limit = (unsigned)(256 - 256 % letters); /* bytes above it would favour the first letters */

    for (size_t i = 0; i < n;) {
        unsigned char byte;
        if (RAND_bytes(&byte, 1) != 1)
            return kfx_error_set(err, KFX_E_INTERNAL, "OpenSSL gives no random bytes");
        if (byte < limit)
            out[i++] = alphabet[byte % letters];
    }
    out[n] = '\0';
    return 0;
}

int kfx_random_text(char *out, size_t n, kfx_error_t *err)
{
    return random_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", out, n, err);
}

int kfx_random_hex(char *out, size_t n, kfx_error_t *err)
{
    return random_of("0123456789abcdef", out, n, err);
}

void kfx_dsn_inspect(const json_t *secret, const char *uid, const kfx_storage_names_t *names, kfx_dsn_seen_t *seen)
{
    size_t i;
    const json_t *ref;

    memset(seen, 0, sizeof *seen);
    json_array_foreach (kfx_json_get(secret, "metadata", "ownerReferences"), i, ref) {
        const char *owner = kfx_json_str(ref, "uid");
        if (kfx_json_bool(ref, false, "controller") && owner && strcmp(owner, uid) == 0)
            seen->ours = true;
    }
    const char *hash = kfx_json_str(secret, "metadata", "annotations", KFX_ANNOTATION_HASH);
    kfx_copy(seen->hash, sizeof seen->hash, hash ? hash : "");
    char *dsn = kfx_secret_value(secret, "endpoint", NULL);
    if (!dsn)
        return;
    kfx_storage_names_t swapped = *names;
    kfx_storage_names_swap(&swapped);
    seen->usable = kfx_dsn_password(dsn, names, seen->password);
    if (!seen->usable)
        seen->usable = seen->swapped = kfx_dsn_password(dsn, &swapped, seen->password);
    kfx_wipe(dsn, strlen(dsn));
    free(dsn);
}

json_t *kfx_dsn_secret(const char *plane, const char *uid, const kfx_storage_names_t *names,
                       const kfx_storage_server_t *server, const char *password, const char *hash)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    json_t *secret = kfx_secret_new(ns, KFX_SECRET_DSN, "Opaque");

    kfx_json_put(secret, json_string(plane), "metadata", "labels", KFX_LABEL_PLANE);
    kfx_json_put(secret, json_string(hash), "metadata", "annotations", KFX_ANNOTATION_HASH);
    kfx_json_put(secret,
                 json_pack("[{s:s, s:s, s:s, s:s, s:b, s:b}]", "apiVersion", KFX_API_VERSION, "kind", "ControlPlane",
                           "name", plane, "uid", uid, "controller", 1, "blockOwnerDeletion", 1),
                 "metadata", "ownerReferences");
    char *dsn = kfx_dsn_write(names, server, password);
    kfx_secret_set(secret, "endpoint", dsn);
    kfx_wipe(dsn, strlen(dsn));
    free(dsn);
    kfx_secret_set(secret, "ca.crt", server->ca_pem);
    return secret;
}
