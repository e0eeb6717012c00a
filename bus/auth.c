/* bus/auth.c: see auth.h. ZAP is ZeroMQ RFC 27. */
#include "bus/auth.h"

#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/grumble.h"

#include <stdio.h>
#include <string.h>

#define KEY_SIZE 32 /* a CURVE public key in binary */
#define RECONCILER "reconciler:"

int kfx_role_parse(const char *name, kfx_role_t *out, kfx_error_t *err)
{
    memset(out, 0, sizeof(*out));
    const char *service = "";
    if (strcmp(name, "watcher") == 0) {
        out->party = KFX_PARTY_WATCHER;
    } else if (strcmp(name, "tap") == 0) {
        out->party = KFX_PARTY_TAP;
    } else if (strcmp(name, "storage") == 0) {
        out->party = KFX_PARTY_WORKER;
        service = KFX_SERVICE_STORAGE;
    } else if (strncmp(name, RECONCILER, strlen(RECONCILER)) == 0) {
        const kfx_type_info_t *type = kfx_type_find(name + strlen(RECONCILER));
        if (type) {
            out->party = KFX_PARTY_WORKER;
            service = type->service;
        }
    }
    if (out->party == KFX_PARTY_NONE)
        return kfx_error_set(err, KFX_E_INVALID, "there is no role \"%.40s\"", name);
    kfx_copy(out->name, sizeof(out->name), name);
    kfx_copy(out->service, sizeof(out->service), service);
    return 0;
}

const char *kfx_role_at(size_t i, char buf[KFX_SERVICE_SIZE])
{
    static const char *const fixed[] = {"watcher", "storage", "tap"};
    if (i < KFX_COUNT(fixed)) {
        kfx_copy(buf, KFX_SERVICE_SIZE, fixed[i]);
        return buf;
    }
    const kfx_type_info_t *type = kfx_type_at(i - KFX_COUNT(fixed));
    if (!type)
        return NULL;
    snprintf(buf, KFX_SERVICE_SIZE, RECONCILER "%s", type->name);
    return buf;
}

#define MAY(kind) (1u << (kind))

/* What each party may send; a tap only listens. */
static const unsigned may_send[] = {
    [KFX_PARTY_NONE] = 0,
    [KFX_PARTY_WATCHER] = MAY(KFX_HELLO) | MAY(KFX_PING) | MAY(KFX_SYNC) | MAY(KFX_EVENT) | MAY(KFX_ACK) | MAY(KFX_BYE),
    [KFX_PARTY_WORKER] = MAY(KFX_HELLO) | MAY(KFX_PING) | MAY(KFX_SYNC) | MAY(KFX_EVENT) | MAY(KFX_DONE) |
                         MAY(KFX_STATUS) | MAY(KFX_BYE),
    [KFX_PARTY_TAP] = 0,
};

int kfx_role_check(const kfx_role_t *role, const kfx_msg_t *msg, kfx_error_t *err)
{
    const kfx_envelope_t *env = &msg->env;
    if (role->party == KFX_PARTY_NONE || role->party == KFX_PARTY_TAP)
        return kfx_error_set(err, KFX_E_FORBIDDEN, "role %s may send nothing", role->name);
    if ((int)msg->kind < KFX_HELLO || msg->kind > KFX_KIND_LAST)
        return 0;
    if (!(may_send[role->party] & MAY(msg->kind)))
        return kfx_error_set(err, KFX_E_FORBIDDEN, "role %s may not send %s", role->name, kfx_kind_name(msg->kind));
    if (env->role[0] && strcmp(env->role, role->name) != 0)
        return kfx_error_set(err, KFX_E_FORBIDDEN, "role %s says it is %s", role->name, env->role);
    if (role->party != KFX_PARTY_WORKER)
        return 0;
    if (env->service[0] && strcmp(env->service, role->service) != 0)
        return kfx_error_set(err, KFX_E_FORBIDDEN, "role %s may not speak for service %s", role->name, env->service);
    if (msg->kind == KFX_EVENT && !env->running)
        return kfx_error_set(err, KFX_E_FORBIDDEN, "role %s may announce running keys only", role->name);
    if (msg->kind == KFX_SYNC && env->state != KFX_SYNC_END)
        return kfx_error_set(err, KFX_E_FORBIDDEN, "role %s may only end its announcements", role->name);
    return 0;
}

typedef struct {
    char role[KFX_SERVICE_SIZE];
    uint8_t key[KEY_SIZE], before[KEY_SIZE];
    unsigned generation;
    int64_t before_until; /* 0: there is none before */
} grant_t;

struct kfx_auth {
    grant_t grants[KFX_ROLES_MAX];
    size_t count;
    int64_t window_ms;
    zsock_t *zap;
    zloop_t *loop;
    kfx_grumble_t *grumble;
    kfx_metric_t *refused;
};

kfx_auth_t *kfx_auth_new(int64_t window_ms)
{
    kfx_auth_t *self = kfx_xcalloc(1, sizeof(kfx_auth_t));
    self->window_ms = window_ms;
    self->grumble = kfx_grumble_new();
    self->refused = kfx_counter("kubeflex_bus_connections_refused_total", "Connections refused for their key", NULL);
    return self;
}

void kfx_auth_destroy(kfx_auth_t **self_p)
{
    kfx_auth_t *self = *self_p;
    if (!self)
        return;
    if (self->zap) {
        zloop_reader_end(self->loop, self->zap);
        zsock_destroy(&self->zap);
    }
    kfx_grumble_destroy(&self->grumble);
    free(self);
    *self_p = NULL;
}

static grant_t *grant_of(kfx_auth_t *self, const char *role)
{
    for (size_t i = 0; i < self->count; i++)
        if (strcmp(self->grants[i].role, role) == 0)
            return &self->grants[i];
    return NULL;
}

