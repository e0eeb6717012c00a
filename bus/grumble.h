/* bus/grumble.h: complaints about peers, at most one a minute for each, so that nobody can fill the log by being
 * refused. Bounded: where too many peers are complained about, the rest share one place. Not thread-safe. */
#ifndef KFX_BUS_GRUMBLE_H
#define KFX_BUS_GRUMBLE_H

#include <stdbool.h>
#include <stdint.h>

#define KFX_GRUMBLE_MS 60000
#define KFX_GRUMBLE_PEERS_MAX 1024

typedef struct kfx_grumble kfx_grumble_t;

kfx_grumble_t *kfx_grumble_new(void);
void kfx_grumble_destroy(kfx_grumble_t **self_p);
/* True where it may be logged now; *unsaid is then how many complaints about the peer were swallowed since the last. */
bool kfx_grumble_may(kfx_grumble_t *self, const char *peer, int64_t now, uint64_t *unsaid);

#endif
