/* kube/watch.h: list then watch of one collection, for ever, reduced to small structs.
 *
 * list (paged, 500 a page) -> watch from its resourceVersion with bookmarks and timeoutSeconds 240–300 -> resume from
 * the last resourceVersion when the stream ends -> list again on 410 or decode errors. The reducer runs in the I/O
 * actor for each object and returns a small heap struct (or NULL: not of interest); no JSON tree survives it. on_event
 * runs in the mailbox owner's thread (kfx_mailbox_dispatch).
 *
 * The order of events is checked: one that is older than what came before it (a late or reordered one), of an unknown
 * type or without a resourceVersion ends in a new list. A list that is older than what was seen (from a server that
 * lags) is not told but asked for again. Where the server sticks to it (its storage was restored from a backup), it is
 * told after an ERROR with KFX_E_GONE, which has no other use: what the consumer holds may be newer than what is true
 * then.
 *
 * After each (re)list: KFX_WATCH_SYNC_BEGIN, an ADDED for every object, KFX_WATCH_SYNC_END: objects the consumer knows
 * and did not see in between are gone. Errors (403, API server away) are told with KFX_WATCH_ERROR and retried with
 * backoff and jitter; the consumer's state stays as it was.
 */
#ifndef KFX_KUBE_WATCH_H
#define KFX_KUBE_WATCH_H

#include "kube/client.h"

typedef enum {
    KFX_WATCH_SYNC_BEGIN,
    KFX_WATCH_ADDED, /* also objects of a list */
    KFX_WATCH_MODIFIED,
    KFX_WATCH_DELETED,
    KFX_WATCH_SYNC_END,
    KFX_WATCH_ERROR
} kfx_watch_event_t;

typedef struct {
    const char *path;           /* "/apis/apps/v1/deployments" */
    const char *label_selector; /* or NULL; plain text, escaped inside */
    const char *field_selector; /* or NULL: "metadata.name=kubeflex-config" */
    bool metadata_only;         /* PartialObjectMetadata */
    /* I/O thread. object is borrowed. Fresh struct for on_event, or NULL. */
    void *(*reduce)(void *ctx, const json_t *object);
    /* Mailbox thread. item is the reduced struct (owned by the callee, free it), NULL for SYNC_* and ERROR; err only
     * with ERROR. */
    void (*on_event)(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err);
    void (*free_item)(void *item); /* for items nobody takes any more */
    void *ctx;
} kfx_watch_spec_t;

typedef struct kfx_watch kfx_watch_t;

/* 1 when a is newer than b, 0 when equal, -1 when older. Resource versions are decimal numbers (KEP-5504); whatever is
 * none counts as newer. */
int kfx_rv_compare(const char *a, const char *b);

/* Copies the strings. Starts at once. */
kfx_watch_t *kfx_watch_start(kfx_mailbox_t *mailbox, const kfx_watch_spec_t *spec);
/* After it returns no callback runs any more. */
void kfx_watch_stop(kfx_watch_t **self_p);

#endif