bool kfx_auth_set(kfx_auth_t *self, const char *role, const char *public_key, int64_t now)
{
    uint8_t key[KEY_SIZE];
    if (strlen(public_key) != KFX_Z85_SIZE - 1 || !zmq_z85_decode(key, public_key))
        return false;
    grant_t *grant = grant_of(self, role);
    if (grant && memcmp(grant->key, key, KEY_SIZE) == 0)
        return false;
    bool replaced = grant != NULL;
    if (!grant) {
        if (self->count == KFX_ROLES_MAX)
            return false;
        grant = &self->grants[self->count++];
        kfx_copy(grant->role, sizeof(grant->role), role);
    }
    if (replaced) {
        memcpy(grant->before, grant->key, KEY_SIZE);
        grant->before_until = now + self->window_ms;
    }
    memcpy(grant->key, key, KEY_SIZE);
    grant->generation++;
    return replaced;
}

bool kfx_auth_admit(const kfx_auth_t *self, const char *domain, const uint8_t *key, size_t size, int64_t now,
                    char user[KFX_ZAP_USER_SIZE])
{
    if (size != KEY_SIZE)
        return false;
    for (size_t i = 0; i < self->count; i++) {
        const grant_t *grant = &self->grants[i];
        bool before = now < grant->before_until && memcmp(grant->before, key, KEY_SIZE) == 0;
        if (!before && memcmp(grant->key, key, KEY_SIZE) != 0)
            continue;
        bool tap = strcmp(grant->role, "tap") == 0;
        if (strcmp(domain, tap ? KFX_ZAP_TAP : KFX_ZAP_WORK) != 0)
            return false;
        snprintf(user, KFX_ZAP_USER_SIZE, "%s#%u", grant->role, grant->generation - before);
        return true;
    }
    return false;
}

int kfx_auth_role(const kfx_auth_t *self, const char *user, int64_t now, kfx_role_t *out, bool *renew, kfx_error_t *err)
{
    for (size_t i = 0; user && i < self->count; i++) {
        const grant_t *grant = &self->grants[i];
        size_t len = strlen(grant->role);
        if (strncmp(user, grant->role, len) != 0 || user[len] != '#')
            continue;
        unsigned long generation = strtoul(user + len + 1, NULL, 10);
        *renew = generation + 1 == grant->generation && now < grant->before_until;
        if (*renew || generation == grant->generation)
            return kfx_role_parse(grant->role, out, err);
    }
    return kfx_error_set(err, KFX_E_UNAUTHORIZED, "the key of this connection is not valid any more");
}

bool kfx_auth_taps_ended(kfx_auth_t *self, int64_t now)
{
    grant_t *grant = grant_of(self, "tap");
    if (!grant || !grant->before_until || now < grant->before_until)
        return false;
    grant->before_until = 0;
    return true;
}

static void refused(kfx_auth_t *self, const char *address, const char *domain)
{
    uint64_t unsaid;
    kfx_metric_add(self->refused, 1);
    KFX_FREE char *peer = kfx_xasprintf("%s %s", address ? address : "", domain ? domain : "");
    if (kfx_grumble_may(self->grumble, peer, kfx_now_ms(), &unsaid))
        kfx_log_warn("connection refused: unknown key", "address", address, "domain", domain, "unsaid",
                     kfx_log_num(unsaid), NULL);
}

/* version, request id, domain, address, routing id, mechanism, credentials … */
zmsg_t *kfx_auth_zap(kfx_auth_t *self, zmsg_t *request)
{
    char user[KFX_ZAP_USER_SIZE] = "";
    bool good = false;
    char *version = zmsg_popstr(request), *id = zmsg_popstr(request), *domain = zmsg_popstr(request);
    char *address = zmsg_popstr(request);
    zframe_t *routing = zmsg_pop(request);
    char *mechanism = zmsg_popstr(request);
    zframe_t *key = zmsg_pop(request);
    if (version && strcmp(version, "1.0") == 0 && domain && mechanism && strcmp(mechanism, "CURVE") == 0 && key)
        good = kfx_auth_admit(self, domain, zframe_data(key), zframe_size(key), kfx_now_ms(), user);
    if (!good)
        refused(self, address, domain);
    zmsg_t *answer = zmsg_new();
    const char *const parts[] = {"1.0", id ? id : "", good ? "200" : "400", good ? "OK" : "unknown key", user, ""};
    for (size_t i = 0; i < KFX_COUNT(parts); i++)
        zmsg_addstr(answer, parts[i]);
    zstr_free(&version);
    zstr_free(&id);
    zstr_free(&domain);
    zstr_free(&address);
    zstr_free(&mechanism);
    zframe_destroy(&routing);
    zframe_destroy(&key);
    return answer;
}

static int on_zap(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    zmsg_t *request = zmsg_recv(reader);
    if (!request)
        return 0;
    zmsg_t *answer = kfx_auth_zap(arg, request);
    zmsg_destroy(&request);
    zmsg_send(&answer, reader);
    zmsg_destroy(&answer);
    return 0;
}

int kfx_auth_serve(kfx_auth_t *self, zloop_t *loop, kfx_error_t *err)
{
    self->zap = zsock_new(ZMQ_REP);
    if (!self->zap || zsock_bind(self->zap, "inproc://zeromq.zap.01") != 0) {
        zsock_destroy(&self->zap);
        return kfx_error_set(err, KFX_E_INTERNAL, "cannot start the ZAP handler: %s", zmq_strerror(zmq_errno()));
    }
    zsock_set_linger(self->zap, 0);
    self->loop = loop;
    zloop_reader(loop, self->zap, on_zap, self);
    zloop_reader_set_tolerant(loop, self->zap);
    return 0;
}
