/* kflex backup and kflex restore: what a control plane holds, to a file and back. docs/backup.md. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/backup_pg.h"
#include "cli/hosting.h"
#include "cli/plane.h"
#include "cli/wait.h"
#include "kube/forward.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#define PODS_GONE_MS 90000
#define PODS_MAX 16
#define GRACE_S 2 /* nothing that the old API server could still do would be kept */
#define LOOK_MS 300
#define API_SERVER "app%%3Dkube-apiserver"

typedef struct {
    kfx_cli_t *cli;
    kfx_hosting_t hosting;
    const char *name;
    char ns[KFX_NAME_SIZE];
    json_t *object; /* the ControlPlane */
    kfx_forward_t *forward;
    PGconn *pg;
    int64_t start;
} job_t;

/* ---- the way to the database ------------------------------------------------------------------------------------ */

static int find_plane(job_t *self, kfx_error_t *err)
{
    KFX_FREE char *escaped = kfx_kube_escape(self->name);
    KFX_FREE char *path = kfx_xasprintf("%s/%s", KFX_CONTROLPLANES_PATH, escaped);
    kfx_error_t why = KFX_ERROR_INIT;
    self->object = kfx_hosting_get(self->hosting.kube, path, &why);
    if (!self->object && why.code == KFX_E_NOT_FOUND)
        return kfx_error_set(
            err, why.code,
            "control plane not found on server: %s (hosting context '%s'). `kflex list` shows what there is, `kflex "
            "create` makes one",
            self->name, self->hosting.context);
    if (!self->object) {
        if (err)
            *err = why;
        return kfx_hosting_explain(&self->hosting, err);
    }
    const char *type = kfx_json_str(self->object, "spec", "type");
    const kfx_type_info_t *info = kfx_type_find(type ? type : "");
    if (!info || !info->storage)
        return kfx_error_set(err, KFX_E_INVALID, "control plane %s is of type %s, which keeps its data by itself",
                             self->name, type ? type : "?");
    return 0;
}

static char *secret_text(const json_t *secret, const char *key)
{
    const char *coded = kfx_json_str(secret, "data", key);
    size_t len = 0;
    char *text = coded ? kfx_base64_decode(coded, &len, NULL) : NULL;
    if (text && strlen(text) == len)
        return text;
    free(text);
    return NULL;
}

/* "db.team.svc" or "db.team.svc.cluster.local" is a Service, whose pods only the cluster can reach. */
static bool is_service(const char *host, char service[KFX_NAME_SIZE], char ns[KFX_NAME_SIZE])
{
    char zone[64] = "";
    if (strlen(host) >= KFX_NAME_SIZE || sscanf(host, "%255[^.].%255[^.].%63s", service, ns, zone) != 3)
        return false;
    return strcmp(zone, "svc") == 0 || strncmp(zone, "svc.", 4) == 0;
}

/* Its pods' label selector, and the port that they listen on. */
static char *service_target(job_t *self, const char *service, const char *ns, int *port, kfx_error_t *err)
{
    KFX_FREE char *space = kfx_kube_escape(ns); /* both are somebody's text */
    KFX_FREE char *one = kfx_kube_escape(service);
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/services/%s", space, one);
    KFX_JSON json_t *object = kfx_hosting_get(self->hosting.kube, path, err);
    if (!object)
        return NULL;
    size_t i;
    json_t *item, *value;
    json_array_foreach (kfx_json_get(object, "spec", "ports"), i, item)
        if (kfx_json_int(item, 0, "port") == *port && kfx_json_int(item, 0, "targetPort") > 0)
            *port = (int)kfx_json_int(item, 0, "targetPort"); /* a name: the same port, as servers have it */
    char *selector = kfx_xstrdup("");
    const char *key;
    json_object_foreach (kfx_json_get(object, "spec", "selector"), key, value) {
        char *longer = kfx_xasprintf("%s%s%s=%s", selector, *selector ? "," : "", key, json_string_value(value));
        free(selector);
        selector = longer;
    }
    if (*selector)
        return selector;
    free(selector);
    kfx_error_set(err, KFX_E_INVALID, "Service %s of namespace %s chooses no pods: its database cannot be reached",
                  service, ns);
    return NULL;
}

static int open_forward(job_t *self, const char *host, char port[8], kfx_error_t *err)
{
    char service[KFX_NAME_SIZE], ns[KFX_NAME_SIZE];
    if (!is_service(host, service, ns))
        return 0;
    int number = atoi(port);
    KFX_FREE char *selector = service_target(self, service, ns, &number, err);
    self->forward = selector ? kfx_forward_new_tcp(self->hosting.kube, ns, selector, number, err) : NULL;
    if (!self->forward)
        return -1;
    kfx_copy(port, 8, strrchr(kfx_forward_endpoint(self->forward), ':') + 1);
    return 0;
}

