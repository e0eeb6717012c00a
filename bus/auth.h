/* bus/auth.h: who may say what. A CURVE public key maps to a role, a role to what it may send; the ZAP user id that
 * libzmq attaches to each message carries the role, so that no message is believed about who sent it.
 *
 * The user id is "<role>#<generation>": when a role's key is replaced its generation goes up. For a while, the window,
 * the key before is as good as the new one; connections made with it are told to renew (PONG). Afterwards they are
 * refused. Times are kfx_now_ms. Single-threaded: the broker's loop.
 */
#ifndef KFX_BUS_AUTH_H
#define KFX_BUS_AUTH_H

#include "bus/keys.h"
#include "proto/proto.h"

typedef enum { KFX_PARTY_NONE = 0, KFX_PARTY_WATCHER, KFX_PARTY_WORKER, KFX_PARTY_TAP } kfx_party_t;

typedef struct {
    kfx_party_t party;
    char name[KFX_SERVICE_SIZE];    /* "reconciler:k8s" */
    char service[KFX_SERVICE_SIZE]; /* a worker's one service; "" for others */
} kfx_role_t;

#define KFX_ROLES_MAX 16

/* 0 for a role there is: watcher, storage, tap, reconciler:<type of proto/model.h>. */
int kfx_role_parse(const char *name, kfx_role_t *out, kfx_error_t *err);
/* The i-th role, or NULL past the end. The text is valid until the next call. */
const char *kfx_role_at(size_t i, char buf[KFX_SERVICE_SIZE]);

/* May a sender of this role send such a message? 0, or -1 with FORBIDDEN and the reason. Kinds nobody knows are let
 * through: the receiver ignores them. */
int kfx_role_check(const kfx_role_t *role, const kfx_msg_t *msg, kfx_error_t *err);

/* The table of keys, and the ZAP handler that reads it. */
typedef struct kfx_auth kfx_auth_t;

#define KFX_ZAP_WORK "work" /* ZAP domain of the ROUTER: every role but tap */
#define KFX_ZAP_TAP "tap"   /* … of the XPUB: role tap */
#define KFX_ZAP_USER_SIZE 80

#define KFX_KEY_WINDOW_MS 60000

/* window_ms: how long a key is good after it was replaced. */
kfx_auth_t *kfx_auth_new(int64_t window_ms);
void kfx_auth_destroy(kfx_auth_t **self_p);
/* Sets the key (Z85) of a role. True when it replaced another one. */
bool kfx_auth_set(kfx_auth_t *self, const char *role, const char *public_key, int64_t now);
/* The decision of ZAP, pure: key is 32 bytes. On true the user id is filled. */
bool kfx_auth_admit(const kfx_auth_t *self, const char *domain, const uint8_t *key, size_t size, int64_t now,
                    char user[KFX_ZAP_USER_SIZE]);
/* The role a user id stands for; *renew: its key was replaced and ends soon. -1 with UNAUTHORIZED where it has ended.
 */
int kfx_auth_role(const kfx_auth_t *self, const char *user, int64_t now, kfx_role_t *out, bool *renew,
                  kfx_error_t *err);
/* True once after a key of role tap has ended: nobody can tell which taps it let in, so all have to come again. */
bool kfx_auth_taps_ended(kfx_auth_t *self, int64_t now);

/* The answer (fresh) to a ZAP request (RFC 27), whatever that holds; frames of the request are taken out. */
zmsg_t *kfx_auth_zap(kfx_auth_t *self, zmsg_t *request);
/* Answers ZAP requests in the loop (one handler a process). Before any socket is bound. */
int kfx_auth_serve(kfx_auth_t *self, zloop_t *loop, kfx_error_t *err);

#endif
