/* tests/pg/store.c: see store.h. */
#include "tests/pg/store.h"

#include "base/json.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct store {
    pthread_mutex_t mutex;
    json_t *objects; /* "ns/name" -> Secret */
    json_t *seen;    /* secret values */
    int failing;
    size_t writes;
    long version;
};

static void key_of(char out[512], const char *ns, const char *name)
{
    snprintf(out, 512, "%s/%s", ns, name);
}

/* Remembers passwords, keys and the password part of DSNs. */
static void remember(store_t *self, const json_t *secret)
{
    static const char *const keys[] = {"postgres-password", "password", "tls.key", "endpoint"};
    for (size_t i = 0; i < KFX_COUNT(keys); i++) {
        KFX_FREE char *value = kfx_secret_value(secret, keys[i], NULL);
        if (!value)
            continue;
        if (strcmp(keys[i], "endpoint") == 0) {
            char *colon = strchr(value + strlen("postgres://"), ':');
            char *at = colon ? strchr(colon, '@') : NULL;
            if (at)
                json_array_append_new(self->seen, json_stringn(colon + 1, (size_t)(at - colon - 1)));
        } else {
            json_array_append_new(self->seen, json_string(value));
        }
    }
}

static void put_object(store_t *self, const char *ns, json_t *secret)
{
    char key[512], version[32];
    key_of(key, ns, kfx_json_str(secret, "metadata", "name"));
    snprintf(version, sizeof version, "%ld", ++self->version);
    kfx_json_put(secret, json_string(version), "metadata", "resourceVersion");
    kfx_json_put(secret, json_string("secret-uid"), "metadata", "uid");
    remember(self, secret);
    json_object_set_new(self->objects, key, secret);
    self->writes++;
}

json_t *store_get(store_t *self, const char *ns, const char *name)
{
    char key[512];
    key_of(key, ns, name);
    pthread_mutex_lock(&self->mutex);
    json_t *copy = json_deep_copy(json_object_get(self->objects, key));
    pthread_mutex_unlock(&self->mutex);
    return copy;
}

static json_t *get_secret(void *ctx, const char *ns, const char *name, kfx_error_t *err)
{
    json_t *secret = store_get(ctx, ns, name);
    if (!secret)
        kfx_error_set(err, KFX_E_NOT_FOUND, "secrets \"%s\" not found", name);
    return secret;
}

static json_t *list_secrets(void *ctx, const char *ns, const char *selector, kfx_error_t *err)
{
    store_t *self = ctx;
    KFX_FREE char *key = kfx_xstrdup(selector);
    char *value = strchr(key, '=');
    json_t *items = json_array(), *secret;
    const char *path;
    size_t len = strlen(ns);

    (void)err;
    *value++ = '\0';
    pthread_mutex_lock(&self->mutex);
    json_object_foreach (self->objects, path, secret) {
        const char *label = kfx_json_str(secret, "metadata", "labels", key);
        if (strncmp(path, ns, len) == 0 && path[len] == '/' && label && strcmp(label, value) == 0)
            json_array_append_new(items, json_deep_copy(secret));
    }
    pthread_mutex_unlock(&self->mutex);
    return json_pack("{s:o}", "items", items);
}

static int create_secret(void *ctx, const char *ns, json_t *secret, kfx_error_t *err)
{
    store_t *self = ctx;
    char key[512];
    int rc = 0;

    key_of(key, ns, kfx_json_str(secret, "metadata", "name"));
    pthread_mutex_lock(&self->mutex);
    if (json_object_get(self->objects, key)) {
        json_decref(secret);
        rc = kfx_error_set(err, KFX_E_EXISTS, "it exists");
    } else {
        put_object(self, ns, secret);
    }
    pthread_mutex_unlock(&self->mutex);
    return rc;
}

static json_t *apply_secret(void *ctx, const char *ns, const char *manager, json_t *secret, kfx_error_t *err)
{
    store_t *self = ctx;
    json_t *copy = NULL;

    pthread_mutex_lock(&self->mutex);
    if (self->failing > 0 || strncmp(manager, "kubeflex-", 9) != 0) {
        self->failing--;
        json_decref(secret);
        kfx_error_set(err, KFX_E_UNAVAILABLE, "connection refused");
    } else {
        put_object(self, ns, secret);
        copy = json_deep_copy(secret);
    }
    pthread_mutex_unlock(&self->mutex);
    return copy;
}

