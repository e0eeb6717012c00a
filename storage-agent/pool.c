/* storage-agent/pool.c: see pool.h. */
#include "storage-agent/pool.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define LIST_AGE_MS 60000 /* a server's changed address or authority reaches a plane's next task after at most this */
#define LIST_AGE_PLACING_MS 2000 /* a burst of new planes is one list, not one each */

/* What a plane's kine holds open at rest (docs/benchmarks.md): counted for planes that were placed lately,
 * as their connections are not there to be counted yet. */
#define PLANE_CONNECTIONS 3
#define CHOSEN_MS 30000

/* ---- sessions of one thread ----------------------------------------------------------------------------------- */

typedef struct session {
    struct session *next;
    char name[KFX_PG_NAME_SIZE];
    kfx_pg_t *pg;
} session_t;

static void close_all(void *first)
{
    for (session_t *s = first; s;) {
        session_t *next = s->next;
        kfx_pg_close(&s->pg);
        free(s);
        s = next;
    }
}

void kfx_pool_drop(kfx_pool_t *self, const char *name)
{
    session_t *first = pthread_getspecific(self->sessions);
    for (session_t **at = &first; *at; at = &(*at)->next) {
        if (strcmp((*at)->name, name) != 0)
            continue;
        session_t *gone = *at;
        *at = gone->next;
        kfx_pg_close(&gone->pg);
        free(gone);
        break;
    }
    pthread_setspecific(self->sessions, first);
}

static kfx_pg_t *held(kfx_pool_t *self, const char *name)
{
    for (session_t *s = pthread_getspecific(self->sessions); s; s = s->next)
        if (strcmp(s->name, name) == 0)
            return s->pg;
    return NULL;
}

static int hold(kfx_pool_t *self, const char *name, kfx_pg_t *pg)
{
    session_t *s = kfx_xcalloc(1, sizeof *s);
    kfx_copy(s->name, sizeof s->name, name);
    s->pg = pg;
    s->next = pthread_getspecific(self->sessions);
    return pthread_setspecific(self->sessions, s);
}

/* ---- which servers there are ----------------------------------------------------------------------------------- */

int kfx_pool_init(kfx_pool_t *self, kfx_error_t *err)
{
    if (pthread_key_create(&self->sessions, close_all) != 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "no thread-specific key left");
    pthread_mutex_init(&self->mutex, NULL);
    self->count = 0;
    self->listed_at = 0;
    self->warned[0] = '\0';
    self->chosen = json_object();
    if (!self->chosen)
        abort(); /* as the other small allocations */
    return 0;
}

static void forget(kfx_pool_t *self)
{
    while (self->count > 0)
        kfx_server_destroy(&self->servers[--self->count]);
}

void kfx_pool_close(kfx_pool_t *self)
{
    close_all(pthread_getspecific(self->sessions));
    pthread_key_delete(self->sessions);
    forget(self);
    json_decref(self->chosen);
    self->chosen = NULL;
    pthread_mutex_destroy(&self->mutex);
}

/* Says it once, and again only when it is something else. Under the mutex. */
static void warn(kfx_pool_t *self, const kfx_error_t *err)
{
    if (strncmp(self->warned, err->msg, sizeof self->warned - 1) == 0)
        return;
    kfx_copy(self->warned, sizeof self->warned, err->msg);
    kfx_log_warn("the pool of Postgres servers is not as it should be", "error", err->msg, NULL);
}

/* The list as it is now. An installation that has no such namespace, or gave us no rights there, has our own server. */
static json_t *list(kfx_pool_t *self, kfx_error_t *unread, kfx_error_t *err)
{
    const kfx_secrets_t *secrets = &self->bootstrap->secrets;
    json_t *found = secrets->list(secrets->ctx, KFX_POOL_NAMESPACE, KFX_POOL_LABEL "=" KFX_POOL_LABEL_VALUE, unread);
    if (found)
        return found;
    if (unread->code == KFX_E_FORBIDDEN || unread->code == KFX_E_NOT_FOUND)
        return json_object();
    if (err)
        *err = *unread;
    kfx_error_wrap(err, "list the Secrets of Postgres servers in " KFX_POOL_NAMESPACE);
    return NULL;
}

static void add(kfx_pool_t *self, kfx_server_t *server)
{
    if (self->count < KFX_POOL_MAX) {
        self->servers[self->count++] = server;
        return;
    }
    kfx_error_t err;
    kfx_error_set(&err, KFX_E_INVALID, "more than %d Postgres servers: %s is left out", KFX_POOL_MAX, server->name);
    warn(self, &err);
    kfx_server_destroy(&server);
}

