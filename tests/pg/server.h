/* tests/pg/server.h: a PostgreSQL server of the test's own: Debian's programs, a temporary folder, a free port on
 * 127.0.0.1, TLS only, every statement logged. Nothing of a system server is touched. */
#ifndef KFX_TEST_PG_SERVER_H
#define KFX_TEST_PG_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    char dir[64]; /* data in dir/data, log in dir/log */
    char port[8];
    pid_t pid; /* 0: not running */
    int life;  /* ends when the last of its processes has ended */
    uid_t uid; /* the server refuses to be root */
    gid_t gid;
} pg_server_t;

/* True where the programs are installed. */
bool pg_server_available(void);
/* From now on servers are as in production: 1000 connections, what is committed is on the disk, nothing is logged. */
void pg_server_for_bench(void);
/* initdb with this superuser password and this certificate. Ends the process with a message on failure. */
void pg_server_make(pg_server_t *self, const char *password, const char *cert_pem, const char *key_pem);
void pg_server_start(pg_server_t *self); /* returns once it serves */
void pg_server_stop(pg_server_t *self);  /* fast shutdown, waits */
void pg_server_kill(pg_server_t *self);  /* SIGKILL of the postmaster; waits until its children are gone too */
void pg_server_remove(pg_server_t *self);
/* The whole log; caller frees. */
char *pg_server_log(const pg_server_t *self);

#endif
