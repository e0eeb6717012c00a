/* kube/client.h: thin Kubernetes client. One I/O actor (thread) per client drives two curl multi handles over HTTP/2:
 * one for requests, one for watches. Callers hand it requests and wait (kfx_kube_call), hand it many and wait
 * (kfx_kube_batch), or get the answer in their zloop (kfx_kube_submit).
 *
 * Rules kept inside (docs/architecture.md, "HTTP/2"): at most 32 requests in flight (priority first), own deadline per
 * call, heartbeat GET per connection, TCP_USER_TIMEOUT and keepalive, 429/5xx answered with backoff and Retry-After,
 * token re-read on 401. Writes start only while the gate says so; every write carries ?timeout=2s and ends within 2 s
 * where a gate is set.
 */
#ifndef KFX_KUBE_CLIENT_H
#define KFX_KUBE_CLIENT_H

#include "base/error.h"
#include "kube/config.h"

#include <czmq.h>
#include <jansson.h>

typedef struct kfx_kube kfx_kube_t;

/* config is consumed (also on failure). user_agent: "kubeflex-watcher/0.1.0". impersonate: user name or NULL. */
kfx_kube_t *kfx_kube_new(kfx_kube_config_t *config, const char *user_agent, kfx_error_t *err);
void kfx_kube_destroy(kfx_kube_t **self_p);

/* Set before the first write. While gate (arg) is false a write is refused with KFX_E_FENCED before a byte is sent. */
void kfx_kube_set_gate(kfx_kube_t *self, bool (*gate)(void *arg), void *arg);

typedef enum {
    KFX_GET,
    KFX_POST,        /* create */
    KFX_PUT,         /* replace */
    KFX_APPLY,       /* server-side apply, force=true */
    KFX_MERGE_PATCH, /* RFC 7386 */
    KFX_JSON_PATCH,  /* RFC 6902 */
    KFX_DELETE
} kfx_verb_t;

typedef struct {
    kfx_verb_t verb;
    char *path;          /* "/api/v1/namespaces/x", with query if any; owned by the request */
    json_t *body;        /* owned; NULL for none */
    char *field_manager; /* owned; APPLY (required), POST, PUT, patches (optional) */
    char *impersonate;   /* owned; Impersonate-User, or NULL */
    int timeout_ms;      /* of the whole, waiting for a place and retries included. 0: 10 s; a write under a gate then
                            ends 2 s after it was first sent. No attempt of a write under a gate lasts longer than 2 s */
    bool urgent;         /* goes before all others (the Lease) */
    bool metadata_only;  /* GET: ask for PartialObjectMetadata(List) */
    bool no_retry;       /* report 429/5xx/transport errors at once instead of retrying within the deadline */
    bool as_text;        /* GET: the answer is wanted as it comes, in text (logs of a pod) */
    /* GET: takes a 2xx answer as it arrives instead, in the I/O thread. Its size has no bound then. */
    void (*on_part)(void *ctx, const char *data, size_t len);
    void *on_part_ctx;
    bool once; /* POST that must not be repeated after an unknown outcome (default for POST: an unknown
                  outcome followed by 409 is reported as EXISTS, which callers handle anyway) */

    /* answer */
    int status;         /* HTTP status, 0 when none came */
    json_t *answer;     /* owned; NULL where the body was empty or no JSON */
    char *text;         /* owned; where as_text asked for it. NUL bytes end it */
    kfx_error_t error;  /* code KFX_OK on 2xx; else from the Status object: reason and message */
    int retry_after_ms; /* from the last answer, 0 if none */

    void *user; /* the caller's */
} kfx_request_t;

/* Fresh request; the path is printf-like (escape names that come from outside with kfx_kube_escape). body is consumed.
 */
kfx_request_t *kfx_request_new(kfx_verb_t verb, json_t *body, const char *path_fmt, ...) KFX_PRINTF(3, 4);
void kfx_request_free(kfx_request_t *req); /* NULL-safe */
static inline void kfx_cleanup_request(kfx_request_t **req)
{
    kfx_request_free(*req);
}
#define KFX_REQUEST KFX_CLEANUP(kfx_cleanup_request)

/* Blocks the calling thread (never the I/O actor's) until the answer or the deadline. 0 on 2xx, else -1 with err (a
 * copy of req->error). Thread-safe. */
int kfx_kube_call(kfx_kube_t *self, kfx_request_t *req, kfx_error_t *err);

/* All at once, waits for all. Returns how many failed; each one's error is in the request. Thread-safe. */
size_t kfx_kube_batch(kfx_kube_t *self, kfx_request_t **reqs, size_t count);

/* For a zloop: answers arrive on a mailbox as finished requests. */
typedef struct kfx_mailbox kfx_mailbox_t;
kfx_mailbox_t *kfx_mailbox_new(kfx_kube_t *self);
void kfx_mailbox_destroy(kfx_mailbox_t **self_p); /* requests still on their way are freed when they end */
zsock_t *kfx_mailbox_sock(kfx_mailbox_t *self);   /* readable when something is there: for zloop_reader */
/* Takes ownership of req until it comes back. on_done runs inside kfx_mailbox_dispatch and must free it. */
void kfx_kube_submit(kfx_mailbox_t *self, kfx_request_t *req, void (*on_done)(void *ctx, kfx_request_t *req),
                     void *ctx);
/* Runs all callbacks that are due (requests and watches); never blocks. Call from the zloop_reader handler. */
void kfx_mailbox_dispatch(kfx_mailbox_t *self);

/* Convenience over kfx_kube_call. Fresh answers. */
json_t *kfx_kube_get(kfx_kube_t *self, kfx_error_t *err, const char *path_fmt, ...) KFX_PRINTF(3, 4);

/* Waits until the object at path exists (and `key` in its data, if not NULL), event-driven by a watch on its name,
 * until deadline (kfx_now_ms). Fresh, or NULL with TIMEOUT or what the last try said. */
json_t *kfx_kube_wait_object(kfx_kube_t *self, const char *collection, const char *name, const char *data_key,
                             int64_t deadline, kfx_error_t *err);

/* Writes an Event (events.k8s.io/v1) about a cluster-scoped or namespaced object, deduplicated by series: see
 * kube/events.h. */

/* Percent-encodes one path segment or query value. Caller frees. */
char *kfx_kube_escape(const char *text);

/* The API server's address as in the config, for messages. */
const char *kfx_kube_server(const kfx_kube_t *self);

#endif