/* Where the way to the database broke, libpq knows only that it did. */
static void explain(job_t *self, kfx_error_t *err)
{
    kfx_error_t news;
    while (self->forward && kfx_forward_news(self->forward, &news))
        if (news.code != KFX_OK && err) {
            *err = news;
            kfx_hosting_explain(&self->hosting, err);
        }
}

static int connect_database(job_t *self, const char *dsn, const char *ca_pem, kfx_error_t *err)
{
    char host[256], port[8];
    if (kfx_backup_address(dsn, host, port, err) != 0 || open_forward(self, host, port, err) != 0)
        return -1;
    bool through = self->forward != NULL;
    self->pg = kfx_backup_connect(dsn, ca_pem, through ? "127.0.0.1" : NULL, through ? port : NULL, err);
    if (self->pg)
        return 0;
    explain(self, err);
    return -1;
}

static int open_database(job_t *self, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/secrets/" KFX_SECRET_DSN, self->ns);
    json_t *secret = kfx_hosting_get(self->hosting.kube, path, &why);
    if (!secret && why.code == KFX_E_NOT_FOUND) {
        const char *backend = kfx_json_str(self->object, "spec", "backend");
        return kfx_error_set(err, why.code,
                             "control plane %s (backend %s) has no Secret " KFX_SECRET_DSN
                             " in namespace %s: kflex backs up planes on a Postgres only, once they are made",
                             self->name, backend ? backend : "shared", self->ns);
    }
    if (!secret) {
        if (err)
            *err = why;
        return kfx_hosting_explain(&self->hosting, err);
    }
    char *dsn = secret_text(secret, "endpoint");
    KFX_FREE char *ca_pem = secret_text(secret, "ca.crt");
    json_decref(secret);
    int rc = dsn ? connect_database(self, dsn, ca_pem, err)
                 : kfx_error_set(err, KFX_E_INVALID, "Secret " KFX_SECRET_DSN " has no usable key 'endpoint'");
    if (dsn)
        kfx_wipe(dsn, strlen(dsn));
    free(dsn);
    return rc < 0 ? kfx_error_wrap(err, "control plane %s", self->name) : 0;
}

static int job_open(job_t *self, kfx_cli_t *cli, const char *name, kfx_error_t *err)
{
    self->cli = cli;
    self->name = name;
    self->start = kfx_now_ms();
    kfx_plane_namespace(name, self->ns);
    return kfx_hosting_open(cli, &self->hosting, err) < 0 ? -1 : find_plane(self, err);
}

static void job_close(job_t *self)
{
    PQfinish(self->pg);
    kfx_forward_destroy(&self->forward);
    json_decref(self->object);
    kfx_hosting_close(&self->hosting);
}

/* ---- backup ----------------------------------------------------------------------------------------------------- */

static json_t *header_of(const job_t *self)
{
    char now[KFX_RFC3339_SIZE];
    json_t *header = json_object();
    const char *uid = kfx_json_str(self->object, "metadata", "uid"), *type = kfx_json_str(self->object, "spec", "type"),
               *version = kfx_json_str(self->object, "status", "kubernetesVersion");
    json_object_set_new(header, "plane", json_string(self->name));
    json_object_set_new(header, "uid", json_string(uid ? uid : ""));
    json_object_set_new(header, "type", json_string(type ? type : ""));
    json_object_set_new(header, "kubernetesVersion", json_string(version ? version : ""));
    json_object_set_new(header, "created", json_string(kfx_rfc3339_now(now)));
    json_object_set_new(header, "kflex", json_string(KFX_VERSION));
    return header;
}

int kfx_cmd_backup(kfx_cli_t *cli, kfx_error_t *err)
{
    const char *path = cli->opts.file;
    if (!path || !*path)
        return kfx_error_set(err, KFX_E_INVALID, "\"kflex backup\" needs --output FILE");
    job_t self = {0};
    kfx_backup_sum_t sum;
    int rc = job_open(&self, cli, cli->opts.arg[0], err);
    if (rc == 0)
        rc = open_database(&self, err);
    KFX_JSON json_t *header = rc == 0 ? header_of(&self) : NULL;
    if (rc == 0)
        rc = kfx_backup_dump(self.pg, path, header, &sum, err);
    if (rc < 0)
        explain(&self, err);
    if (rc == 0)
        kfx_out_step(&cli->out, kfx_now_ms() - self.start,
                     "Wrote %" PRIu64 " keys of control plane %s (%" PRIu64 " KiB, revision %" PRId64
                     ") to %s. Keep it "
                     "as you keep its Secrets",
                     sum.records, self.name, (sum.bytes + 1023) / 1024, kfx_json_int(header, 0, "revision"), path);
    job_close(&self);
    return rc;
}

