/* tests/etcd/server.h: an etcd of the test's own: the local cluster's program, a temporary folder, free ports on
 * 127.0.0.1. */
#ifndef KFX_TEST_ETCD_SERVER_H
#define KFX_TEST_ETCD_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    char dir[64], url[64], port[8];
    pid_t pid; /* 0: not running */
} etcd_server_t;

/* The program: $KFX_TEST_ETCD, or the newest that deploy/local built. NULL: none. Borrowed. */
const char *etcd_program(void);
/* certs: Secret etcd-certs, for mTLS; NULL: plain HTTP. Extra arguments end with NULL. Returns once it serves, or ends
 * the process with a message. */
void etcd_server_start(etcd_server_t *self, const json_t *certs, const char *const *extra);
void etcd_server_kill(etcd_server_t *self); /* SIGKILL; the data stays */
void etcd_server_remove(etcd_server_t *self);

#endif
