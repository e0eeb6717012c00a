/* storage-agent/etcd.h: a few calls to an etcd, by the JSON over HTTP that it serves beside gRPC (etcd's documentation,
 * "gRPC gateway"), with libcurl. Blocking, with a deadline each: for a task's thread. No call keeps a connection.
 *
 * Errors: UNAVAILABLE where it cannot be reached or has no leader, UNAUTHORIZED where certificates are refused,
 * FORBIDDEN where a right is missing, else PROTOCOL with what etcd said. None holds a value.
 */
#ifndef KFX_STORAGE_ETCD_H
#define KFX_STORAGE_ETCD_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* PEM texts; borrowed. ca_pem NULL: the machine's authorities. cert_pem, key_pem NULL: no client certificate. */
typedef struct {
    const char *endpoints; /* "https://a:2379,https://b:2379": tried in this order */
    const char *ca_pem, *cert_pem, *key_pem;
    const char *connect_to; /* tests: "HOST:PORT:ADDRESS:PORT" as for curl --connect-to, or NULL */
} kfx_etcd_t;

typedef struct {
    int64_t size, in_use; /* bytes of the database's file, and of what it holds */
    bool no_space;        /* the alarm that refuses writes is raised */
    char version[32];
} kfx_etcd_status_t;

/* The i-th of the endpoints into out; false past the end or where it does not fit. */
bool kfx_etcd_endpoint(const char *endpoints, size_t i, char *out, size_t size);
/* INVALID unless all are https://host:port (http:// too), nothing else, at most nine. */
int kfx_etcd_endpoints_check(const char *endpoints, kfx_error_t *err);

/* POST of a call's JSON to the first endpoint that can be reached. body is consumed. The answer is fresh. */
json_t *kfx_etcd_call(const kfx_etcd_t *etcd, const char *path, json_t *body, kfx_error_t *err);

/* Of one member (its endpoint). */
int kfx_etcd_status(const kfx_etcd_t *etcd, const char *endpoint, kfx_etcd_status_t *out, kfx_error_t *err);
/* Gives free pages back. The member serves nothing meanwhile: one after the other. */
int kfx_etcd_defragment(const kfx_etcd_t *etcd, const char *endpoint, kfx_error_t *err);
/* Lowers the alarms that are raised. */
int kfx_etcd_disarm(const kfx_etcd_t *etcd, kfx_error_t *err);

/* A value, fresh (caller frees); NULL without an error where there is none. */
char *kfx_etcd_get(const kfx_etcd_t *etcd, const char *key, kfx_error_t *err);
/* How many keys begin with prefix; -1 with err. */
int64_t kfx_etcd_count(const kfx_etcd_t *etcd, const char *prefix, kfx_error_t *err);
/* Writes key where it is not there, or where its value is `old` (may be NULL). EXISTS where another one stands. */
int kfx_etcd_claim(const kfx_etcd_t *etcd, const char *key, const char *value, const char *old, kfx_error_t *err);
int kfx_etcd_delete_prefix(const kfx_etcd_t *etcd, const char *prefix, kfx_error_t *err);

#endif
