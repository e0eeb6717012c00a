/* reconcilers/config_cache.c: one entry. */
#include "reconcilers/config_cache.h"

#include "base/json.h"
#include "base/mem.h"

#include <pthread.h>
#include <string.h>

struct kfx_config_cache {
    pthread_mutex_t lock;
    char rv[64]; /* "" = nothing known */
    int rc;
    kfx_error_t err;
    kfx_config_t config;
};

kfx_config_cache_t *kfx_config_cache_new(void)
{
    kfx_config_cache_t *self = kfx_xcalloc(1, sizeof(*self));
    pthread_mutex_init(&self->lock, NULL);
    return self;
}

void kfx_config_cache_destroy(kfx_config_cache_t **self_p)
{
    kfx_config_cache_t *self = *self_p;
    if (!self)
        return;
    kfx_config_clear(&self->config);
    pthread_mutex_destroy(&self->lock);
    free(self);
    *self_p = NULL;
}

static int give(const kfx_config_cache_t *self, kfx_config_t *config, kfx_error_t *err)
{
    if (self->rc) {
        *err = self->err;
        return -1;
    }
    kfx_config_copy(config, &self->config);
    return 0;
}

bool kfx_config_cache_get(kfx_config_cache_t *self, const char *rv, kfx_config_t *config, int *rc, kfx_error_t *err)
{
    pthread_mutex_lock(&self->lock);
    bool known = rv[0] && strcmp(self->rv, rv) == 0;
    if (known)
        *rc = give(self, config, err);
    pthread_mutex_unlock(&self->lock);
    return known;
}

int kfx_config_cache_put(kfx_config_cache_t *self, const json_t *configmap, kfx_config_t *config, kfx_error_t *err)
{
    const char *rv = kfx_json_str(configmap, "metadata", "resourceVersion");
    pthread_mutex_lock(&self->lock);
    kfx_config_clear(&self->config);
    self->err = (kfx_error_t)KFX_ERROR_INIT;
    self->rc = kfx_config_parse(kfx_json_get(configmap, "data"), &self->config, &self->err);
    kfx_copy(self->rv, sizeof(self->rv), rv ? rv : "");
    int rc = give(self, config, err);
    pthread_mutex_unlock(&self->lock);
    return rc;
}
