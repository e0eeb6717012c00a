#include "cli/logs.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"

#include <string.h>

#define PODS_MAX 500
#define FAILING_LINES 10
#define READ_LIMIT_MS 10000

/* What people call the parts; which containers that may be, the likeliest first. */
static const struct {
    const char *word;
    const char *container[7];
} parts[] = {
    {"api-server", {"kube-apiserver", "vcluster", "syncer", "k3s-server", "k3s", "multicluster-controlplane", NULL}},
    {"controller-manager", {"kube-controller-manager", NULL}},
};

json_t *kfx_pods_fetch(kfx_kube_t *kube, const char *plane, kfx_error_t *err)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    KFX_FREE char *space = kfx_kube_escape(ns);
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/pods?limit=%d", space, PODS_MAX);
    KFX_JSON json_t *list = kfx_hosting_get(kube, path, err);
    json_t *items = json_object_get(list, "items");
    if (!list)
        return NULL;
    return json_is_array(items) ? json_incref(items) : json_array();
}

static void fill(kfx_log_t *log, const json_t *pod, const char *container)
{
    kfx_copy(log->ns, sizeof log->ns, kfx_json_str(pod, "metadata", "namespace"));
    kfx_copy(log->pod, sizeof log->pod, kfx_json_str(pod, "metadata", "name"));
    kfx_copy(log->container, sizeof log->container, container);
}

/* Sidecars are init containers that go on. */
static const char *const container_lists[] = {"containers", "initContainers"};
static const char *const status_lists[] = {"containerStatuses", "initContainerStatuses"};

static bool has_container(const json_t *pod, const char *name)
{
    for (size_t l = 0; l < KFX_COUNT(container_lists); l++) {
        size_t i;
        json_t *container;
        json_array_foreach (kfx_json_get(pod, "spec", container_lists[l]), i, container) {
            const char *its = kfx_json_str(container, "name");
            if (its && strcmp(its, name) == 0)
                return true;
        }
    }
    return false;
}

/* RFC 3339 in UTC, so the order of the texts is that of the times. */
static bool is_younger(const json_t *a, const json_t *b)
{
    const char *x = kfx_json_str(a, "metadata", "creationTimestamp");
    const char *y = kfx_json_str(b, "metadata", "creationTimestamp");
    return strcmp(x ? x : "", y ? y : "") > 0;
}

static bool find_container(const json_t *pods, const char *name, kfx_log_t *log)
{
    const json_t *best = NULL;
    size_t i;
    json_t *pod;
    json_array_foreach (pods, i, pod)
        if (has_container(pod, name) && (!best || is_younger(pod, best)))
            best = pod;
    if (best)
        fill(log, best, name);
    return best != NULL;
}

static void add_names(kfx_buf_t *names, const json_t *pods)
{
    size_t i;
    json_t *pod;
    json_array_foreach (pods, i, pod)
        for (size_t l = 0; l < KFX_COUNT(container_lists); l++) {
            size_t k;
            json_t *container;
            json_array_foreach (kfx_json_get(pod, "spec", container_lists[l]), k, container) {
                const char *name = kfx_json_str(container, "name");
                if (name && !(names->data && strstr(names->data, name)))
                    kfx_buf_addf(names, "%s%s", names->len ? ", " : "", name);
            }
        }
}

int kfx_logs_find(const json_t *pods, const char *plane, const char *component, kfx_log_t *log, kfx_error_t *err)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    const char *word = component ? component : parts[0].word;
    for (size_t i = 0; i < KFX_COUNT(parts); i++)
        for (size_t k = 0; strcmp(parts[i].word, word) == 0 && parts[i].container[k]; k++)
            if (find_container(pods, parts[i].container[k], log))
                return 0;
    if (find_container(pods, word, log))
        return 0;
    if (json_array_size(pods) == 0)
        return kfx_error_set(err, KFX_E_NOT_FOUND,
                             "control plane %s has no pods in namespace %s: `kflex describe %s` says why", plane, ns,
                             plane);
    KFX_BUF kfx_buf_t names = KFX_BUF_INIT(2048);
    add_names(&names, pods);
    return kfx_error_set(err, KFX_E_NOT_FOUND, "control plane %s has no container %s: choose one of %.500s", plane,
                         word, names.data ? names.data : "(none)");
}

