/* storage-agent/wrote.h: which DSN Secrets this process left behind.
 *
 * A write of a Secret whose answer never came may land later, over the one that was made meanwhile, with a password
 * that Postgres has long forgotten. It has the right first part of the applied-hash, so that the digest alone does not
 * tell. Any thread. A plane that is not known here (another agent's, or of before a restart) is taken as the digest
 * shows it. */
#ifndef KFX_STORAGE_WROTE_H
#define KFX_STORAGE_WROTE_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

typedef struct {
    pthread_mutex_t mutex;
    json_t *settled; /* uid -> applied-hash whose password is the only one: no role of an older one is left */
    json_t *hashes;  /* uid -> applied-hash, "" while it is open which one stands */
} kfx_wrote_t;

void kfx_wrote_init(kfx_wrote_t *self);
void kfx_wrote_clear(kfx_wrote_t *self);
/* hash "": a write begins, and may end without an answer. NULL: the plane is gone. */
void kfx_wrote_note(kfx_wrote_t *self, const char *uid, const char *hash);
/* The digest shows a Secret that is not what we left there. */
bool kfx_wrote_other(kfx_wrote_t *self, const char *uid, const char *hash);
/* This process has seen that no other password than that Secret's lets in. */
void kfx_wrote_settle(kfx_wrote_t *self, const char *uid, const char *hash);
bool kfx_wrote_settled(kfx_wrote_t *self, const char *uid, const char *hash);

#endif