/* A ControlPlane is what the test put there under its name, as an object of no namespace. */
static json_t *get_plane(void *ctx, const char *name, kfx_error_t *err)
{
    json_t *plane = store_get(ctx, "", name);
    if (!plane)
        kfx_error_set(err, KFX_E_NOT_FOUND, "controlplanes \"%s\" not found", name);
    return plane;
}

/* All that store_plane put there. */
static json_t *plane_uids(void *ctx, kfx_error_t *err)
{
    store_t *self = ctx;
    json_t *uids = json_object(), *object;
    const char *key;

    (void)err;
    pthread_mutex_lock(&self->mutex);
    json_object_foreach (self->objects, key, object)
        if (key[0] == '/')
            json_object_set_new(uids, kfx_json_str(object, "metadata", "uid"), json_true());
    pthread_mutex_unlock(&self->mutex);
    return uids;
}

void store_plane(store_t *self, const char *name, const char *uid, int generation, json_t *spec)
{
    json_t *plane = json_pack("{s:{s:s, s:s, s:i}, s:o}", "metadata", "name", name, "uid", uid, "generation",
                              generation, "spec", spec ? spec : json_pack("{s:s}", "type", "k8s"));
    char key[512];
    key_of(key, "", name);
    pthread_mutex_lock(&self->mutex);
    json_object_set_new(self->objects, key, plane);
    pthread_mutex_unlock(&self->mutex);
}

store_t *store_new(void)
{
    store_t *self = kfx_xcalloc(1, sizeof *self);
    pthread_mutex_init(&self->mutex, NULL);
    self->objects = json_object();
    self->seen = json_array();
    return self;
}

void store_destroy(store_t **self_p)
{
    store_t *self = *self_p;
    json_decref(self->objects);
    json_decref(self->seen);
    pthread_mutex_destroy(&self->mutex);
    free(self);
    *self_p = NULL;
}

/* The namespace of "/api/v1/namespaces/NS/secrets". */
static void namespace_of(const char *collection, char out[256])
{
    const char *at = strstr(collection, "/namespaces/");
    snprintf(out, 256, "%.*s", at ? (int)strcspn(at + 12, "/") : 0, at ? at + 12 : "");
}

static json_t *write_object(void *ctx, const char *collection, const char *manager, json_t *object, kfx_error_t *err)
{
    char ns[256];
    namespace_of(collection, ns);
    return apply_secret(ctx, ns, manager, object, err);
}

static json_t *look_at(void *ctx, const char *collection, const char *name, kfx_error_t *err)
{
    char ns[256];
    namespace_of(collection, ns);
    return get_secret(ctx, ns, name, err);
}

kfx_secrets_t store_secrets(store_t *self)
{
    return (kfx_secrets_t){.get = get_secret,
                           .list = list_secrets,
                           .create = create_secret,
                           .apply = apply_secret,
                           .write = write_object,
                           .look = look_at,
                           .plane = get_plane,
                           .plane_uids = plane_uids,
                           .ctx = self};
}

void store_delete(store_t *self, const char *ns, const char *name)
{
    char key[512];
    key_of(key, ns, name);
    pthread_mutex_lock(&self->mutex);
    json_object_del(self->objects, key);
    pthread_mutex_unlock(&self->mutex);
}

void store_put(store_t *self, const char *ns, json_t *secret)
{
    pthread_mutex_lock(&self->mutex);
    put_object(self, ns, secret);
    pthread_mutex_unlock(&self->mutex);
}

void store_set(store_t *self, const char *ns, const char *name, const char *key, const char *value)
{
    json_t *secret = store_get(self, ns, name);
    kfx_secret_set(secret, key, value);
    pthread_mutex_lock(&self->mutex);
    put_object(self, ns, secret);
    pthread_mutex_unlock(&self->mutex);
}

void store_fail_applies(store_t *self, int n)
{
    pthread_mutex_lock(&self->mutex);
    self->failing = n;
    pthread_mutex_unlock(&self->mutex);
}

size_t store_writes(store_t *self)
{
    pthread_mutex_lock(&self->mutex);
    size_t n = self->writes;
    pthread_mutex_unlock(&self->mutex);
    return n;
}

const char *store_leak(store_t *self, const char *text)
{
    size_t i;
    json_t *value;
    json_array_foreach (self->seen, i, value)
        if (strstr(text, json_string_value(value)))
            return json_string_value(value);
    return NULL;
}
