/* reconcilers/fake_api.h: an API server in memory for tests: objects by path, with uid, resourceVersion, 409s and
 * preconditions as the real one has them. Server-side apply replaces the object. Single-threaded. */
#ifndef KFX_RECONCILERS_FAKE_API_H
#define KFX_RECONCILERS_FAKE_API_H

#include "reconcilers/run.h"

typedef struct {
    json_t *objects; /* path -> object */
    json_t *log;     /* "POST /api/v1/namespaces", one a request */
    int serial;      /* the last resourceVersion */
    int probes;
    int probe_rc; /* of the next probes */
    char probe_host[512];
    int probe_limit_ms;
    bool stopped;
    /* The next request whose "VERB path" contains this fails so. */
    const char *fail_at;
    kfx_code_t fail_code;
    int fail_status;
    const char *fail_message;
} kfx_fake_t;

void kfx_fake_init(kfx_fake_t *fake);
void kfx_fake_clear(kfx_fake_t *fake);
kfx_ops_t kfx_fake_ops(kfx_fake_t *fake);

/* Puts an object there as somebody else would; path without the name. Borrowed result. */
json_t *kfx_fake_put(kfx_fake_t *fake, const char *collection, json_t *object);
json_t *kfx_fake_get(kfx_fake_t *fake, const char *path); /* borrowed, or NULL */
void kfx_fake_delete(kfx_fake_t *fake, const char *path);
void kfx_fake_touch(kfx_fake_t *fake, const char *path); /* somebody changed it: a new resourceVersion */
/* Requests since the last call of this function whose "VERB path" contains text. */
size_t kfx_fake_count(const kfx_fake_t *fake, const char *text);
void kfx_fake_forget_log(kfx_fake_t *fake);

/* The digest the watcher would send for that plane: labelled objects, its Namespace, and kubeflex-config.
 * kfx_digest_free. */
kfx_digest_t *kfx_fake_digest(kfx_fake_t *fake, const char *plane, const char *uid);

#endif
