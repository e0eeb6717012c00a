/* storage-agent/external.h: backend external: what a Secret of the user's names, a Postgres database or an etcd.
 *
 * The Secret (spec.storage.secretRef) carries the label kflex.kubestellar.org/storage-external=<plane>, so that nobody
 * can name one that was not meant for it. Its keys, for Postgres
 *   endpoint                           postgres://user:password@host[:port]/database; its parameters are not followed
 *   ca.crt                             verifies the server (verify-full)
 * and for an etcd
 *   endpoints                          https://host:port,…
 *   ca.crt, client.crt, client.key
 * and for both
 *   adopt                              where there is data already: the uid of the plane that it is marked for, or
 *                                      "unmarked"
 *
 * Before use, and every minute: it can be reached, we may write, and what is in it is nothing or this plane's: a mark
 * with the uid is left there (table kubeflex_owner; key /kubeflex/owner). It is never dropped; with deletionPolicy
 * Delete its content goes once the plane's Namespace is gone, and with that the API server that writes to it.
 */
#ifndef KFX_STORAGE_EXTERNAL_H
#define KFX_STORAGE_EXTERNAL_H

#include "storage-agent/task.h"

#define KFX_LABEL_EXTERNAL "kflex.kubestellar.org/storage-external"

void kfx_external_run(kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_spec_t *spec,
                      kfx_result_t *result);

#endif
