/* reconcilers/hooks/apply.c: hooks' objects in the hosting cluster. All is done as the account of the hook. */
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/hooks/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define DISCOVERY_MS 3000
#define SECRET_MIN 6 /* shorter values are no secrets, and would hide half of a message */

typedef struct {
    kfx_pass_t *pass;
    kfx_hook_t *hook;
    const json_t *object; /* marked */
    const char *what;     /* "Job hello" */
    char *path;           /* of the object; owned */
    kfx_hook_kind_t kind;
    char hash[KFX_HASH_SIZE];
    json_t *line; /* in the record; borrowed */
    json_t *live; /* owned; NULL: there is none */
} job_t;

/* ---- words ------------------------------------------------------------------------------------------------------ */

static void hide(char *text, const json_t *vars)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)vars, name, value) {
        const char *secret = json_string_value(value);
        size_t len = secret ? strlen(secret) : 0;
        for (char *at = text; len >= SECRET_MIN && (at = strstr(at, secret)) != NULL; at += 3) {
            memset(at, '*', 3);
            memmove(at + 3, at + len, strlen(at + len) + 1);
        }
    }
}

/* The API server quotes what it refuses, and variables may hold tokens. */
static int refused(job_t *job, const char *reason, const char *verb, const kfx_request_t *req)
{
    const json_t *spec = kfx_json_get(job->pass->run->plane, "spec");
    kfx_error_t err = req->error;
    /* "get /api/v1/… at https://…: Forbidden (HTTP 403): " says nothing that is not known here. */
    const char *status = strstr(err.msg, "(HTTP "), *words = status ? strstr(status, "): ") : NULL;
    if (words)
        memmove(err.msg, words + 3, strlen(words + 3) + 1);
    hide(err.msg, job->hook->vars);
    hide(err.msg, kfx_json_get(spec, "globalVars"));
    return kfx_hook_say(job->hook, reason, "%s: %s: %s", job->what, verb, err.msg);
}

static int failed(job_t *job, const char *verb, const kfx_request_t *req)
{
    job->hook->again = true;
    switch (req->error.code) {
    case KFX_E_CANCELED:
    case KFX_E_FENCED: job->pass->stopped = true; return refused(job, KFX_HOOK_REFUSED, verb, req);
    case KFX_E_FORBIDDEN: refused(job, KFX_HOOK_FORBIDDEN, verb, req); return -1;
    default: return refused(job, KFX_HOOK_REFUSED, verb, req);
    }
}

static kfx_request_t *as_account(const char *user, kfx_request_t *req)
{
    req->impersonate = *user ? kfx_xstrdup(user) : NULL;
    return req;
}

/* ---- where ------------------------------------------------------------------------------------------------------ */

/* It becomes a part of a path. */
static bool good_version(const char *version)
{
    unsigned slashes = 0;
    for (const char *c = version; *c; c++) {
        slashes += *c == '/';
        if (!isalnum((unsigned char)*c) && !strchr("-./", *c))
            return false;
    }
    return slashes <= 1 && !strstr(version, "..") && version[0] != '/' && strlen(version) < 150;
}

static int discover(kfx_pass_t *pass, kfx_hook_t *hook, const char *version, const char *kind, kfx_hook_kind_t *out)
{
    if (!good_version(version))
        return kfx_hook_say(hook, KFX_HOOK_INVALID, "%.60s: apiVersion %.80s is none", kind, version);
    if (hook->inside && !pass->inside_kinds)
        pass->inside_kinds = kfx_kinds_new();
    kfx_kinds_t *kinds = hook->inside ? pass->inside_kinds : pass->kinds;
    if (kfx_kinds_get(kinds, version, kind, out))
        return 0;
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "%s/%s", strchr(version, '/') ? "/apis" : "/api", version);
    get->no_retry = true; /* one that is away is asked again in a later pass, and holds nothing up */
    get->timeout_ms = DISCOVERY_MS;
    kfx_code_t code = kfx_hook_request(pass, hook, get);
    if (code == KFX_OK)
        kfx_kinds_put(kinds, version, get->answer);
    if (code == KFX_OK && kfx_kinds_get(kinds, version, kind, out))
        return 0;
    hook->again = true;
    pass->stopped = pass->stopped || code == KFX_E_CANCELED;
    if (code != KFX_OK && code != KFX_E_NOT_FOUND)
        return kfx_hook_say(hook, KFX_HOOK_REFUSED, "the API %s does not answer: %s", version, get->error.msg);
    return kfx_hook_say(hook, KFX_HOOK_REFUSED,
                        "the cluster does not serve %.60s of %.80s: install what defines it, or use another version",
                        kind, version);
}

