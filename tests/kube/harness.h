/* tests/kube/harness.h: runs tests/kube/fake_apiserver.py for a test and reads what it saw. */
#ifndef KFX_TESTS_KUBE_HARNESS_H
#define KFX_TESTS_KUBE_HARNESS_H

#include "kube/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct {
    pid_t pid;
    int in, out; /* the server's stdin (its leash) and stdout */
    int port;
    char *seen;
    size_t seen_len;
    json_t *log; /* all requests so far */
} fake_t;

/* A temporary folder with ca.pem, server.pem, server.key (127.0.0.1, localhost, plane.example), client.pem, client.key.
 */
int harness_setup(void **state);
int harness_teardown(void **state);
const char *harness_dir(void);
char *harness_file(const char *name); /* content; caller frees */

/* script: JSON with ' for ", for readability. port 0: any. */
fake_t *fake_start(const char *script, int port);
void fake_stop(fake_t **fake_p);
/* Waits until the server has seen n requests that match "METHOD text" (as in a rule); fails the test after 30 s. The
 * n-th one, borrowed. */
const json_t *fake_wait(fake_t *fake, const char *match, size_t n);
/* How many it has seen until now. */
size_t fake_count(fake_t *fake, const char *match);

/* tests/kube/freeze_proxy.py: in front of host:port, or (host NULL) as an HTTP proxy. */
typedef struct {
    pid_t pid;
    FILE *in, *out;
    int port;
} proxy_t;

void proxy_start(proxy_t *self, const char *host, const char *port);
/* freeze, cut or count; returns how many connections there were so far. target: of the last CONNECT, or NULL. */
int proxy_do(proxy_t *self, const char *command, char target[128]);
void proxy_stop(proxy_t *self);

int free_port(void);
kfx_kube_config_t *fake_config(int port);
kfx_kube_t *fake_client(const fake_t *fake);

#endif
