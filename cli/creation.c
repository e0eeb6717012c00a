#include "cli/creation.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/events.h"
#include "cli/logs.h"
#include "cli/wait.h"

#include <string.h>

#define EVENTS_SHOWN 5
#define SILENCE_MS 10000 /* without any condition: then it is said that nobody seems to be at work */

/* The conditions of a plane on its way, in order; what a step means to the user. */
static const struct {
    const char *condition, *text;
    bool awaited; /* where it is False, the plane waits for it */
} steps[] = {
    {"StorageReady", "Storage is ready", true},
    {"Exposed", "An address for users is there", false},
    {"Synced", "All objects of the control plane are in place", true},
    {"Ready", "API server is ready", true},
    {"HooksApplied", "PostCreateHooks are applied", true},
};

/* Reasons of Synced=False that waiting does not cure. */
static const char *const final_reasons[] = {"NotSupported", "NameConflict",    "InvalidConfig",  "InvalidName",
                                            "InvalidSpec",  "TakeoverPending", "SchemaOutdated", "BootstrapRefused"};

/* Reasons of a plane that is simply on its way. Any other is shown at once: whoever waits should see what for. */
static const char *const ordinary_reasons[] = {"WaitingForStorage", "WaitingForNamespace", "WaitingForToken",
                                               "Creating"};

bool kfx_creation_waits(const kfx_opts_t *opts)
{
    return opts->wait && !opts->no_wait;
}

int kfx_creation_post(kfx_creation_t *self, json_t *manifest, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_POST, manifest, "%s", KFX_CONTROLPLANES_PATH);
    req->field_manager = kfx_xstrdup("kflex");
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_kube_call(self->hosting.kube, req, &why) == 0) {
        const char *uid = kfx_json_str(req->answer, "metadata", "uid");
        kfx_copy(self->uid, sizeof self->uid, uid ? uid : "");
        return 0;
    }
    if (why.code == KFX_E_EXISTS)
        return kfx_error_set(err, why.code,
                             "control plane %s exists already: `kflex ctx %s` uses it, `kflex delete %s` removes it",
                             self->name, self->name, self->name);
    if (why.code == KFX_E_NOT_FOUND)
        return kfx_hosting_no_api(&self->hosting, err);
    if (err)
        *err = why;
    return kfx_hosting_explain(&self->hosting, err);
}

static void show_steps(kfx_creation_t *self)
{
    for (size_t i = 0; i < KFX_COUNT(steps); i++) {
        const kfx_condition_t *c = kfx_plane_condition(&self->plane, steps[i].condition);
        if (!c || strcmp(c->status, "True") != 0 || self->told & 1u << i)
            continue;
        self->told |= 1u << i;
        kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "%s: %s%s%s", steps[i].text, c->reason,
                     *c->message ? ", " : "", c->message);
    }
}

static bool is_ordinary(const char *reason)
{
    for (size_t i = 0; i < KFX_COUNT(ordinary_reasons); i++)
        if (strcmp(reason, ordinary_reasons[i]) == 0)
            return true;
    return false;
}

/* What the plane waits for, once per reason. */
static void show_trouble(kfx_creation_t *self)
{
    char trouble[sizeof self->trouble] = "";
    const kfx_condition_t *c = NULL;
    for (size_t i = 0; i < KFX_COUNT(steps) && !trouble[0]; i++) {
        c = kfx_plane_condition(&self->plane, steps[i].condition);
        if (steps[i].awaited && c && strcmp(c->status, "False") == 0 && !is_ordinary(c->reason))
            snprintf(trouble, sizeof trouble, "%s %s", c->type, c->reason);
    }
    if (trouble[0] && strcmp(trouble, self->trouble) != 0)
        kfx_out_note(&self->cli->out, "Waiting: %s is False (%s%s%s)", c->type, c->reason, *c->message ? ": " : "",
                     c->message);
    kfx_copy(self->trouble, sizeof self->trouble, trouble);
}

static void show_silence(kfx_creation_t *self)
{
    if (self->plane.condition_count > 0 || self->trouble[0] || kfx_now_ms() - self->start < SILENCE_MS)
        return;
    KFX_FREE char *missing = kfx_plane_missing(&self->plane);
    kfx_out_note(&self->cli->out, "Waiting: %s", missing);
    kfx_copy(self->trouble, sizeof self->trouble, "silence");
}