int kfx_hook_path(kfx_pass_t *pass, kfx_hook_t *hook, const json_t *object, kfx_hook_kind_t *kind, char **path)
{
    const char *name = kfx_json_str(object, "metadata", "name");
    const char *ns = hook->inside ? kfx_hook_inside_namespace(object) : pass->run->ns;
    if (discover(pass, hook, kfx_json_str(object, "apiVersion"), kfx_json_str(object, "kind"), kind))
        return -1;
    KFX_FREE char *escaped = kfx_kube_escape(name);
    KFX_FREE char *escaped_ns = kfx_kube_escape(ns);
    *path = kind->namespaced
                ? kfx_xasprintf("%s/namespaces/%s/%s/%s", kind->collection, escaped_ns, kind->plural, escaped)
                : kfx_xasprintf("%s/%s/%s", kind->collection, kind->plural, escaped);
    return 0;
}

static void add_collection(json_t *paths, const kfx_hook_kind_t *kind)
{
    size_t i;
    const json_t *known;
    KFX_FREE char *path = kfx_xasprintf("%s/%s", kind->collection, kind->plural);
    json_array_foreach (paths, i, known)
        if (strcmp(json_string_value(known), path) == 0)
            return;
    json_array_append_new(paths, json_string(path));
}

/* ---- whose ------------------------------------------------------------------------------------------------------ */

static bool is_plane(const json_t *owner)
{
    const char *kind = kfx_json_str(owner, "kind"), *version = kfx_json_str(owner, "apiVersion");
    return kind && version && strcmp(kind, "ControlPlane") == 0 && strcmp(version, KFX_API_VERSION) == 0;
}

/* How many ControlPlanes have a share in it; *named: one of that name, *ours: this uid. */
static size_t count_planes(const json_t *live, const char *name, const char *uid, bool *named, bool *ours)
{
    size_t i, count = 0;
    const json_t *owner;
    *named = *ours = false;
    json_array_foreach (kfx_json_get(live, "metadata", "ownerReferences"), i, owner) {
        const char *its_name = kfx_json_str(owner, "name"), *its_uid = kfx_json_str(owner, "uid");
        if (!is_plane(owner) || !its_name || !its_uid)
            continue;
        count++;
        *named = *named || strcmp(its_name, name) == 0;
        *ours = *ours || strcmp(its_uid, uid) == 0;
    }
    return count;
}

/* A share of this plane in a cluster-scoped object: it is collected when the last plane that has one is gone. Not by
 * the hooks' field manager, which all planes have in common. share false: gives it back. */
static int set_share(job_t *job, const json_t *live, bool share)
{
    kfx_run_t *run = job->pass->run;
    bool named, ours;
    count_planes(live, run->owner.plane, run->owner.uid, &named, &ours);
    if (ours == share)
        return 0;
    json_t *body = json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", kfx_json_str(live, "apiVersion"), "kind",
                             kfx_json_str(live, "kind"), "metadata", "name", kfx_json_str(live, "metadata", "name"),
                             "uid", kfx_json_str(live, "metadata", "uid"));
    if (share)
        kfx_json_put(body,
                     json_pack("[{s:s, s:s, s:s, s:s}]", "apiVersion", KFX_API_VERSION, "kind", "ControlPlane", "name",
                               run->owner.plane, "uid", run->owner.uid),
                     "metadata", "ownerReferences");
    KFX_REQUEST kfx_request_t *apply = as_account(job->hook->user, kfx_request_new(KFX_APPLY, body, "%s", job->path));
    apply->field_manager = kfx_xstrdup(run->manager);
    return kfx_hook_request(job->pass, job->hook, apply) == KFX_OK ? 0 : failed(job, "take a share in it", apply);
}

