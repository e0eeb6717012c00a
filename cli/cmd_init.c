/* kflex init, kflex upgrade: KubeFlex into a cluster, from the manifests that kflex carries. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/hosting.h"
#include "cli/install.h"
#include "cli/kind.h"
#include "cli/kubefile.h"
#include "cli/wait.h"
#include "proto/proto.h"

#include <string.h>

#define IMAGE "kubeflex.local/kubeflex:v" KFX_VERSION
#define DEPLOYMENTS "/apis/apps/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/deployments"
#define STATEFUL_SETS "/apis/apps/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/statefulsets"
#define CONTROLLER "kubeflex-controller-manager"
#define POSTGRES "postgres-postgresql"
#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

typedef struct {
    kfx_cli_t *cli;
    kfx_hosting_t hosting;
    bool openshift;
    bool foreign_postgres; /* somebody else's: stays as it is */
    bool would_replace;    /* --dry-run: the Deployment of another KubeFlex, over which ours cannot be tried */
    size_t untried;        /* --dry-run: objects of Namespaces that are not there yet */
    char image[512];
    int64_t start;
    const char *waits_for;
    char why[300];
    char text[400];
} init_t;

static json_t *get(init_t *self, const char *path, kfx_error_t *err)
{
    return kfx_hosting_get(self->hosting.kube, path, err);
}

/* 1, 0 (NOT_FOUND), -1 with err. */
static int find(init_t *self, const char *path, json_t **out, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    *out = get(self, path, &why);
    if (*out)
        return 1;
    if (why.code == KFX_E_NOT_FOUND)
        return 0;
    if (err)
        *err = why;
    kfx_hosting_explain(&self->hosting, err);
    return -1;
}

/* ---- waiting ---- */

typedef struct {
    char uid[KFX_UID_SIZE];
    bool ready;
    char why[300];
} workload_t;

/* Deployments and StatefulSets: all replicas are those of the newest template, and ready. */
static void *reduce_workload(void *ctx, const json_t *object)
{
    (void)ctx;
    workload_t *w = kfx_xcalloc(1, sizeof *w);
    const char *uid = kfx_json_str(object, "metadata", "uid");
    kfx_copy(w->uid, sizeof w->uid, uid ? uid : "");
    int64_t wanted = kfx_json_int(object, 1, "spec", "replicas"),
            ready = kfx_json_int(object, 0, "status", "readyReplicas");
    int64_t updated = kfx_json_int(object, 0, "status", "updatedReplicas");
    int64_t all = kfx_json_int(object, 0, "status", "replicas");
    bool seen =
        kfx_json_int(object, 0, "status", "observedGeneration") >= kfx_json_int(object, 0, "metadata", "generation");
    w->ready = seen && ready >= wanted && updated >= wanted && all <= wanted;
    snprintf(w->why, sizeof w->why, "%lld of %lld pods are ready", (long long)(seen ? ready : 0), (long long)wanted);
    return w;
}

static int on_workload(void *ctx, const void *item, kfx_error_t *err)
{
    init_t *self = ctx;
    const workload_t *w = item;
    (void)err;
    kfx_copy(self->why, sizeof self->why, w ? w->why : "it is not there");
    return w && w->ready;
}

static int on_gone(void *ctx, const void *item, kfx_error_t *err)
{
    const init_t *self = ctx;
    const workload_t *w = item;
    (void)err;
    return !w || strcmp(w->uid, self->why) != 0;
}

static void *reduce_crd(void *ctx, const json_t *object)
{
    (void)ctx;
    workload_t *w = kfx_xcalloc(1, sizeof *w);
    size_t i;
    json_t *c;
    json_array_foreach (kfx_json_get(object, "status", "conditions"), i, c) {
        const char *type = kfx_json_str(c, "type"), *status = kfx_json_str(c, "status");
        if (type && status && strcmp(type, "Established") == 0)
            w->ready = strcmp(status, "True") == 0;
    }
    kfx_copy(w->why, sizeof w->why, "it is not served yet");
    return w;
}

static const char *spin_text(void *ctx)
{
    init_t *self = ctx;
    snprintf(self->text, sizeof self->text, "Waiting for %s...%s%s", self->waits_for, *self->why ? " " : "", self->why);
    return self->text;
}

