/* kube/screen.h: addresses that are not dialled on the word of a kubeconfig that somebody else wrote.
 *
 * Refused are this machine itself (loopback, unspecified), the link it stands on (link-local, multicast, broadcast) and
 * the metadata services of clouds, which hand out credentials to whoever asks from the right machine. Private ranges
 * are not refused: clusters live there. Pure: thread-safe.
 */
#ifndef KFX_KUBE_SCREEN_H
#define KFX_KUBE_SCREEN_H

#include "base/error.h"

#include <sys/socket.h>

/* 0, or -1 with INVALID: the address and what is wrong with it. An IPv4 address inside an IPv6 one counts as itself. */
int kfx_screen_address(const struct sockaddr *address, kfx_error_t *err);

/* The address of an API server, as text: https, a host and at most a port and a path; a name that always means this
 * machine or a metadata service is refused, as is an address as above, in whatever notation. What other names stand for
 * is found out at the moment of connecting (kfx_kube_config_t.screened). -1 with INVALID; the URL is not quoted where
 * it holds a password. */
int kfx_screen_url(const char *url, kfx_error_t *err);

#endif
