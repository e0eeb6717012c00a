/* reconcilers/hooks/plan.c: which hooks a plane has, with which variables, and what they come to. */
#include "base/json.h"
#include "base/mem.h"
#include "base/template.h"
#include "reconcilers/hooks/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ACCOUNT "kubeflex-controller-manager" /* where a hook names no other */
#define OBJECTS_MAX 256

int kfx_hook_say(kfx_hook_t *hook, const char *reason, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    kfx_copy(hook->reason, sizeof hook->reason, reason);
    kfx_copy(hook->message, sizeof hook->message, text); /* cut where a character ends */
    return -1;
}

/* The first use of a name counts, as ever; further ones are left out. */
static void add_use(kfx_pass_t *pass, const char *name, const json_t *vars)
{
    if (!name || !*name || strlen(name) >= KFX_NAME_SIZE)
        return;
    for (size_t i = 0; i < pass->count; i++)
        if (strcmp(pass->hooks[i].name, name) == 0)
            return;
    if (pass->count == KFX_HOOKS_MAX) {
        pass->excess++;
        return;
    }
    kfx_hook_t *hook = &pass->hooks[pass->count++];
    kfx_copy(hook->name, sizeof hook->name, name);
    hook->vars = vars;
}

void kfx_pass_collect(kfx_pass_t *pass)
{
    const json_t *spec = kfx_json_get(pass->run->plane, "spec"), *use;
    size_t i;
    pass->waits = kfx_json_bool(spec, false, "waitForPostCreateHooks");
    pass->hooks = kfx_xcalloc(KFX_HOOKS_MAX, sizeof *pass->hooks);
    add_use(pass, kfx_json_str(spec, "postCreateHook"), kfx_json_get(spec, "postCreateHookVars"));
    json_array_foreach (kfx_json_get(spec, "postCreateHooks"), i, use)
        add_use(pass, kfx_json_str(use, "hookName"), kfx_json_get(use, "vars"));
}

/* Rising precedence: the hook's defaults, the plane's, those for this hook, our own. Fresh. */
static json_t *variables(const kfx_pass_t *pass, const kfx_hook_t *hook)
{
    json_t *vars = json_object();
    size_t i;
    const json_t *given;
    json_array_foreach (kfx_json_get(hook->found, "spec", "defaultVars"), i, given) {
        const char *name = kfx_json_str(given, "name");
        if (name && json_is_string(kfx_json_get(given, "value")))
            json_object_set(vars, name, kfx_json_get(given, "value"));
    }
    json_object_update(vars, kfx_json_get(pass->run->plane, "spec", "globalVars"));
    json_object_update(vars, (json_t *)(uintptr_t)hook->vars);
    json_object_set_new(vars, "Namespace", json_string(pass->run->ns));
    json_object_set_new(vars, "ControlPlaneName", json_string(pass->run->owner.plane));
    json_object_set_new(vars, "HookName", json_string(hook->name));
    return vars;
}

static int check_object(kfx_hook_t *hook, size_t number, const json_t *object)
{
    const char *kind = kfx_json_str(object, "kind"), *name = kfx_json_str(object, "metadata", "name");
    const char *version = kfx_json_str(object, "apiVersion");
    if (!kind || !*kind || !version || !*version)
        return kfx_hook_say(hook, KFX_HOOK_INVALID, "templates[%zu]: kind or apiVersion is empty", number);
    if (!name || !*name)
        return kfx_hook_say(hook, KFX_HOOK_INVALID, "templates[%zu]: %.60s has no metadata.name", number, kind);
    return 0;
}

static int render(kfx_pass_t *pass, kfx_hook_t *hook)
{
    const json_t *templates = kfx_json_get(hook->found, "spec", "templates");
    const char *missing = kfx_json_str(hook->found, "spec", "missingVariables");
    bool lenient = missing && strcmp(missing, "NoValue") == 0;
    KFX_JSON json_t *vars = variables(pass, hook);
    KFX_JSON json_t *objects = json_array();
    size_t i;
    const json_t *one;
    if (json_array_size(templates) > OBJECTS_MAX)
        return kfx_hook_say(hook, KFX_HOOK_INVALID, "it has more than %d templates", OBJECTS_MAX);
    json_array_foreach (templates, i, one) {
        kfx_error_t err = KFX_ERROR_INIT;
        json_t *object = kfx_template_render(one, vars, lenient, &err);
        if (!object)
            return kfx_hook_say(hook, KFX_HOOK_INVALID, "templates[%zu]: %s", i, err.msg);
        json_array_append_new(objects, object);
        if (check_object(hook, i, object))
            return -1;
    }
    hook->objects = KFX_STEAL(objects);
    return 0;
}

static void read_account(kfx_hook_t *hook)
{
    const char *name = kfx_json_str(hook->found, "spec", "serviceAccount", "name");
    const char *ns = kfx_json_str(hook->found, "spec", "serviceAccount", "namespace");
    snprintf(hook->user, sizeof hook->user, "system:serviceaccount:%s:%s", ns && *ns ? ns : KFX_SYSTEM_NAMESPACE,
             name && *name ? name : ACCOUNT);
}

void kfx_hook_load(kfx_pass_t *pass, kfx_hook_t *hook)
{
    KFX_FREE char *name = kfx_kube_escape(hook->name);
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, KFX_POSTCREATEHOOKS_PATH "/%s", name);
    kfx_code_t code = kfx_run_request(pass->run, get);
    if (code == KFX_E_NOT_FOUND) {
        kfx_hook_say(hook, KFX_HOOK_NOT_FOUND, "there is no PostCreateHook of that name: create it, and it is applied");
        return;
    }
    if (code != KFX_OK) {
        hook->again = true;
        pass->stopped = pass->stopped || code == KFX_E_CANCELED;
        kfx_hook_say(hook, KFX_HOOK_REFUSED, "the PostCreateHook cannot be read: %s", get->error.msg);
        return;
    }
    hook->found = KFX_STEAL(get->answer);
    const char *policy = kfx_json_str(hook->found, "spec", "policy");
    hook->once = policy && strcmp(policy, "Once") == 0;
    const char *target = kfx_json_str(hook->found, "spec", "target");
    hook->inside = target && strcmp(target, "ControlPlane") == 0;
    if (!hook->inside) /* there it is the plane's administrator */
        read_account(hook);
    if (render(pass, hook))
        return;
    KFX_JSON json_t *hashed = json_pack("[O, s, b]", hook->objects, hook->user, hook->inside);
    kfx_hash16(hashed, hook->hash);
}
