/* tests/pg/store.h: Secrets in memory behind the calls of storage-agent/secret.h, thread-safe. Remembers every password
 * it ever held, so that a test can look for them where they must not be. */
#ifndef KFX_TEST_PG_STORE_H
#define KFX_TEST_PG_STORE_H

#include "storage-agent/secret.h"

typedef struct store store_t;

store_t *store_new(void);
void store_destroy(store_t **self_p);
kfx_secrets_t store_secrets(store_t *self);

json_t *store_get(store_t *self, const char *ns, const char *name); /* fresh copy or NULL */
/* The ControlPlane of that name; spec is consumed, NULL: one that says nothing of its storage. */
void store_plane(store_t *self, const char *name, const char *uid, int generation, json_t *spec);
/* As whoever wrote it: secret is consumed. */
void store_put(store_t *self, const char *ns, json_t *secret);
void store_delete(store_t *self, const char *ns, const char *name);
void store_set(store_t *self, const char *ns, const char *name, const char *key, const char *value);
/* The next n calls of apply fail as an API server that is away. */
void store_fail_applies(store_t *self, int n);
size_t store_writes(store_t *self);
/* The first secret value of the past that text contains, or NULL. Borrowed. */
const char *store_leak(store_t *self, const char *text);

#endif
