/* reconcilers/hooks/record.c: ConfigMap kubeflex-hooks: what a plane's hooks made, so that it can be removed when
 * nobody asks for it any more, and what is done, so that it is not done twice. Key hooks.json:
 *
 *   {"<hook>": {"hash": …, "done": true, "user": …, "once": true, "adopted": true,
 *               "objects": [{"apiVersion": …, "kind": …, "name": …, "hash": …, "finished": true,
 *                            "inside": true, "namespace": …}]}}
 *
 * Whoever may write ConfigMaps in the plane's Namespace can put anything in it. So nothing is removed but what carries
 * this plane's marks, in this Namespace or, cluster-scoped, with this Namespace in its annotation.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "reconcilers/hooks/internal.h"

#include <string.h>

#define KEY "hooks.json"
#define PATH "/api/v1/namespaces/%s/configmaps/" KFX_HOOKS_RECORD

int kfx_record_load(kfx_pass_t *pass)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, PATH, pass->run->ns);
    kfx_code_t code = kfx_run_request(pass->run, get);
    pass->record = json_object();
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK) {
        pass->stopped = true;
        return -1;
    }
    pass->recorded = true;
    const char *text = kfx_json_str(get->answer, "data", KEY);
    json_t *record = text ? kfx_json_parse(text, strlen(text), &err) : NULL;
    if (json_is_object(record)) {
        json_decref(pass->record);
        pass->record = record;
        return 0;
    }
    json_decref(record);
    kfx_log_warn("ConfigMap " KFX_HOOKS_RECORD " cannot be read and is made anew", "plane", pass->run->owner.plane,
                 "uid", pass->run->owner.uid, NULL);
    return 0;
}

int kfx_record_save(kfx_pass_t *pass)
{
    kfx_run_t *run = pass->run;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_FREE char *text = kfx_json_canonical(pass->record);
    json_t *object = json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap", "metadata",
                               "name", KFX_HOOKS_RECORD, "data", KEY, text ? text : "{}");
    kfx_desired_t desired;
    if (kfx_desired_init(&desired, object, &run->owner, NULL, &err))
        return -1;
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_APPLY, json_incref(desired.object), "%s/%s", desired.collection, desired.name);
    req->field_manager = kfx_xstrdup(run->manager);
    kfx_code_t code = kfx_run_request(run, req);
    if (code == KFX_OK)
        kfx_run_wrote(run, &desired, req->answer);
    else
        kfx_log_warn("ConfigMap " KFX_HOOKS_RECORD " was not written", "plane", run->owner.plane, "uid", run->owner.uid,
                     "error", req->error.msg, NULL);
    kfx_desired_clear(&desired);
    pass->recorded = pass->recorded || code == KFX_OK;
    return code == KFX_OK ? 0 : -1;
}

json_t *kfx_record_entry(kfx_pass_t *pass, const char *hook)
{
    json_t *entry = json_object_get(pass->record, hook);
    if (!json_is_object(entry)) {
        entry = json_object();
        json_object_set_new(pass->record, hook, entry);
    }
    if (!json_is_array(json_object_get(entry, "objects")))
        json_object_set_new(entry, "objects", json_array());
    return entry;
}

static bool same_text(const json_t *a, const json_t *b, const char *key)
{
    const char *x = kfx_json_str(a, key), *y = kfx_json_str(b, key);
    return x && y && strcmp(x, y) == 0;
}

static bool same_place(const json_t *line, const json_t *object, bool inside)
{
    const char *ns = kfx_json_str(line, "namespace");
    if (kfx_json_bool(line, false, "inside") != inside)
        return false;
    return !inside || (ns && strcmp(ns, kfx_hook_inside_namespace(object)) == 0);
}

json_t *kfx_record_object(const json_t *entry, const json_t *object, bool inside)
{
    const char *name = kfx_json_str(object, "metadata", "name");
    size_t i;
    json_t *line;
    json_array_foreach (json_object_get(entry, "objects"), i, line) {
        const char *known = kfx_json_str(line, "name");
        if (name && known && strcmp(known, name) == 0 && same_text(line, object, "apiVersion") &&
            same_text(line, object, "kind") && same_place(line, object, inside))
            return line;
    }
    return NULL;
}