static int wait_for(init_t *self, const char *collection, const char *name, void *(*reduce)(void *, const json_t *),
                    int (*changed)(void *, const void *, kfx_error_t *), kfx_error_t *err)
{
    kfx_wait_t target = {.collection = collection, .name = name, .reduce = reduce, .changed = changed, .ctx = self};
    self->waits_for = name;
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_wait(self->hosting.kube, &target, 1, self->start + self->cli->opts.timeout_ms, &self->cli->out, self->start,
                 spin_text, self, &why) == 0)
        return 0;
    if (why.code == KFX_E_TIMEOUT)
        return kfx_error_set(
            err, why.code,
            "%s is not ready in time: %s. Look at `kubectl --context %s get pods,events -n " KFX_SYSTEM_NAMESPACE
            "`; the same command goes on where it stopped",
            name, self->why, self->hosting.context);
    if (why.code == KFX_E_CANCELED)
        return kfx_error_set(err, why.code, "interrupted, while %s: %s. The same command goes on where it stopped",
                             name, self->why);
    if (err)
        *err = why;
    return -1;
}

/* ---- what is there already ---- */

static bool is_ours(const json_t *object)
{
    const char *part = kfx_json_str(object, "metadata", "labels", "app.kubernetes.io/part-of");
    return part && strcmp(part, "kubeflex") == 0;
}

static const json_t *selector_of(const json_t *deployment)
{
    return kfx_json_get(deployment, "spec", "selector");
}

static const json_t *find_object(const json_t *objects, const char *kind, const char *name)
{
    size_t i;
    const json_t *object;
    json_array_foreach (objects, i, object) {
        const char *its_kind = kfx_json_str(object, "kind"), *its_name = kfx_json_str(object, "metadata", "name");
        if (its_kind && its_name && strcmp(its_kind, kind) == 0 && strcmp(its_name, name) == 0)
            return object;
    }
    return NULL;
}

/* The Go KubeFlex's Deployment has our name and the label that our objects have, but other pods by another selector,
 * which cannot change. Applied over it the pods would be a mixture, so it is replaced whole; the control planes it made
 * go on running. */
static int replace_foreign(init_t *self, const json_t *objects, kfx_error_t *err)
{
    KFX_JSON json_t *there = NULL;
    int found = find(self, DEPLOYMENTS "/" CONTROLLER, &there, err);
    if (found <= 0)
        return found;
    if (json_equal(selector_of(there), selector_of(find_object(objects, "Deployment", CONTROLLER))))
        return 0;
    if (self->cli->opts.dry_run) {
        self->would_replace = true;
        kfx_out_step(&self->cli->out, -1, "Deployment " CONTROLLER " is another KubeFlex's: it would be replaced");
        return 0;
    }
    const char *uid = kfx_json_str(there, "metadata", "uid");
    json_t *body = json_pack("{s:s, s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions",
                             "propagationPolicy", "Foreground", "preconditions", "uid", uid ? uid : "");
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_DELETE, body, DEPLOYMENTS "/" CONTROLLER);
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_kube_call(self->hosting.kube, req, &why) < 0 && why.code != KFX_E_NOT_FOUND) {
        if (err)
            *err = why;
        return kfx_hosting_explain(&self->hosting, err);
    }
    kfx_copy(self->why, sizeof self->why, uid ? uid : "");
    if (wait_for(self, DEPLOYMENTS, CONTROLLER, reduce_workload, on_gone, err) < 0)
        return -1;
    kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "Removed the Deployment of another KubeFlex");
    return 0;
}

static bool has_default_storage(init_t *self)
{
    KFX_JSON json_t *classes = get(self, "/apis/storage.k8s.io/v1/storageclasses", NULL);
    size_t i;
    json_t *class;
    json_array_foreach (json_object_get(classes, "items"), i, class) {
        const char *mark =
            kfx_json_str(class, "metadata", "annotations", "storageclass.kubernetes.io/is-default-class");
        if (mark && strcmp(mark, "true") == 0)
            return true;
    }
    return false;
}

/* A StatefulSet that is there keeps its kind of volume, which cannot change; a new one gets a claim where the cluster
 * can fulfil it, and a folder of the node elsewhere. */
static int shape_postgres(init_t *self, json_t *objects, kfx_error_t *err)
{
    KFX_JSON json_t *there = NULL;
    int found = find(self, STATEFUL_SETS "/" POSTGRES, &there, err);
    if (found < 0)
        return -1;
    self->foreign_postgres = found && !is_ours(there);
    bool claim =
        found ? json_array_size(kfx_json_get(there, "spec", "volumeClaimTemplates")) > 0 : has_default_storage(self);
    size_t i;
    json_t *object;
    json_array_foreach (objects, i, object) {
        const char *kind = kfx_json_str(object, "kind");
        if (claim && kind && strcmp(kind, "StatefulSet") == 0 && kfx_install_is_postgres(object))
            kfx_install_claim_volume(object);
    }
    if (self->foreign_postgres)
        kfx_out_warn(&self->cli->out, "StatefulSet " POSTGRES " is not this KubeFlex's: it stays as it is");
    else if (!claim && !found)
        kfx_out_warn(&self->cli->out,
                     "the cluster has no default StorageClass: Postgres keeps its data in folder "
                     "/var/lib/kubeflex/postgres of its node, which must belong to user 999, mode 0700");
    return 0;
}