/* 1: another plane's hook keeps it, and what it says is what ours would. */
static int check_cluster_scoped(job_t *job)
{
    kfx_run_t *run = job->pass->run;
    const char *ns = kfx_json_str(job->live, "metadata", "annotations", KFX_ANNOTATION_RELEASE_NS);
    char other[KFX_NAME_SIZE] = "";
    bool named, ours;
    if (ns && strcmp(ns, run->ns) == 0)
        return 0;
    bool same = kfx_hook_covers_shared(job->object, job->live);
    if (!ns || !kfx_namespace_plane(ns, other)) {
        /* Nobody's hook made it. It is used as it is, or left alone. */
        if (same)
            return 1;
        return kfx_hook_say(
            job->hook, KFX_HOOK_CONFLICT,
            "%s exists, was made by no hook and is different; it is left alone: give the hook's another "
            "name",
            job->what);
    }
    size_t planes = count_planes(job->live, other, run->owner.uid, &named, &ours);
    if (planes == 0) { /* the Go implementation has no such shares */
        KFX_FREE char *escaped = kfx_kube_escape(other);
        KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, KFX_CONTROLPLANES_PATH "/%s", escaped);
        kfx_code_t code = kfx_run_request(run, get);
        if (code != KFX_OK && code != KFX_E_NOT_FOUND)
            return failed(job, "look for its control plane", get);
        named = code == KFX_OK;
    }
    if (!named)
        return 0; /* it is ours from now on */
    if (same)
        return set_share(job, job->live, true) ? -1 : 1;
    job->hook->again = true;
    return kfx_hook_say(job->hook, KFX_HOOK_CONFLICT,
                        "%s belongs to the hook of control plane %.60s and is different there; it is left alone: put "
                        "{{.ControlPlaneName}} into its name",
                        job->what, other);
}

static int check_owner(job_t *job)
{
    kfx_run_t *run = job->pass->run;
    if (kfx_object_owned(job->live, run->owner.uid))
        return kfx_hook_say(job->hook, KFX_HOOK_CONFLICT,
                            "%s is the control plane's own; it is left alone: give the hook's another name", job->what);
    if (kfx_object_terminating(job->live)) {
        job->hook->again = true;
        return kfx_hook_say(job->hook, KFX_HOOK_WAITS, "%s is being deleted; it is made again when it is gone",
                            job->what);
    }
    return job->kind.namespaced || job->hook->inside ? 0 : check_cluster_scoped(job);
}

/* ---- applying --------------------------------------------------------------------------------------------------- */

static int remove_live(job_t *job, const json_t *live)
{
    const char *uid = kfx_json_str(live, "metadata", "uid");
    KFX_REQUEST kfx_request_t *gone =
        as_account(job->hook->user,
                   kfx_request_new(KFX_DELETE,
                                   json_pack("{s:s, s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions",
                                             "propagationPolicy", "Background", "preconditions", "uid", uid ? uid : ""),
                                   "%s", job->path));
    kfx_code_t code = kfx_hook_request(job->pass, job->hook, gone);
    if (code == KFX_OK || code == KFX_E_NOT_FOUND || code == KFX_E_CONFLICT) /* 409: it is another one by now */
        return 0;
    return failed(job, "delete", gone);
}

static bool runs_to_an_end(const json_t *object)
{
    const char *kind = kfx_json_str(object, "kind");
    return strcmp(kind, "Job") == 0 || strcmp(kind, "Pod") == 0;
}

