/* kube/io.h: how kube/client.c starts and ends the I/O actor. */
#ifndef KFX_KUBE_IO_H
#define KFX_KUBE_IO_H

#include "kube/internal.h"

typedef struct {
    kfx_kube_t *kube;
    const kfx_transport_t *transport;
    zsock_t *commands; /* PULL; the actor's while it runs */
} kfx_io_args_t;

void kfx_io_actor(zsock_t *pipe, void *args);   /* zactor_fn; args may go once zactor_new returned */
void kfx_io_stop(kfx_io_t *io, kfx_cmd_t *cmd); /* a command: the loop ends after those posted before it */

#endif