/* What an administrator has set stays; flags that were given win. */
static int shape_config(init_t *self, json_t *object, kfx_error_t *err)
{
    const kfx_opts_t *opts = &self->cli->opts;
    KFX_JSON json_t *there = NULL;
    if (find(self, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/configmaps/kubeflex-config", &there, err) < 0)
        return -1;
    json_t *data = json_object_get(object, "data");
    json_object_set_new(data, "isOpenShift", json_string(self->openshift ? "true" : "false"));
    json_object_update(data, json_object_get(there, "data"));
    if (opts->domain)
        json_object_set_new(data, "domain", json_string(opts->domain));
    if (opts->host_container)
        json_object_set_new(data, "hostContainer", json_string(opts->host_container));
    if (opts->external_port)
        json_object_set_new(data, "externalPort", json_sprintf("%lld", (long long)opts->external_port));
    return 0;
}

/* ---- applying ---- */

static bool lacks_namespace(init_t *self, const json_t *object)
{
    const char *ns = kfx_json_str(object, "metadata", "namespace");
    KFX_FREE char *escaped = kfx_kube_escape(ns ? ns : "");
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s", escaped);
    KFX_JSON json_t *there = NULL;
    return ns && find(self, path, &there, NULL) == 0;
}

static int apply(init_t *self, json_t *object, kfx_error_t *err)
{
    const char *kind = kfx_json_str(object, "kind"), *name = kfx_json_str(object, "metadata", "name");
    kfx_error_t why = KFX_ERROR_INIT;
    bool dry = self->cli->opts.dry_run;
    if (kfx_install_put(self->hosting.kube, object, dry, &why) == 0)
        return 0;
    if (dry && why.code == KFX_E_NOT_FOUND && lacks_namespace(self, object)) {
        self->untried++;
        return 0;
    }
    if (err)
        *err = why;
    kfx_hosting_explain(&self->hosting, err);
    return kfx_error_wrap(err, "%s %s", kind ? kind : "", name ? name : "");
}

static int apply_crds(init_t *self, kfx_error_t *err)
{
    KFX_JSON json_t *crds = kfx_install_crds(err);
    if (!crds)
        return -1;
    size_t i;
    json_t *crd;
    json_array_foreach (crds, i, crd)
        if (apply(self, crd, err) < 0)
            return -1;
    json_array_foreach (crds, i, crd)
        if (!self->cli->opts.dry_run &&
            wait_for(self, CRDS, kfx_json_str(crd, "metadata", "name"), reduce_crd, on_workload, err) < 0)
            return -1;
    kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "The kinds ControlPlane and PostCreateHook are served");
    return 0;
}

static int apply_objects(init_t *self, json_t *objects, kfx_error_t *err)
{
    size_t i, count = 0;
    json_t *object;
    json_array_foreach (objects, i, object) {
        const char *kind = kfx_json_str(object, "kind"), *name = kfx_json_str(object, "metadata", "name");
        if (self->foreign_postgres && kfx_install_is_postgres(object))
            continue;
        if (self->would_replace && object == find_object(objects, "Deployment", CONTROLLER))
            continue;
        if (kind && name && strcmp(kind, "ConfigMap") == 0 && strcmp(name, "kubeflex-config") == 0 &&
            shape_config(self, object, err) < 0)
            return -1;
        if (apply(self, object, err) < 0)
            return -1;
        count++;
    }
    kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "Applied %zu objects, image %s", count - self->untried,
                 self->image);
    if (self->untried)
        kfx_out_warn(&self->cli->out, "%zu objects could not be checked: their namespaces are not there yet",
                     self->untried);
    return 0;
}

static int wait_workloads(init_t *self, const json_t *objects, kfx_error_t *err)
{
    size_t i;
    json_t *object;
    json_array_foreach (objects, i, object) {
        const char *kind = kfx_json_str(object, "kind"), *name = kfx_json_str(object, "metadata", "name");
        bool set = kind && strcmp(kind, "StatefulSet") == 0;
        if (!kind || (!set && strcmp(kind, "Deployment") != 0) || (set && self->foreign_postgres))
            continue;
        if (wait_for(self, set ? STATEFUL_SETS : DEPLOYMENTS, name, reduce_workload, on_workload, err) < 0)
            return -1;
        kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "%s is ready", name);
    }
    return 0;
}

