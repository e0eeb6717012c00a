/* cli/complete.h: shell completion from the table of commands. Pure: what a cluster or a kubeconfig knows comes from
 * the caller. */
#ifndef KFX_CLI_COMPLETE_H
#define KFX_CLI_COMPLETE_H

#include "base/buf.h"
#include "cli/flags.h"

/* Cobra's directives, so that the completion scripts of Go's kflex work with ours, and the other way round. */
#define KFX_COMPLETE_DEFAULT 0  /* the shell may offer files */
#define KFX_COMPLETE_NO_FILES 4 /* it may not */
#define KFX_COMPLETE_FOLDERS 16 /* folders only */

typedef struct kfx_candidates {
    kfx_buf_t text; /* a line each: word, and after a tab what it means */
    const char *prefix;
    const char *lead; /* stands before each word: "--output=" */
    bool descriptions;
} kfx_candidates_t;

/* Takes the word where it begins with the prefix. about may be NULL. */
void kfx_candidates_add(kfx_candidates_t *self, const char *word, const char *about);

/* What could stand where the last of the words is; the others are before it. what is "@plane" or "@context": the source
 * adds their names. Returns a directive. */
int kfx_complete(const kfx_command_t *root, char **words, size_t count, kfx_candidates_t *out,
                 void (*source)(void *ctx, const char *what, kfx_candidates_t *out), void *ctx);

#endif