/* Without the lock while the API server is asked. */
static int refresh(kfx_pool_t *self, int64_t max_age_ms, kfx_error_t *err)
{
    kfx_error_t unread = KFX_ERROR_INIT;

    pthread_mutex_lock(&self->mutex);
    bool fresh = self->listed_at && kfx_now_ms() - self->listed_at < max_age_ms;
    pthread_mutex_unlock(&self->mutex);
    if (fresh)
        return 0;
    kfx_server_t *own = kfx_bootstrap_server(self->bootstrap, err);
    if (!own)
        return -1;
    KFX_JSON json_t *found = list(self, &unread, err);
    if (!found) {
        kfx_server_destroy(&own);
        return -1;
    }
    pthread_mutex_lock(&self->mutex);
    forget(self);
    self->servers[self->count++] = own;
    if (unread.code != KFX_OK)
        warn(self, &unread);
    size_t i;
    const json_t *secret;
    json_array_foreach (kfx_json_get(found, "items"), i, secret) {
        kfx_error_t bad = KFX_ERROR_INIT;
        kfx_server_t *server = kfx_server_from_secret(secret, &bad);
        if (server)
            add(self, server);
        else
            warn(self, &bad);
    }
    self->listed_at = kfx_now_ms();
    pthread_mutex_unlock(&self->mutex);
    return 0;
}

static kfx_server_t *known(kfx_pool_t *self, const char *name)
{
    kfx_server_t *copy = NULL;
    pthread_mutex_lock(&self->mutex);
    for (size_t i = 0; i < self->count && !copy; i++)
        if (strcmp(self->servers[i]->name, name) == 0)
            copy = kfx_server_dup(self->servers[i]);
    pthread_mutex_unlock(&self->mutex);
    return copy;
}

kfx_server_t *kfx_pool_find(kfx_pool_t *self, const char *name, kfx_error_t *err)
{
    kfx_error_t unread = KFX_ERROR_INIT;
    bool listed = refresh(self, LIST_AGE_MS, &unread) == 0;
    kfx_server_t *server = known(self, name);

    if (!server && listed) { /* it may be new */
        listed = refresh(self, LIST_AGE_PLACING_MS, &unread) == 0;
        server = known(self, name);
    }
    if (server)
        return server; /* what was known before will do where the API server does not answer */
    if (!listed) {
        if (err)
            *err = unread;
        return NULL;
    }
    kfx_error_set(err, KFX_E_NOT_FOUND,
                  "Postgres server %s is not in the pool: put Secret " KFX_POOL_NAMESPACE
                  "/%s with label " KFX_POOL_LABEL "=" KFX_POOL_LABEL_VALUE
                  " and all its keys there; the agents' log says what is wrong with one that is",
                  name, name);
    return NULL;
}

size_t kfx_pool_names(kfx_pool_t *self, char names[KFX_POOL_MAX][KFX_PG_NAME_SIZE])
{
    pthread_mutex_lock(&self->mutex);
    size_t count = self->count;
    for (size_t i = 0; i < count; i++)
        kfx_copy(names[i], KFX_PG_NAME_SIZE, self->servers[i]->name);
    pthread_mutex_unlock(&self->mutex);
    return count;
}

int kfx_pool_refresh(kfx_pool_t *self, kfx_error_t *err)
{
    return refresh(self, LIST_AGE_PLACING_MS, err);
}

