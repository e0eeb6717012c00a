/* cli/logs.h: the pods of a control plane and what their containers have written. */
#ifndef KFX_CLI_LOGS_H
#define KFX_CLI_LOGS_H

#include "cli/output.h"
#include "kube/client.h"
#include "proto/proto.h"

typedef struct {
    char ns[KFX_NAME_SIZE], pod[KFX_NAME_SIZE], container[KFX_NAME_SIZE];
    bool previous; /* the container's run before this one */
    int lines;     /* the last ones; 0: all */
} kfx_log_t;

/* The pods in the plane's namespace. Fresh array. */
json_t *kfx_pods_fetch(kfx_kube_t *kube, const char *plane, kfx_error_t *err);

/* The container of that name, of a part's usual name ("api-server", "controller-manager"), or with NULL the one that
 * serves the plane's API. Of several pods the youngest. NOT_FOUND names what there is. */
int kfx_logs_find(const json_t *pods, const char *plane, const char *component, kfx_log_t *log, kfx_error_t *err);

/* A container that failed, or runs without becoming ready. false: there is none. */
bool kfx_logs_find_failing(const json_t *pods, kfx_log_t *log);

/* What it has written. Fresh. */
char *kfx_logs_read(kfx_kube_t *kube, const kfx_log_t *log, kfx_error_t *err);
/* Hands it on as it comes, for ever; on_part runs in the client's I/O thread. */
int kfx_logs_follow(kfx_kube_t *kube, const kfx_log_t *log, void (*on_part)(void *ctx, const char *data, size_t len),
                    void *ctx, kfx_error_t *err);

/* On stderr: the last lines of a failing container of the plane, if there is one and it may be read. */
void kfx_logs_note_failing(kfx_out_t *out, kfx_kube_t *kube, const char *plane);

#endif
