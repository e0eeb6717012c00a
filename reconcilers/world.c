/* reconcilers/world.c: see world.h. */
#include "reconcilers/world.h"

#include "base/json.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

json_t *plane_object(const char *uid)
{
    return json_pack("{s:s, s:s, s:{s:s, s:s, s:i}, s:{s:s}, s:{}}", "apiVersion", KFX_API_VERSION, "kind",
                     "ControlPlane", "metadata", "name", "cp1", "uid", uid, "generation", 1, "spec", "type", "k8s",
                     "status");
}

void set_config(world_t *w, const char *key, const char *value)
{
    static const char system[] = "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/configmaps";
    json_t *data =
        json_pack("{s:s, s:s, s:s}", "domain", "localtest.me", "externalPort", "9443", "isOpenShift", "false");
    if (key)
        json_object_set_new(data, key, json_string(value));
    kfx_fake_put(
        &w->api, system,
        json_pack("{s:s, s:{s:s}, s:o}", "kind", "ConfigMap", "metadata", "name", KFX_CONFIGMAP, "data", data));
}

int world_setup(void **state)
{
    world_t *w = kfx_xcalloc(1, sizeof(*w));
    kfx_fake_init(&w->api);
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    kfx_reconciler_init(&w->rec, kfx_type_lookup("k8s"), &ops);
    kfx_fake_put(&w->api, KFX_CONTROLPLANES_PATH, plane_object(UID));
    set_config(w, NULL, NULL);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    world_t *w = *state;
    kfx_reconciler_clear(&w->rec);
    kfx_fake_clear(&w->api);
    free(w);
    return 0;
}

void run_named(world_t *w, const char *name, const char *uid, bool deleting)
{
    kfx_task_t task = {.env = {.generation = 1, .deleting = deleting}};
    json_t *hidden = w->hide ? json_incref(kfx_fake_get(&w->api, w->hide)) : NULL;
    if (hidden)
        kfx_fake_delete(&w->api, w->hide);
    kfx_digest_t *digest = kfx_fake_digest(&w->api, name, uid);
    if (hidden)
        json_object_set_new(w->api.objects, w->hide, hidden);
    if (w->vanish)
        kfx_fake_delete(&w->api, w->vanish);
    kfx_copy(task.env.key, sizeof(task.env.key), name);
    kfx_copy(task.env.uid, sizeof(task.env.uid), uid);
    digest->deleting = deleting;
    digest->place = !w->no_place;
    task.digest = digest;
    w->result = (kfx_result_t){.outcome = KFX_OUTCOME_NONE};
    kfx_reconciler_run(&w->rec, &task, &w->result);
    kfx_digest_free(digest);
    json_t *plane = kfx_fake_get(&w->api, KFX_CONTROLPLANES_PATH "/cp1");
    if (plane && w->result.kubernetes_version[0])
        kfx_json_put(plane, json_string(w->result.kubernetes_version), "status", "kubernetesVersion");
}

void run_as(world_t *w, const char *uid, bool deleting)
{
    run_named(w, "cp1", uid, deleting);
}

void run_task(world_t *w)
{
    run_as(w, UID, false);
}

const kfx_condition_t *condition(const world_t *w, const char *type)
{
    for (size_t i = 0; i < w->result.condition_count; i++)
        if (strcmp(w->result.conditions[i].type, type) == 0)
            return &w->result.conditions[i];
    return NULL;
}

void assert_condition(const world_t *w, const char *type, const char *status, const char *reason)
{
    const kfx_condition_t *c = condition(w, type);
    assert_non_null(c);
    assert_string_equal(c->reason, reason);
    assert_string_equal(c->status, status);
}

/* The message of condition Synced holds the text. */
void assert_says(const world_t *w, const char *text)
{
    const kfx_condition_t *c = condition(w, "Synced");
    if (!c || !strstr(c->message, text))
        fail_msg("Synced says \"%s\", not \"%s\"", c ? c->message : "nothing", text);
}

void write_dsn(world_t *w)
{
    kfx_owner_t owner = {"cp1", UID, "cp1-system"};
    kfx_desired_t desired;
    json_t *object =
        json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Secret", "metadata", "name", "kine-dsn");
    assert_int_equal(kfx_desired_init(&desired, object, &owner, NULL, NULL), 0);
    kfx_fake_put(&w->api, NS "/secrets", json_incref(desired.object));
    kfx_desired_clear(&desired);
}

void set_ready(world_t *w, bool ready)
{
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_boolean(ready), "status", "ready");
}

void bring_up(world_t *w)
{
    run_task(w);
    write_dsn(w);
    run_task(w);
    set_ready(w, true);
    run_task(w);
}

void fail_next(world_t *w, const char *at, kfx_code_t code, int status, const char *message)
{
    w->api.fail_at = at;
    w->api.fail_code = code;
    w->api.fail_status = status;
    w->api.fail_message = message;
}
