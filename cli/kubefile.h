/* cli/kubefile.h: where the user's kubeconfig lies, reading it, and changing it safely.
 *
 * One rule for every command: --kubeconfig FILE if given, else the files of $KUBECONFIG, else ~/.kube/config. With
 * several files, new entries go to the first that exists (the last named one where none does).
 *
 * An edit takes a lock of our own (FILE's folder, ".FILE.kflex-lock"), waits while kubectl holds its lock (FILE.lock),
 * reads the files anew, calls back, and replaces each changed file atomically. Nothing is written when anything fails
 * before.
 */
#ifndef KFX_CLI_KUBEFILE_H
#define KFX_CLI_KUBEFILE_H

#include "cli/kubeconfig.h"

#define KFX_KUBEFILE_MAX ((size_t)8 << 20) /* bytes of one kubeconfig */

/* How long an edit waits for a lock, in ms. Only tests set it. */
extern int kfx_kubefile_lock_wait_ms;

/* Finds and reads the files; a file that does not exist counts as empty, but one named by --kubeconfig must exist
 * unless may_miss. Release with kfx_kc_release. */
int kfx_kubefile_load(const char *flag, bool may_miss, kfx_kc_t *kc, kfx_error_t *err);

/* The file that new entries go to, for messages. Fresh; NULL with err where there is no home folder. */
char *kfx_kubefile_path(const char *flag, kfx_error_t *err);

/* Fails, with the remedy, where an edit could not be written later: to be asked before anything is done elsewhere. */
int kfx_kubefile_check_writable(const char *flag, kfx_error_t *err);

/* Runs edit under the locks on fresh trees, then writes what changed. edit returns 0, or -1 with err: nothing is
 * written. */
int kfx_kubefile_edit(const char *flag, int (*edit)(void *ctx, kfx_kc_t *kc, kfx_error_t *err), void *ctx,
                      kfx_error_t *err);

#endif