static int write_object(job_t *job)
{
    for (int tries = 0; tries < 2; tries++) {
        KFX_REQUEST kfx_request_t *apply =
            as_account(job->hook->user,
                       kfx_request_new(KFX_APPLY, json_incref((json_t *)(uintptr_t)job->object), "%s", job->path));
        apply->field_manager = kfx_xstrdup(KFX_FIELD_MANAGER_HOOKS);
        kfx_code_t code = kfx_hook_request(job->pass, job->hook, apply);
        if (code == KFX_OK) {
            json_decref(job->live);
            job->live = KFX_STEAL(apply->answer);
            return 0;
        }
        if (code ==
            KFX_E_NOT_FOUND) /* not the object, which would be made: what was known of its kind is out of date */
            kfx_kinds_forget(job->hook->inside ? job->pass->inside_kinds : job->pass->kinds,
                             kfx_json_str(job->object, "apiVersion"));
        /* What a Job or a Pod runs cannot be changed: the old one goes, and another one is made. */
        if (code != KFX_E_INVALID || !job->live || !runs_to_an_end(job->object) || tries)
            return failed(job, "apply", apply);
        if (remove_live(job, job->live))
            return -1;
    }
    return -1;
}

static int read_live(job_t *job)
{
    KFX_REQUEST kfx_request_t *get = as_account(job->hook->user, kfx_request_new(KFX_GET, NULL, "%s", job->path));
    kfx_code_t code = kfx_hook_request(job->pass, job->hook, get);
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK)
        return failed(job, "read", get);
    job->live = KFX_STEAL(get->answer);
    return 0;
}

static bool line_says(const job_t *job, bool finished)
{
    const char *hash = kfx_json_str(job->line, "hash");
    return hash && strcmp(hash, job->hash) == 0 && (!finished || kfx_json_bool(job->line, false, "finished"));
}

/* Nothing has to be written. */
static bool is_current(const job_t *job)
{
    if (!job->live)
        return line_says(job, true); /* it has run, and was tidied away */
    if (strcmp(kfx_object_hash(job->live), job->hash) != 0)
        return false;
    return kfx_hook_finished(job->live) || kfx_hook_covers(job->object, job->live);
}

static void set_flag(json_t *line, const char *name, bool value)
{
    if (value)
        json_object_set_new(line, name, json_true());
    else
        json_object_del(line, name);
}

static int ensure(job_t *job)
{
    if (read_live(job))
        return -1;
    int rc = job->live ? check_owner(job) : 0;
    if (rc < 0)
        return -1;
    if (rc == 0 && !is_current(job) && write_object(job))
        return -1;
    if (rc == 0 && !job->kind.namespaced && !job->hook->inside && job->live && set_share(job, job->live, true))
        return -1;
    json_object_set_new(job->line, "hash", json_string(job->hash));
    if (job->live) {
        char why[160];
        bool bad = kfx_hook_object_state(job->live, why) == KFX_OBJECT_FAILED;
        set_flag(job->line, "finished", kfx_hook_finished(job->live));
        set_flag(job->line, "failed", bad);
    }
    return 0;
}

static char *describe(const json_t *object)
{
    return kfx_xasprintf("%.60s %.100s", kfx_json_str(object, "kind"), kfx_json_str(object, "metadata", "name"));
}

/* How the worst of the objects so far stands; the first of its kind is the one told. */
static void judge(job_t *job, kfx_object_state_t *worst)
{
    char why[160];
    kfx_object_state_t state = KFX_OBJECT_READY;
    if (job->live) {
        state = kfx_hook_object_state(job->live, why);
    } else if (kfx_json_bool(job->line, false, "failed")) {
        state = KFX_OBJECT_FAILED;
        snprintf(why, sizeof why, "it failed, and is gone");
    }
    if (state == KFX_OBJECT_WAITS) {
        const char *kind = kfx_json_str(job->object, "kind");
        bool seen = strcmp(kind, "Deployment") == 0 || strcmp(kind, "StatefulSet") == 0 || strcmp(kind, "Job") == 0;
        job->pass->polls =
            job->pass->polls || !seen || job->hook->inside; /* whether the watcher may watch it is not known here */
    }
    if (state <= *worst)
        return;
    *worst = state;
    kfx_hook_say(job->hook, state == KFX_OBJECT_FAILED ? KFX_HOOK_FAILED : KFX_HOOK_WAITS, "%s: %s", job->what, why);
}

