/* storage-agent/wrote.c: see wrote.h. */
#include "storage-agent/wrote.h"

#include <stdlib.h>
#include <string.h>

#define PLANES_MAX 16384 /* about 120 bytes each; beyond it all are forgotten, as by a restart */

void kfx_wrote_init(kfx_wrote_t *self)
{
    pthread_mutex_init(&self->mutex, NULL);
    self->hashes = json_object();
    self->settled = json_object();
    if (!self->hashes || !self->settled)
        abort(); /* as the other small allocations */
}

void kfx_wrote_clear(kfx_wrote_t *self)
{
    json_decref(self->hashes);
    json_decref(self->settled);
    self->hashes = self->settled = NULL;
    pthread_mutex_destroy(&self->mutex);
}

static void put(json_t *object, const char *uid, const char *hash)
{
    if (json_object_size(object) >= PLANES_MAX)
        json_object_clear(object);
    json_object_set_new(object, uid, json_string(hash));
}

void kfx_wrote_note(kfx_wrote_t *self, const char *uid, const char *hash)
{
    pthread_mutex_lock(&self->mutex);
    if (hash) {
        put(self->hashes, uid, hash);
    } else {
        json_object_del(self->hashes, uid);
        json_object_del(self->settled, uid);
    }
    pthread_mutex_unlock(&self->mutex);
}

void kfx_wrote_settle(kfx_wrote_t *self, const char *uid, const char *hash)
{
    pthread_mutex_lock(&self->mutex);
    put(self->settled, uid, hash);
    pthread_mutex_unlock(&self->mutex);
}

bool kfx_wrote_settled(kfx_wrote_t *self, const char *uid, const char *hash)
{
    pthread_mutex_lock(&self->mutex);
    const char *known = json_string_value(json_object_get(self->settled, uid));
    bool settled = known && strcmp(known, hash) == 0;
    pthread_mutex_unlock(&self->mutex);
    return settled;
}

bool kfx_wrote_other(kfx_wrote_t *self, const char *uid, const char *hash)
{
    pthread_mutex_lock(&self->mutex);
    const char *ours = json_string_value(json_object_get(self->hashes, uid));
    bool other = ours && strcmp(ours, hash) != 0;
    pthread_mutex_unlock(&self->mutex);
    return other;
}