bool kfx_pool_single(kfx_pool_t *self)
{
    pthread_mutex_lock(&self->mutex);
    bool single = self->count <= 1;
    pthread_mutex_unlock(&self->mutex);
    return single;
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

/* The server with what its Secret says at this moment: a session is made rarely, and often because that has changed. */
static kfx_server_t *read_now(kfx_pool_t *self, const char *name, kfx_error_t *err)
{
    const kfx_secrets_t *secrets = &self->bootstrap->secrets;
    if (strcmp(name, KFX_SERVER_OWN) == 0)
        return kfx_bootstrap_server(self->bootstrap, err);
    json_t *secret = secrets->get(secrets->ctx, KFX_POOL_NAMESPACE, name, err);
    if (!secret) {
        kfx_error_wrap(err, "read Secret " KFX_POOL_NAMESPACE "/%s of Postgres server %s", name, name);
        return NULL;
    }
    kfx_server_t *server = kfx_server_from_secret(secret, err);
    kfx_secret_free(&secret);
    return server;
}

/* Where the role is missing, refused or short of rights, or PUBLIC may connect to postgres or template1, that is put
 * right with the administrator's password, if there is one. */
kfx_pg_t *kfx_pool_connect(kfx_pool_t *self, const char *name, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    KFX_SERVER kfx_server_t *server = read_now(self, name, err);
    bool own = strcmp(name, KFX_SERVER_OWN) == 0;

    if (!server)
        return NULL;
    kfx_pg_t *pg = kfx_server_connect(server, &local);
    if (pg)
        return pg;
    bool admin = own || server->admin_password;
    if (!kfx_server_unprepared(&local) || !admin) {
        if (err)
            *err = local;
        return NULL;
    }
    kfx_log_info("bootstrap with the administrator's password", "server", name, "because", local.msg, NULL);
    if (own && kfx_bootstrap_admin(self->bootstrap, server, err) < 0)
        return NULL;
    KFX_FREE char *where = own ? kfx_xasprintf("%s/" KFX_SECRET_ADMIN_PASSWORD, self->bootstrap->ns)
                               : kfx_xasprintf(KFX_POOL_NAMESPACE "/%s", name);
    if (kfx_server_prepare(server, where, err) < 0)
        return NULL;
    return kfx_server_connect(server, err);
}

kfx_pg_t *kfx_pool_session(kfx_pool_t *self, const char *name, kfx_error_t *err)
{
    kfx_pg_t *pg = held(self, name);

    if (pg && kfx_pg_alive(pg))
        return pg;
    kfx_pool_drop(self, name);
    pg = kfx_pool_connect(self, name, err);
    if (pg && hold(self, name, pg) != 0) {
        kfx_error_set(err, KFX_E_INTERNAL, "no memory for a thread's sessions");
        kfx_pg_close(&pg);
    }
    return pg;
}

bool kfx_pool_up(kfx_pool_t *self, kfx_error_t *err)
{
    char names[KFX_POOL_MAX][KFX_PG_NAME_SIZE];

    if (refresh(self, LIST_AGE_MS, err) < 0 && kfx_pool_names(self, names) == 0)
        return false;
    size_t count = kfx_pool_names(self, names);
    for (size_t i = 0; i < count; i++) {
        kfx_pg_t *pg = kfx_pool_session(self, names[i], err);
        if (pg && kfx_pg_exec(pg, "SELECT 1", err) == 0)
            return true;
        kfx_pool_drop(self, names[i]);
        kfx_log_debug("a Postgres server is down", "server", names[i], "error", err->msg, NULL);
    }
    return false;
}

/* ---- placing ---------------------------------------------------------------------------------------------------- */

/* The server that this plane was given lately, if any, and how many others were given `name`. Old entries go. */
static long chosen_lately(kfx_pool_t *self, const char *name, const char *uid, char before[KFX_PG_NAME_SIZE])
{
    int64_t now = kfx_now_ms();
    const char *key;
    json_t *entry;
    void *next;
    long count = 0;

    before[0] = '\0';
    pthread_mutex_lock(&self->mutex);
    json_object_foreach_safe(self->chosen, next, key, entry)
    {
        const char *server = json_string_value(json_array_get(entry, 0));
        if (now - json_integer_value(json_array_get(entry, 1)) > CHOSEN_MS)
            json_object_del(self->chosen, key);
        else if (strcmp(key, uid) == 0)
            kfx_copy(before, KFX_PG_NAME_SIZE, server);
        else if (strcmp(server, name) == 0)
            count++;
    }
    pthread_mutex_unlock(&self->mutex);
    return count;
}

static void note(kfx_pool_t *self, const char *uid, const char *name)
{
    pthread_mutex_lock(&self->mutex);
    json_object_set_new(self->chosen, uid, json_pack("[s, I]", name, (json_int_t)kfx_now_ms()));
    pthread_mutex_unlock(&self->mutex);
}

void kfx_pool_forget(kfx_pool_t *self, const char *uid)
{
    pthread_mutex_lock(&self->mutex);
    json_object_del(self->chosen, uid);
    pthread_mutex_unlock(&self->mutex);
}

/* One candidate as it looks now. */
typedef struct {
    char name[KFX_PG_NAME_SIZE];
    kfx_server_room_t room;
    long databases_max;
    long lately;
    bool before; /* this very plane was given it a moment ago */
} candidate_t;

/* Per thousand of its connections that are free; < 0: it has no room. */
static long room_left(const candidate_t *c)
{
    if (c->databases_max > 0 && c->room.databases + c->lately >= c->databases_max)
        return -1;
    long free = c->room.connections_max - c->room.connections - PLANE_CONNECTIONS * (c->lately + 1);
    return free < 0 || c->room.connections_max <= 0 ? -1 : free * 1000 / c->room.connections_max;
}

static bool better(const candidate_t *a, const candidate_t *b)
{
    long left = room_left(a), other = room_left(b);
    if (a->before != b->before)
        return a->before && left >= 0;
    if (left != other)
        return left > other;
    return a->room.databases + a->lately < b->room.databases + b->lately;
}

static int look(kfx_pool_t *self, const kfx_pool_wish_t *wish, const char *name, candidate_t *out, kfx_error_t *err)
{
    char before[KFX_PG_NAME_SIZE];
    kfx_pg_t *pg = kfx_pool_session(self, name, err);

    memset(out, 0, sizeof *out);
    kfx_copy(out->name, sizeof out->name, name);
    if (!pg)
        return -1;
    if (kfx_server_room(pg, wish->database, &out->room, err) < 0) {
        kfx_pool_drop(self, name);
        return -1;
    }
    KFX_SERVER kfx_server_t *server = known(self, name);
    out->databases_max = server ? server->databases_max : 0;
    out->lately = chosen_lately(self, name, wish->uid, before);
    out->before = strcmp(before, name) == 0;
    return 0;
}

/* What is found while one server after the other is looked at. */
typedef struct {
    candidate_t best;
    kfx_buf_t full;     /* those without room, for people */
    kfx_error_t failed; /* of the last one that does not answer and might matter */
    size_t wanted;      /* servers that may be chosen */
} search_t;

static void consider(search_t *s, const candidate_t *one)
{
    if (room_left(one) < 0)
        kfx_buf_addf(&s->full, "%s%s: %ld of %ld connections, %ld databases", s->full.len ? "; " : "", one->name,
                     one->room.connections, one->room.connections_max, one->room.databases);
    else if (!s->best.name[0] || better(one, &s->best))
        s->best = *one;
}

/* True where the plane's database is there already. One that does not answer is passed over, unless it may be the one
 * that has the database, or is the one that is asked for. */
static bool search_one(kfx_pool_t *self, const kfx_pool_wish_t *wish, const char *name, search_t *s)
{
    kfx_error_t err = KFX_ERROR_INIT;
    candidate_t one;
    bool wanted = !wish->pin || strcmp(wish->pin, name) == 0;

    if (!wanted && !wish->old)
        return false;
    s->wanted += wanted;
    if (look(self, wish, name, &one, &err) < 0) {
        kfx_log_warn("a Postgres server of the pool does not answer", "server", name, "error", err.msg, NULL);
        s->failed = err;
        return false;
    }
    if (wanted && !one.room.has)
        consider(s, &one);
    return one.room.has;
}

static int settle(kfx_pool_t *self, const kfx_pool_wish_t *wish, const search_t *s, kfx_pool_choice_t *choice,
                  kfx_error_t *err)
{
    if (wish->pin && s->wanted == 0)
        return kfx_error_set(err, KFX_E_NOT_FOUND, "spec.storage.server: there is no server '%s' in the pool",
                             wish->pin);
    bool matters = wish->old || wish->pin || (!s->best.name[0] && s->full.len == 0);
    if (s->failed.code != KFX_OK && matters) {
        if (err)
            *err = s->failed;
        return -1;
    }
    if (!s->best.name[0])
        return kfx_error_set(
            err, KFX_E_BUSY,
            "no Postgres server has room for one more control plane (%s): add a server to the pool, raise "
            "max_connections or max-databases, or delete control planes",
            s->full.data ? s->full.data : "the pool is empty");
    kfx_copy(choice->server, sizeof choice->server, s->best.name);
    choice->open = s->wanted > 1;
    note(self, wish->uid, s->best.name);
    return 0;
}

int kfx_pool_choose(kfx_pool_t *self, const kfx_pool_wish_t *wish, kfx_pool_choice_t *choice, kfx_error_t *err)
{
    char names[KFX_POOL_MAX][KFX_PG_NAME_SIZE];
    search_t s = {.full = KFX_BUF_INIT(900)};

    memset(choice, 0, sizeof *choice);
    if (refresh(self, LIST_AGE_PLACING_MS, err) < 0)
        return -1;
    size_t count = kfx_pool_names(self, names);
    for (size_t i = 0; i < count; i++) {
        if (!search_one(self, wish, names[i], &s))
            continue;
        kfx_copy(choice->server, sizeof choice->server, names[i]);
        kfx_buf_free(&s.full);
        return 0;
    }
    int rc = settle(self, wish, &s, choice, err);
    kfx_buf_free(&s.full);
    return rc;
}
