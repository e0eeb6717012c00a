/* reconcilers/verdict.h: how far a task came, as it will stand in the plane's conditions. Pure: thread-safe. */
#ifndef KFX_RECONCILERS_VERDICT_H
#define KFX_RECONCILERS_VERDICT_H

#include "proto/proto.h"

typedef struct {
    kfx_outcome_t outcome;
    uint32_t retry_after_ms;
    char reason[64]; /* of condition Synced; "" = say nothing about it */
    char message[512];
} kfx_verdict_t;

/* Fills it and returns -1, for `return kfx_verdict_set (...)`. */
int kfx_verdict_set(kfx_verdict_t *verdict, kfx_outcome_t outcome, uint32_t retry_after_ms, const char *reason,
                    const char *fmt, ...) KFX_PRINTF(5, 6);

/* What a failed request means. status: HTTP status, 0 when no answer came. what: "create Namespace cp1-system".
 * server: the hosting API server's address for the message. Returns -1. */
int kfx_verdict_error(kfx_verdict_t *verdict, const kfx_error_t *error, int status, const char *what);

/* The earlier of two retry times, where 0 means never. */
uint32_t kfx_retry_min(uint32_t a, uint32_t b);

#endif
