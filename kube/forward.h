/* kube/forward.h: a way from this machine to a port of a pod that only the cluster can reach, through the API server:
 * a unix socket, each of whose connections becomes one port-forward (subresource pods/portforward over WebSocket,
 * sub-protocol v4.channel.k8s.io, as the kubelet speaks it). One connection at a time, which is what one ZeroMQ socket
 * makes. The pod is looked up again for each, so that a restarted one is found.
 *
 * A thread of its own; it talks to its owner by messages only.
 */
#ifndef KFX_KUBE_FORWARD_H
#define KFX_KUBE_FORWARD_H

#include "kube/client.h"

typedef struct kfx_forward kfx_forward_t;

/* To `port` of a running pod that the label selector matches. kube is borrowed and must live longer. */
kfx_forward_t *kfx_forward_new(kfx_kube_t *kube, const char *ns, const char *selector, int port, kfx_error_t *err);
/* The same for programs that need a TCP address, as libpq does for TLS: a free port of 127.0.0.1, which any program on
 * this machine may connect to; so what is behind it must ask who is there. */
kfx_forward_t *kfx_forward_new_tcp(kfx_kube_t *kube, const char *ns, const char *selector, int port, kfx_error_t *err);
void kfx_forward_destroy(kfx_forward_t **self_p); /* waits for a connection attempt under way: 10 s at most */
/* "ipc:///tmp/kflex-…/port": in a folder that only this user may enter; "tcp://127.0.0.1:PORT". Borrowed. */
const char *kfx_forward_endpoint(const kfx_forward_t *self);

/* Readable when there is news, for zloop_reader; then kfx_forward_news: true with err->code KFX_OK when a connection
 * was opened, else why one could not be, or why it ended. False where nothing was there. */
zsock_t *kfx_forward_sock(kfx_forward_t *self);
bool kfx_forward_news(kfx_forward_t *self, kfx_error_t *err);

#endif