static int apply_one(kfx_pass_t *pass, kfx_hook_t *hook, const json_t *entry, const json_t *template,
                     kfx_object_state_t *worst)
{
    KFX_JSON json_t *object = json_deep_copy(template);
    KFX_FREE char *what = describe(object);
    kfx_error_t err = KFX_ERROR_INIT;
    job_t job = {.pass = pass, .hook = hook, .object = object, .what = what};
    if (kfx_hook_path(pass, hook, object, &job.kind, &job.path))
        return -1;
    int rc = -1;
    job.line = kfx_record_object(entry, object, hook->inside);
    if ((hook->inside ? kfx_hook_mark_inside : kfx_hook_mark)(object, &pass->run->owner, hook->name,
                                                              job.kind.namespaced, job.hash, &err))
        kfx_hook_say(hook, KFX_HOOK_INVALID, "%s: %s", what, err.msg);
    else
        rc = ensure(&job);
    add_collection(hook->inside ? pass->looked_at : pass->watched, &job.kind);
    if (rc == 0)
        judge(&job, worst);
    json_decref(job.live);
    free(job.path);
    return rc;
}

void kfx_hook_apply(kfx_pass_t *pass, kfx_hook_t *hook)
{
    json_t *entry = kfx_record_entry(pass, hook->name);
    kfx_object_state_t worst = KFX_OBJECT_READY;
    size_t i;
    const json_t *object;
    hook->message[0] = '\0';
    kfx_copy(hook->reason, sizeof hook->reason, KFX_HOOK_APPLIED);
    json_array_foreach (hook->objects, i, object)
        if (apply_one(pass, hook, entry, object, &worst))
            return;
    hook->settled = true;
    hook->done = hook->done || !pass->waits || worst == KFX_OBJECT_READY;
    json_object_set_new(entry, "hash", json_string(hook->hash));
    json_object_set_new(entry, "user", json_string(hook->user));
    json_object_set_new(entry, "done", json_boolean(hook->done));
    json_object_set_new(entry, "once", json_boolean(hook->once));
    json_object_del(entry, "adopted");
}

void kfx_hook_adopt(kfx_pass_t *pass, kfx_hook_t *hook)
{
    size_t i;
    const json_t *object;
    json_array_foreach (hook->objects, i, object) {
        KFX_FREE char *what = describe(object);
        job_t job = {.pass = pass, .hook = hook, .object = object, .what = what};
        if (kfx_hook_path(pass, hook, object, &job.kind, &job.path))
            continue;
        const char *ns = NULL;
        if (!job.kind.namespaced && !hook->inside && read_live(&job) == 0 && job.live)
            ns = kfx_json_str(job.live, "metadata", "annotations", KFX_ANNOTATION_RELEASE_NS);
        if (ns && strcmp(ns, pass->run->ns) == 0)
            set_share(&job, job.live, true);
        json_decref(job.live);
        free(job.path);
    }
}

/* ---- removing --------------------------------------------------------------------------------------------------- */

static bool is_desired(const kfx_pass_t *pass, const json_t *line)
{
    for (size_t h = 0; h < pass->count; h++) {
        size_t i;
        const json_t *object;
        KFX_JSON json_t *entry = json_pack("{s:[O]}", "objects", line);
        json_array_foreach (pass->hooks[h].objects, i, object)
            if (kfx_record_object(entry, object, pass->hooks[h].inside))
                return true;
    }
    return false;
}