static int install(init_t *self, kfx_error_t *err)
{
    kfx_copy(self->image, sizeof self->image, self->cli->opts.image ? self->cli->opts.image : IMAGE);
    KFX_JSON json_t *objects = kfx_install_objects(self->image, err);
    if (!objects || apply_crds(self, err) < 0 || replace_foreign(self, objects, err) < 0 ||
        shape_postgres(self, objects, err) < 0 || apply_objects(self, objects, err) < 0)
        return -1;
    if (self->cli->opts.dry_run)
        kfx_out_line(&self->cli->out, "Nothing was changed (--dry-run)");
    else if (!self->cli->opts.wait || self->cli->opts.no_wait)
        kfx_out_line(&self->cli->out, "Not waiting: `kflex doctor` says how it goes");
    else if (wait_workloads(self, objects, err) < 0)
        return -1;
    return 0;
}

/* ---- the commands ---- */

/* `init` works on the current context, as the Go kflex does, and makes it the hosting one. */
static int open_current(init_t *self, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(self->cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    KFX_FREE char *current = kfx_xstrdup(kfx_kc_current(&kc));
    const char *plane = kfx_kc_plane_of(&kc, current);
    int rc = -1;
    if (!*current)
        kfx_error_set(
            err, KFX_E_NOT_FOUND,
            "no context is current: choose the cluster for KubeFlex with `kubectl config use-context CONTEXT`");
    else if (plane)
        kfx_error_set(err, KFX_E_INVALID,
                      "the current context '%s' belongs to control plane %s: choose the hosting cluster with `kubectl "
                      "config use-context CONTEXT`",
                      current, plane);
    else {
        self->hosting.kube = kfx_hosting_client(&kc, current, err);
        self->hosting.context = kfx_xstrdup(current);
        rc = self->hosting.kube ? 0 : -1;
    }
    kfx_kc_release(&kc);
    return rc;
}

static int look_for_openshift(init_t *self, kfx_error_t *err)
{
    KFX_JSON json_t *group = NULL;
    int found = find(self, "/apis/project.openshift.io/v1", &group, err);
    self->openshift = found > 0;
    if (found >= 0)
        kfx_out_step(&self->cli->out, -1, "Checking if OpenShift cluster... %s", found ? "yes" : "no");
    return found < 0 ? -1 : 0;
}

static int init(init_t *self, kfx_error_t *err)
{
    kfx_cli_t *cli = self->cli;
    if (open_current(self, err) < 0 || look_for_openshift(self, err) < 0)
        return -1;
    kfx_out_line(&cli->out, "Kubeflex v%s %s", KFX_VERSION, KFX_DATE);
    if (!cli->opts.dry_run &&
        kfx_kubefile_edit(cli->opts.kubeconfig, kfx_hosting_store, self->hosting.context, err) < 0)
        return -1;
    if (install(self, err) < 0)
        return -1;
    if (!cli->opts.dry_run)
        kfx_out_line(&cli->out, "KubeFlex is in the cluster of context %s: `kflex create NAME` makes a control plane",
                     self->hosting.context);
    return 0;
}

static int run(kfx_cli_t *cli, int (*work)(init_t *self, kfx_error_t *err), kfx_error_t *err)
{
    init_t *self = kfx_xcalloc(1, sizeof *self);
    self->cli = cli;
    self->start = kfx_now_ms();
    int rc = work(self, err);
    kfx_hosting_close(&self->hosting);
    free(self);
    return rc;
}

int kfx_cmd_init(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_opts_t *opts = &cli->opts;
    if (opts->external_port < 0 || opts->external_port > 65535)
        return kfx_error_set(err, KFX_E_INVALID, "--external-port %lld: must be a port",
                             (long long)opts->external_port);
    if (opts->arg_count && !opts->create_kind)
        return kfx_error_set(err, KFX_E_INVALID,
                             "a cluster's name goes with --create-kind; without, KubeFlex is installed "
                             "in the current context's cluster");
    if (opts->create_kind && kfx_kind_create(cli, opts->arg_count ? opts->arg[0] : NULL, err) < 0)
        return -1;
    return run(cli, init, err);
}

static int upgrade(init_t *self, kfx_error_t *err)
{
    if (kfx_hosting_open(self->cli, &self->hosting, err) < 0)
        return -1;
    kfx_out_line(&self->cli->out, "Kubeflex v%s %s", KFX_VERSION, KFX_DATE);
    return install(self, err);
}

int kfx_cmd_upgrade(kfx_cli_t *cli, kfx_error_t *err)
{
    return run(cli, upgrade, err);
}