/* ---- restore ---------------------------------------------------------------------------------------------------- */

/* All of it once, before anything is changed. */
static int check_file(kfx_cli_t *cli, FILE *file, const char *path, json_t **header, kfx_error_t *err)
{
    kfx_backup_record_t record;
    KFX_BACKUP_READER kfx_backup_reader_t *reader = kfx_backup_open(file, err);
    int rc = reader ? 1 : -1;
    while (rc > 0)
        rc = kfx_backup_next(reader, &record, err);
    if (rc < 0)
        return kfx_error_wrap(err, "%s", path);
    *header = json_incref((json_t *)(uintptr_t)kfx_backup_header(reader));
    const char *plane = kfx_json_str(*header, "plane"), *created = kfx_json_str(*header, "created"),
               *version = kfx_json_str(*header, "kubernetesVersion");
    const kfx_backup_sum_t *sum = kfx_backup_sum(reader);
    KFX_FREE char *text = kfx_xasprintf("%s: control plane %s at %s, Kubernetes %s, revision %" PRId64 ", %" PRIu64
                                        " keys, %" PRIu64 " KiB; the checksum is right",
                                        path, plane ? plane : "?", created ? created : "?", version ? version : "?",
                                        kfx_backup_revision(reader), sum->records, (sum->bytes + 1023) / 1024);
    KFX_FREE char *clean = kfx_clean(text); /* the file is anybody's */
    kfx_out_check(&cli->out, 1, "%s", clean);
    return 0;
}

static int confirm(kfx_cli_t *cli, const char *name, kfx_error_t *err)
{
    if (cli->opts.force)
        return 0;
    if (!isatty(STDIN_FILENO))
        return kfx_error_set(err, KFX_E_INVALID, "this replaces all that control plane %s holds: say --force", name);
    if (kfx_out_ask(&cli->out, "This replaces all that control plane %s holds. Are you sure?", name))
        return 0;
    return kfx_error_set(err, KFX_E_CANCELED, "nothing was changed");
}

static json_t *api_servers(job_t *self, kfx_error_t *err)
{
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/pods?labelSelector=" API_SERVER, self->ns);
    return kfx_hosting_get(self->hosting.kube, path, err);
}

/* For kfx_wait: nothing but whether it is there. */
static void *there(void *ctx, const json_t *object)
{
    (void)ctx;
    (void)object;
    return kfx_xcalloc(1, 1);
}

static int is_gone(void *ctx, const void *item, kfx_error_t *err)
{
    (void)ctx;
    (void)err;
    return item == NULL;
}

static int end_pod(job_t *self, const char *name, const char *uid, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    json_t *options = json_pack("{s:i, s:{s:s}}", "gracePeriodSeconds", GRACE_S, "preconditions", "uid", uid);
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_DELETE, options, "/api/v1/namespaces/%s/pods/%s", self->ns, name);
    if (kfx_kube_call(self->hosting.kube, req, &why) == 0 || why.code == KFX_E_NOT_FOUND || why.code == KFX_E_CONFLICT)
        return 0;
    if (err)
        *err = why;
    return kfx_error_wrap(err, "restart the API server of %s", self->name);
}

/* Under the table's lock: every API server that knows the old content ends, those that begin meanwhile wait for the
 * lock. */
static int end_servers(void *ctx, kfx_error_t *err)
{
    job_t *self = ctx;
    KFX_JSON json_t *pods = api_servers(self, err);
    KFX_FREE char *collection = kfx_xasprintf("/api/v1/namespaces/%s/pods", self->ns);
    kfx_wait_t gone[PODS_MAX];
    size_t count = 0, i;
    json_t *pod;
    if (!pods)
        return -1;
    if (json_array_size(kfx_json_get(pods, "items")) > PODS_MAX)
        return kfx_error_set(err, KFX_E_INVALID, "control plane %s has too many API servers", self->name);
    json_array_foreach (kfx_json_get(pods, "items"), i, pod) {
        const char *name = kfx_json_str(pod, "metadata", "name"), *uid = kfx_json_str(pod, "metadata", "uid");
        if (!name || !uid || end_pod(self, name, uid, err) != 0)
            return -1;
        gone[count++] = (kfx_wait_t){
            .collection = collection, .name = name, .metadata_only = true, .reduce = there, .changed = is_gone};
    }
    if (count == 0)
        return 0;
    if (kfx_wait(self->hosting.kube, gone, count, kfx_now_ms() + PODS_GONE_MS, &self->cli->out, self->start, NULL, NULL,
                 err) != 0)
        return kfx_error_wrap(err, "wait for the old API server of %s to end", self->name);
    return 0;
}