typedef struct {
    const json_t *status;
    int64_t restarts;
    bool ended_badly, ran_before, ready, running;
} state_t;

static state_t state_of(const json_t *status)
{
    state_t s = {.status = status};
    s.restarts = kfx_json_int(status, 0, "restartCount");
    s.running = kfx_json_get(status, "state", "running") != NULL;
    s.ended_badly = kfx_json_int(status, 0, "state", "terminated", "exitCode") != 0;
    s.ran_before = kfx_json_get(status, "lastState", "terminated") != NULL;
    s.ready = kfx_json_bool(status, 0, "ready");
    return s;
}

bool kfx_logs_find_failing(const json_t *pods, kfx_log_t *log)
{
    bool found = false;
    size_t i;
    json_t *pod;
    json_array_foreach (pods, i, pod)
        for (size_t l = 0; l < KFX_COUNT(status_lists); l++) {
            size_t k;
            json_t *status;
            json_array_foreach (kfx_json_get(pod, "status", status_lists[l]), k, status) {
                state_t s = state_of(status);
                const char *name = kfx_json_str(status, "name");
                if (!name || s.ready)
                    continue;
                bool failed = s.ended_badly || (s.restarts > 0 && s.ran_before);
                if (!failed && (found || !s.running))
                    continue;
                fill(log, pod, name);
                log->previous = failed && !s.ended_badly && s.ran_before;
                found = true;
                if (failed)
                    return true; /* says more than one that only is not ready */
            }
        }
    return found;
}

static kfx_request_t *request_for(const kfx_log_t *log)
{
    KFX_FREE char *ns = kfx_kube_escape(log->ns);
    KFX_FREE char *pod = kfx_kube_escape(log->pod);
    KFX_FREE char *container = kfx_kube_escape(log->container);
    KFX_FREE char *lines = log->lines ? kfx_xasprintf("&tailLines=%d", log->lines) : kfx_xstrdup("");
    kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/pods/%s/log?container=%s%s%s", ns, pod,
                                         container, lines, log->previous ? "&previous=true" : "");
    req->as_text = true;
    req->timeout_ms = READ_LIMIT_MS;
    return req;
}

char *kfx_logs_read(kfx_kube_t *kube, const kfx_log_t *log, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *req = request_for(log);
    if (kfx_kube_call(kube, req, err) < 0)
        return NULL;
    return req->text ? KFX_STEAL(req->text) : kfx_xstrdup("");
}

int kfx_logs_follow(kfx_kube_t *kube, const kfx_log_t *log, void (*on_part)(void *ctx, const char *data, size_t len),
                    void *ctx, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *req = request_for(log);
    char *path = kfx_xasprintf("%s&follow=true", req->path);
    free(req->path);
    req->path = path;
    req->timeout_ms = INT32_MAX; /* Ctrl-C ends it, or the container does */
    req->no_retry = true;
    req->on_part = on_part;
    req->on_part_ctx = ctx;
    return kfx_kube_call(kube, req, err);
}

void kfx_logs_note_failing(kfx_out_t *out, kfx_kube_t *kube, const char *plane)
{
    KFX_JSON json_t *pods = kfx_pods_fetch(kube, plane, NULL);
    kfx_log_t log = {.lines = FAILING_LINES};
    if (!pods || !kfx_logs_find_failing(pods, &log))
        return;
    KFX_FREE char *text = kfx_logs_read(kube, &log, NULL);
    if (!text || !*text)
        return;
    kfx_out_note(out, "Last lines of pod %s, container %s%s:", log.pod, log.container,
                 log.previous ? " (its run before)" : "");
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (*line)
            kfx_out_note(out, "  %s", line);
}
