/* reconcilers/fake_api.h: an API server in memory for tests: objects by path, with uid, resourceVersion, 409s and
 * preconditions as the real one has them, lists over all namespaces by our label. Server-side apply replaces the
 * object, but for status and the data of a Secret that the applied one does not mention. An object with a true
 * "drifted" is shown so in the digest. Single-threaded. */
#ifndef KFX_RECONCILERS_FAKE_API_H
#define KFX_RECONCILERS_FAKE_API_H

#include "reconcilers/run.h"

typedef struct kfx_fake {
    json_t *objects; /* path -> object */
    json_t *log;     /* "POST /api/v1/namespaces", one a request; with " as USER" when impersonated */
    int serial;      /* the last resourceVersion */
    int probes;
    int probe_rc; /* of the next probes: 0 or, where they fail, a kfx_code_t; -1: refused */
    char probe_host[512];
    int probe_limit_ms;
    bool stopped;
    /* Clusters reached by dial: /readyz answers, the rest is asked of `remote` where there is one. */
    struct kfx_fake *remote;
    kfx_code_t refuse; /* what they answer to everything; KFX_OK: they do not refuse */
    int dials;
    bool dialed_screened;
    char dialed_server[256], dialed_token[256];
    int token_seconds; /* how long the next requested token lives; 0: as long as asked for */
    int tokens;        /* how many were given: "token-1", "token-2" … */
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