/* -1 where Synced is False for a reason that time does not heal. */
static int check_final(const kfx_creation_t *self, kfx_error_t *err)
{
    const kfx_condition_t *c = kfx_plane_condition(&self->plane, "Synced");
    if (!c || strcmp(c->status, "False") != 0)
        return 0;
    for (size_t i = 0; i < KFX_COUNT(final_reasons); i++)
        if (strcmp(c->reason, final_reasons[i]) == 0)
            return kfx_error_set(
                err, KFX_E_INVALID,
                "control plane %s cannot be made: %s%s%s. The object stays; `kflex delete %s` removes it", self->name,
                c->reason, *c->message ? ": " : "", c->message, self->name);
    return 0;
}

static int on_plane(void *ctx, const void *item, kfx_error_t *err)
{
    kfx_creation_t *self = ctx;
    const kfx_plane_t *plane = item;
    kfx_plane_t fresh;
    /* A list may come from a cache that lags behind our POST: ask before believing that it is gone. */
    if (!plane && !self->seen && kfx_plane_get(self->hosting.kube, self->name, &fresh, NULL) == 0)
        plane = &fresh;
    self->seen = true;
    if (!plane || strcmp(plane->uid, self->uid) != 0 || plane->deleting)
        return kfx_error_set(err, KFX_E_GONE, "control plane %s was deleted by somebody while it was being created",
                             self->name);
    self->plane = *plane;
    show_steps(self);
    if (check_final(self, err) < 0)
        return -1;
    if (kfx_plane_is(plane, "Ready") && *plane->secret_name)
        return 1;
    show_trouble(self);
    return 0;
}

static const char *spin_text(void *ctx)
{
    kfx_creation_t *self = ctx;
    show_silence(self);
    KFX_FREE char *missing = kfx_plane_missing(&self->plane);
    bool known = self->plane.condition_count > 0;
    snprintf(self->text, sizeof self->text, "Waiting for API server to become ready...%s%s", known ? " " : "",
             known ? missing : "");
    return self->text;
}

/* Words for a wait that did not end well: what is missing and where to look. */
static int explain_wait(kfx_creation_t *self, kfx_error_t *err)
{
    kfx_error_t was = *err;
    const char *host = self->hosting.context, *name = self->name;
    if (was.code == KFX_E_TIMEOUT) {
        KFX_FREE char *missing = kfx_plane_missing(&self->plane);
        return kfx_error_set(
            err, was.code,
            "control plane %s is not ready after %llds: %.400s. It goes on being created. Look at "
            "`kubectl --context %s describe controlplane %s` and `kubectl --context %s get pods,events -n "
            "%s-system`; then `kflex ctx %s` once it is ready, or `kflex delete %s`",
            name, (long long)(self->cli->opts.timeout_ms / 1000), missing, host, name, host, name, name, name);
    }
    if (was.code == KFX_E_CANCELED) {
        KFX_FREE char *missing = kfx_plane_missing(&self->plane);
        return kfx_error_set(
            err, was.code,
            "interrupted, while %.400s. Control plane %s goes on being created: `kflex list` shows it, `kflex ctx %s` "
            "uses it once it is ready, `kflex delete %s` removes it",
            missing, name, name, name);
    }
    return -1;
}

/* A plane that does not wait for its hooks is Ready whatever has become of them. */
static void warn_of_hooks(kfx_creation_t *self)
{
    const kfx_condition_t *c = kfx_plane_condition(&self->plane, "HooksApplied");
    if (c && strcmp(c->status, "False") == 0)
        kfx_out_warn(&self->cli->out,
                     "control plane %s is ready, its PostCreateHooks are not done: %s: %s. `kflex describe %s` shows "
                     "how they go on",
                     self->name, c->reason, c->message, self->name);
}

int kfx_creation_wait(kfx_creation_t *self, kfx_error_t *err)
{
    kfx_copy(self->plane.name, sizeof self->plane.name, self->name);
    kfx_wait_t target = {.collection = KFX_CONTROLPLANES_PATH,
                         .name = self->name,
                         .reduce = kfx_plane_reduce,
                         .changed = on_plane,
                         .ctx = self};
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_wait(self->hosting.kube, &target, 1, self->start + self->cli->opts.timeout_ms, &self->cli->out, self->start,
                 spin_text, self, &why) == 0) {
        warn_of_hooks(self);
        return 0;
    }
    if (why.code == KFX_E_TIMEOUT || why.code == KFX_E_INVALID) {
        KFX_JSON json_t *events = kfx_events_fetch(self->hosting.kube, self->name, self->uid, NULL);
        kfx_events_note_warnings(&self->cli->out, events, EVENTS_SHOWN);
        kfx_logs_note_failing(&self->cli->out, self->hosting.kube, self->name);
    }
    explain_wait(self, &why);
    if (err)
        *err = why;
    return -1;
}