static bool any_ready(const json_t *pods)
{
    size_t i, k;
    json_t *pod, *condition;
    json_array_foreach (kfx_json_get(pods, "items"), i, pod)
        json_array_foreach (kfx_json_get(pod, "status", "conditions"), k, condition) {
            const char *type = kfx_json_str(condition, "type"), *status = kfx_json_str(condition, "status");
            if (type && status && strcmp(type, "Ready") == 0 && strcmp(status, "True") == 0)
                return true;
        }
    return false;
}

/* The new pods' names are not known, which kfx_wait needs. */
static int await_server(job_t *self, kfx_error_t *err)
{
    int64_t deadline = kfx_now_ms() + self->cli->opts.timeout_ms;
    for (;;) {
        KFX_JSON json_t *pods = api_servers(self, NULL);
        if (any_ready(pods))
            return 0;
        if (kfx_now_ms() >= deadline)
            return kfx_error_set(err, KFX_E_TIMEOUT,
                                 "control plane %s is restored, but its API server is not ready yet: `kflex describe "
                                 "%s` says why",
                                 self->name, self->name);
        poll(NULL, 0, LOOK_MS);
    }
}

/* What must be known where a backup of one plane is put into another. */
static void tell(job_t *self, const json_t *header, const kfx_restored_t *done)
{
    kfx_out_t *out = &self->cli->out;
    const char *uid = kfx_json_str(self->object, "metadata", "uid"), *from = kfx_json_str(header, "uid");
    kfx_out_step(out, kfx_now_ms() - self->start,
                 "Control plane %s holds the %" PRIu64 " keys of the backup, and goes on at revision "
                 "%" PRId64,
                 self->name, done->sum.records, done->revision);
    if (done->tokens == 0 || (uid && from && strcmp(uid, from) == 0))
        return;
    kfx_out_warn(out,
                 "%" PRIu64 " Secrets (%s …) hold a service account's token that another control plane has signed, and "
                 "which this one refuses. Remove key 'token' of each, and it is made anew",
                 done->tokens, done->first_token);
}

static int restore(job_t *self, FILE *file, const json_t *header, kfx_error_t *err)
{
    const char *now = kfx_json_str(self->object, "status", "kubernetesVersion"),
               *then = kfx_json_str(header, "kubernetesVersion");
    if (now && then && *then && strcmp(now, then) != 0)
        kfx_out_warn(&self->cli->out,
                     "the backup is of Kubernetes %s, control plane %s runs %s: an older one may not know all objects",
                     then, self->name, now);
    if (confirm(self->cli, self->name, err) != 0 || open_database(self, err) != 0)
        return -1;
    kfx_restored_t done;
    if (kfx_backup_load(self->pg, file, end_servers, self, &done, err) != 0) {
        explain(self, err);
        return kfx_error_wrap(err, "restore of control plane %s", self->name);
    }
    if (await_server(self, err) != 0)
        return -1;
    tell(self, header, &done);
    return 0;
}

int kfx_cmd_restore(kfx_cli_t *cli, kfx_error_t *err)
{
    const char *path = cli->opts.arg[0];
    FILE *file = fopen(path, "re");
    if (!file)
        return kfx_error_set(err, KFX_E_NOT_FOUND, "cannot read %s: %s", path, strerror(errno));
    KFX_JSON json_t *header = NULL;
    int rc = check_file(cli, file, path, &header, err);
    if (rc == 0 && !cli->opts.check && fseek(file, 0, SEEK_SET) != 0)
        rc = kfx_error_set(err, KFX_E_INVALID, "%s must be a file: it is read twice", path);
    if (rc == 0 && !cli->opts.check) {
        const char *name = cli->opts.arg_count > 1 ? cli->opts.arg[1] : kfx_json_str(header, "plane");
        job_t self = {0};
        rc = name && *name ? job_open(&self, cli, name, err)
                           : kfx_error_set(err, KFX_E_INVALID, "say the name of the control plane behind %s", path);
        if (rc == 0)
            rc = restore(&self, file, header, err);
        job_close(&self);
    }
    fclose(file);
    return rc;
}
