/* reconcilers/hooks/hooks.c: when a pass is made, how it goes, and what it says. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/hooks/internal.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define RETRY_BASE_MS 500
#define RETRY_CAP_MS 60000
/* How often what hooks made inside a plane is looked at: as often as the plane is asked whether it answers (ready.c).
 */
#define LOOK_MS 44000
#define LOOK_SPREAD 3
#define CONDITION "HooksApplied"

struct kfx_hooks {
    kfx_kinds_t *kinds;
    pthread_mutex_t lock;
    size_t max;
    json_t *planes; /* uid -> what was said last: {seen, generation, excess, completed, fails, due, states, kinds,
                     * inside, inside_hash, look} */
};

kfx_hooks_t *kfx_hooks_new(size_t planes_max)
{
    kfx_hooks_t *self = kfx_xcalloc(1, sizeof *self);
    self->kinds = kfx_kinds_new();
    pthread_mutex_init(&self->lock, NULL);
    self->max = planes_max;
    self->planes = json_object();
    return self;
}

void kfx_hooks_destroy(kfx_hooks_t **self_p)
{
    kfx_hooks_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    kfx_kinds_destroy(&self->kinds);
    json_decref(self->planes);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

void kfx_hooks_forget(kfx_hooks_t *self, const char *uid)
{
    pthread_mutex_lock(&self->lock);
    json_object_del(self->planes, uid);
    pthread_mutex_unlock(&self->lock);
}

/* Fresh copy, as counts of references are not for several threads; NULL: nothing is known. */
static json_t *recall(kfx_hooks_t *self, const char *uid)
{
    pthread_mutex_lock(&self->lock);
    json_t *known = json_deep_copy(json_object_get(self->planes, uid));
    pthread_mutex_unlock(&self->lock);
    return known;
}

static void remember(kfx_hooks_t *self, const char *uid, const json_t *known)
{
    pthread_mutex_lock(&self->lock);
    if (!json_object_get(self->planes, uid) && json_object_size(self->planes) >= self->max)
        json_object_del(self->planes, json_object_iter_key(json_object_iter(self->planes))); /* the oldest */
    json_object_set_new(self->planes, uid, json_deep_copy(known));
    pthread_mutex_unlock(&self->lock);
}

/* ---- a pass ----------------------------------------------------------------------------------------------------- */

/* The plane's status says that it was done, and no record of ours does: another KubeFlex did it, or the record is lost.
 * It counts, and is not done again until it changes. */
static bool done_before(const kfx_pass_t *pass, const kfx_hook_t *hook)
{
    return kfx_json_bool(pass->run->plane, false, "status", "postCreateHooks", hook->name);
}

/* True where something is to be applied. */
static bool choose(kfx_pass_t *pass, kfx_hook_t *hook)
{
    bool known = json_is_object(json_object_get(pass->record, hook->name));
    json_t *entry = kfx_record_entry(pass, hook->name);
    const char *hash = kfx_json_str(entry, "hash");
    bool same = hash && strcmp(hash, hook->hash) == 0;
    hook->done = kfx_json_bool(entry, false, "done") || (!known && done_before(pass, hook));
    if (!hook->objects)
        return false;
    kfx_copy(hook->reason, sizeof hook->reason, KFX_HOOK_APPLIED);
    if (!known && hook->done) {
        kfx_hook_adopt(pass, hook);
        hook->again = false;
        json_object_set_new(entry, "hash", json_string(hook->hash));
        json_object_set_new(entry, "done", json_true());
        json_object_set_new(entry, "adopted", json_true());
        kfx_hook_say(hook, KFX_HOOK_APPLIED, "it was done before");
        return false;
    }
    if (kfx_json_bool(entry, false, "adopted") && same) {
        kfx_hook_say(hook, KFX_HOOK_APPLIED, "it was done before");
        return false;
    }
    return !(hook->once && hook->done);
}

/* What is going to be made stands in the record before it is. */
static bool announce(kfx_pass_t *pass, const kfx_hook_t *hook)
{
    json_t *entry = kfx_record_entry(pass, hook->name), *lines = json_object_get(entry, "objects");
    size_t i;
    const json_t *object;
    bool changed = false;
    json_array_foreach (hook->objects, i, object) {
        if (kfx_record_object(entry, object, hook->inside))
            continue;
        json_array_append_new(lines, json_pack("{s:O, s:O, s:O}", "apiVersion", json_object_get(object, "apiVersion"),
                                               "kind", json_object_get(object, "kind"), "name",
                                               kfx_json_get(object, "metadata", "name")));
        if (hook->inside) {
            json_t *line = json_array_get(lines, json_array_size(lines) - 1);
            json_object_set_new(line, "inside", json_true());
            json_object_set_new(line, "namespace", json_string(kfx_hook_inside_namespace(object)));
        }
        changed = true;
    }
    if (!kfx_json_str(entry, "user") || strcmp(kfx_json_str(entry, "user"), hook->user) != 0) {
        json_object_set_new(entry, "user", json_string(hook->user));
        changed = true;
    }
    return changed;
}

/* Names of hooks stay in the record without an entry worth keeping. */
static void drop_empty(kfx_pass_t *pass)
{
    const char *name;
    json_t *entry;
    void *next;
    json_object_foreach_safe(pass->record, next, name,
                             entry) if (json_array_size(json_object_get(entry, "objects")) == 0 &&
                                        !kfx_json_str(entry, "hash")) json_object_del(pass->record, name);
}

static void apply_all(kfx_pass_t *pass)
{
    bool due[KFX_HOOKS_MAX] = {false}, changed = false;
    KFX_JSON json_t *before = json_deep_copy(pass->record);
    for (size_t i = 0; i < pass->count && !pass->stopped; i++)
        kfx_hook_load(pass, &pass->hooks[i]);
    for (size_t i = 0; i < pass->count && !pass->stopped; i++) {
        due[i] = choose(pass, &pass->hooks[i]);
        changed = (due[i] && announce(pass, &pass->hooks[i])) || changed;
    }
    if (changed && kfx_record_save(pass)) {
        pass->stopped = true;
        return;
    }
    KFX_JSON json_t *announced = json_deep_copy(changed ? pass->record : before);
    for (size_t i = 0; i < pass->count && !pass->stopped; i++)
        if (due[i])
            kfx_hook_apply(pass, &pass->hooks[i]);
    if (!pass->stopped)
        kfx_hooks_prune(pass);
    drop_empty(pass);
    if (json_object_size(pass->record) == 0) {
        if (pass->recorded)
            kfx_prune(pass->run, "ConfigMap", KFX_HOOKS_RECORD);
    } else if (!json_equal(pass->record, announced) || !pass->recorded) {
        pass->polls = kfx_record_save(pass) != 0 || pass->polls;
    }
}

static json_int_t next_look(void)
{
    return kfx_now_ms() + kfx_random_between(LOOK_MS - LOOK_MS / LOOK_SPREAD, LOOK_MS + LOOK_MS / LOOK_SPREAD);
}

/* What is known after it; fresh. inside: how it looked in the plane before; what the pass has written there itself
 * brings one more pass. */
static json_t *conclude(const kfx_pass_t *pass, const json_t *known, const char *inside)
{
    bool completed = true, again = pass->polls;
    json_t *states = json_array();
    for (size_t i = 0; i < pass->count; i++) {
        const kfx_hook_t *hook = &pass->hooks[i];
        completed = completed && hook->done;
        again = again || hook->again;
        json_array_append_new(states, json_pack("{s:s, s:b, s:s, s:s}", "name", hook->name, "done", hook->done,
                                                "reason", hook->reason, "message", hook->message));
    }
    int64_t fails = again ? kfx_json_int(known, 0, "fails") : 0;
    int64_t due = again ? kfx_now_ms() + kfx_backoff_ms((unsigned)fails, RETRY_BASE_MS, RETRY_CAP_MS) : 0;
    return json_pack("{s:s, s:I, s:I, s:b, s:I, s:I, s:o, s:O, s:O, s:s, s:I}", "seen", pass->run->digest->hooks,
                     "generation", (json_int_t)pass->run->memo.generation, "excess", (json_int_t)pass->excess,
                     "completed", completed, "fails", (json_int_t)(again ? fails + 1 : 0), "due", (json_int_t)due,
                     "states", states, "kinds", pass->watched, "inside", pass->looked_at, "inside_hash", inside, "look",
                     next_look());
}

static void free_pass(kfx_pass_t *pass)
{
    for (size_t i = 0; i < pass->count; i++) {
        json_decref(pass->hooks[i].found);
        json_decref(pass->hooks[i].objects);
    }
    free(pass->hooks);
    kfx_inside_close(pass);
    json_decref(pass->record);
    json_decref(pass->watched);
    json_decref(pass->looked_at);
}

/* Fresh; NULL: it was cut short, and nothing new is known. */
static json_t *make_pass(kfx_run_t *run, const json_t *known, const char *inside)
{
    kfx_pass_t pass = {.run = run, .kinds = run->rec->hooks->kinds, .watched = json_array(), .looked_at = json_array()};
    json_t *now = NULL;
    kfx_verdict_t kept = run->sync;
    if ((run->plane || kfx_run_read_plane(run) == 0) && kfx_record_load(&pass) == 0) {
        kfx_pass_collect(&pass);
        apply_all(&pass);
        if (!pass.stopped)
            now = conclude(&pass, known, inside);
    }
    run->sync = kept; /* what is wrong with hooks is no fault of the plane's own objects */
    free_pass(&pass);
    return now;
}

/* ---- what is said ----------------------------------------------------------------------------------------------- */

static void say_states(kfx_run_t *run, const json_t *known)
{
    kfx_result_t *result = run->result;
    size_t i;
    const json_t *state, *path;
    result->hooks_known = true;
    result->hooks_completed = kfx_json_bool(known, false, "completed");
    json_array_foreach (kfx_json_get(known, "states"), i, state) {
        kfx_hook_result_t *hook = &result->hooks[result->hook_count++];
        kfx_copy(hook->name, sizeof hook->name, kfx_json_str(state, "name"));
        kfx_copy(hook->reason, sizeof hook->reason, kfx_json_str(state, "reason"));
        kfx_copy(hook->message, sizeof hook->message, kfx_json_str(state, "message"));
        hook->done = kfx_json_bool(state, false, "done");
    }
    json_array_foreach (kfx_json_get(known, "kinds"), i, path)
        if (result->kind_count < KFX_KINDS_MAX && json_string_length(path) < sizeof result->kinds[0].path)
            kfx_copy(result->kinds[result->kind_count++].path, sizeof result->kinds[0].path, json_string_value(path));
}

/* The first hook that is not as it should be. */
static const kfx_hook_result_t *first_trouble(const kfx_result_t *result)
{
    for (size_t i = 0; i < result->hook_count; i++)
        if (!result->hooks[i].done || strcmp(result->hooks[i].reason, KFX_HOOK_APPLIED) != 0)
            return &result->hooks[i];
    return NULL;
}

static void say_condition(kfx_run_t *run, const json_t *known)
{
    kfx_result_t *result = run->result;
    const kfx_hook_result_t *trouble = first_trouble(result);
    json_int_t excess = kfx_json_int(known, 0, "excess");
    if (excess)
        kfx_result_condition(result, CONDITION, false, "TooManyHooks",
                             "a control plane has at most %d hooks: %lld are left out", KFX_HOOKS_MAX,
                             (long long)excess);
    else if (trouble)
        kfx_result_condition(result, CONDITION, false, trouble->reason, "hook %.100s: %s", trouble->name,
                             trouble->message);
    else
        kfx_result_condition(result, CONDITION, true, CONDITION, "%s", result->hook_count ? "" : "no hook is listed");
}

static kfx_condition_t *ready_condition(kfx_result_t *result)
{
    for (size_t i = 0; i < result->condition_count; i++)
        if (strcmp(result->conditions[i].type, "Ready") == 0)
            return &result->conditions[i];
    return NULL;
}

/* The plane answers but is not Ready to those who asked to wait. */
static void hold_back(kfx_run_t *run)
{
    const kfx_hook_result_t *trouble = first_trouble(run->result);
    kfx_result_condition(run->result, "Ready", false, "WaitingForPostCreateHooks",
                         "Waiting for PostCreateHook completion%s%.100s%s%s", trouble ? ": hook " : "",
                         trouble ? trouble->name : "", trouble ? ": " : "", trouble ? trouble->message : "");
}

static void come_back(kfx_run_t *run, int64_t due)
{
    kfx_result_t *result = run->result;
    int64_t left = due - kfx_now_ms();
    if (due && (result->outcome == KFX_OUTCOME_OK || result->outcome == KFX_OUTCOME_WAITING))
        result->retry_after_ms = kfx_retry_min(result->retry_after_ms, (uint32_t)(left > 1 ? left : 1));
}

static bool is_due(const kfx_run_t *run, const json_t *known)
{
    if (!known)
        return true;
    const char *seen = kfx_json_str(known, "seen");
    int64_t due = kfx_json_int(known, 0, "due");
    return strcmp(seen ? seen : "", run->digest->hooks) != 0 ||
           kfx_json_int(known, 0, "generation") != run->memo.generation || (due && kfx_now_ms() >= due);
}

/* Whether something that hooks made inside the plane was changed or deleted; hash: how it looks now. */
static bool changed_inside(kfx_run_t *run, json_t *known, char hash[KFX_HASH_SIZE])
{
    const char *before = kfx_json_str(known, "inside_hash");
    const json_t *paths = json_object_get(known, "inside");
    kfx_copy(hash, KFX_HASH_SIZE, before ? before : "");
    if (json_array_size(paths) == 0 || kfx_now_ms() < kfx_json_int(known, 0, "look"))
        return false;
    char now[KFX_HASH_SIZE];
    if (kfx_inside_look(run, paths, now) == 0 && strcmp(hash, now) != 0) {
        kfx_copy(hash, KFX_HASH_SIZE, now);
        return true; /* it is looked at again until a pass has come to its end */
    }
    json_object_set_new(known, "look", json_integer(next_look()));
    remember(run->rec->hooks, run->owner.uid, known);
    return false;
}

void kfx_hooks_run(kfx_run_t *run)
{
    kfx_hooks_t *self = run->rec->hooks;
    kfx_condition_t *ready = ready_condition(run->result);
    bool answers = ready && strcmp(ready->status, "True") == 0;
    bool any = run->memo.hooks || kfx_digest_child(run->digest, "ConfigMap", KFX_HOOKS_RECORD);
    if (!any) {
        if (run->memo.waits) /* for nothing: that is done */
            run->result->hooks_known = run->result->hooks_completed = true;
        return;
    }
    KFX_JSON json_t *known = recall(self, run->owner.uid);
    char inside[KFX_HASH_SIZE];
    bool changed = answers && changed_inside(run, known, inside);
    if (answers && (changed || is_due(run, known))) {
        json_t *now = make_pass(run, known, inside);
        if (now) {
            json_decref(known);
            known = now;
            remember(self, run->owner.uid, known);
        } else {
            kfx_run_cut_short(run);
        }
    }
    if (!known) {
        if (answers && run->memo.waits)
            hold_back(run);
        return;
    }
    say_states(run, known);
    say_condition(run, known);
    if (answers && run->memo.waits && !run->result->hooks_completed)
        hold_back(run);
    if (answers)
        come_back(run, kfx_json_int(known, 0, "due"));
    if (answers && json_array_size(json_object_get(known, "inside")) > 0)
        come_back(run, kfx_json_int(known, 0, "look"));
}