static bool text_is(const char *text, const char *wanted)
{
    return text && strcmp(text, wanted) == 0;
}

/* 0: it is not there any more, or was not this hook's. */
static int prune_one(kfx_pass_t *pass, const char *name, const char *user, const json_t *line)
{
    kfx_hook_t hook = {.inside = kfx_json_bool(line, false, "inside")};
    KFX_JSON json_t *object =
        json_pack("{s:O, s:O, s:{s:O}}", "apiVersion", json_object_get(line, "apiVersion"), "kind",
                  json_object_get(line, "kind"), "metadata", "name", json_object_get(line, "name"));
    kfx_copy(hook.name, sizeof hook.name, name);
    kfx_copy(hook.user, sizeof hook.user, hook.inside ? "" : user);
    if (hook.inside)
        kfx_json_put(object, json_incref(json_object_get(line, "namespace")), "metadata", "namespace");
    if (!object || !kfx_json_str(object, "kind") || !kfx_json_str(object, "apiVersion") ||
        !kfx_json_str(object, "metadata", "name"))
        return 0; /* no line of ours */
    KFX_FREE char *what = describe(object);
    job_t job = {.pass = pass, .hook = &hook, .object = object, .what = what};
    if (kfx_hook_path(pass, &hook, object, &job.kind, &job.path))
        return pass->stopped ? -1 : 0; /* its kind is gone, and it with that */
    int rc = read_live(&job);
    const char *release = kfx_json_str(job.live, "metadata", "annotations", KFX_ANNOTATION_RELEASE_NS);
    bool marked = text_is(kfx_json_str(job.live, "metadata", "annotations", KFX_ANNOTATION_HOOK), name) &&
                  text_is(kfx_json_str(job.live, "metadata", "labels", KFX_LABEL_PLANE), pass->run->owner.plane) &&
                  !kfx_object_owned(job.live, pass->run->owner.uid) &&
                  (job.kind.namespaced || hook.inside || text_is(release, pass->run->ns));
    bool named, ours;
    size_t planes = count_planes(job.live, pass->run->owner.plane, pass->run->owner.uid, &named, &ours);
    if (rc == 0 && job.live && !job.kind.namespaced && planes > (ours ? 1U : 0U))
        rc = set_share(&job, job.live, false);
    else if (rc == 0 && job.live && marked)
        rc = remove_live(&job, job.live);
    json_decref(job.live);
    free(job.path);
    return rc;
}

static void prune_entry(kfx_pass_t *pass, const char *name, json_t *entry)
{
    const char *user = kfx_json_str(entry, "user");
    json_t *lines = json_object_get(entry, "objects");
    for (size_t i = json_array_size(lines); i-- > 0 && user && !pass->stopped;) {
        const json_t *line = json_array_get(lines, i);
        if (!is_desired(pass, line) && prune_one(pass, name, user, line) == 0)
            json_array_remove(lines, i);
        else if (!is_desired(pass, line))
            pass->polls = true; /* tried again */
    }
}

static const kfx_hook_t *find_hook(const kfx_pass_t *pass, const char *name)
{
    for (size_t i = 0; i < pass->count; i++)
        if (strcmp(pass->hooks[i].name, name) == 0)
            return &pass->hooks[i];
    return NULL;
}

void kfx_hooks_prune(kfx_pass_t *pass)
{
    const char *name;
    json_t *entry;
    void *next;
    json_object_foreach_safe(pass->record, next, name, entry)
    {
        const kfx_hook_t *hook = find_hook(pass, name);
        bool once = kfx_json_bool(entry, false, "once");
        if (hook && !hook->settled)
            continue; /* what it is to be is not known, or not there yet */
        if (!once)
            prune_entry(pass, name, entry);
        if (!hook && (once || json_array_size(json_object_get(entry, "objects")) == 0))
            json_object_del(pass->record, name);
    }
}
