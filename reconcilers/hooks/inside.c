/* reconcilers/hooks/inside.c: requests about hooks' objects: to the hosting cluster as the hook's account, or to the
 * plane itself with the kubeconfig in its Secret; and the look at what hooks made in there, which no watch tells of. */
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "reconcilers/credentials.h"
#include "reconcilers/hooks/internal.h"

#include <string.h>

#define INSIDE_MS 2000

/* A namespace's user may have written that Secret: what runs programs, reads files or trusts anybody is refused. */
static kfx_kube_config_t *read_config(const kfx_type_t *type, const json_t *secret, kfx_error_t *err)
{
    const char *coded = kfx_json_str(secret, "data", type->secret_in_cluster_key);
    size_t len = 0;
    char *text = coded ? kfx_base64_decode(coded, &len, err) : NULL;
    KFX_JSON json_t *tree = text ? kfx_yaml_parse(text, len, err) : NULL;
    kfx_wipe(text, len);
    free(text);
    kfx_kube_config_t *config = tree ? kfx_kube_config_from_tree(tree, NULL, NULL, false, err) : NULL;
    if (!coded)
        kfx_error_set(err, KFX_E_NOT_FOUND, "it has no key %s", type->secret_in_cluster_key);
    if (config && config->insecure) {
        kfx_error_set(err, KFX_E_INVALID, "insecure-skip-tls-verify is not accepted");
        kfx_kube_config_free(config);
        config = NULL;
    }
    return config;
}

static int dial(kfx_pass_t *pass, kfx_error_t *err)
{
    kfx_run_t *run = pass->run;
    const kfx_type_t *type = run->rec->type;
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, type->secret_name);
    if (kfx_run_request(run, get) != KFX_OK) {
        *err = get->error;
        return kfx_error_wrap(err, "Secret %s", type->secret_name);
    }
    kfx_kube_config_t *config = read_config(type, get->answer, err);
    if (!config)
        return kfx_error_wrap(err, "Secret %s", type->secret_name);
    config->screened = type->screened;
    if (type->hosting) {
        free(config->server);
        config->server = kfx_xstrdup(run->rec->ops.server);
    }
    pass->inside = run->rec->ops.dial(run->rec->ops.ctx, config, err);
    return pass->inside ? 0 : -1;
}

kfx_code_t kfx_hook_request(kfx_pass_t *pass, const kfx_hook_t *hook, kfx_request_t *req)
{
    if (hook->inside) {
        if (!pass->inside && dial(pass, &req->error))
            return req->error.code;
        return kfx_remote_request(pass->run, pass->inside, req, INSIDE_MS);
    }
    return kfx_run_request(pass->run, req);
}

/* {"namespace/name": "uid/resourceVersion"} of a list; fresh. */
static json_t *versions(const json_t *list)
{
    json_t *seen = json_object();
    size_t i;
    const json_t *item;
    json_array_foreach (kfx_json_get(list, "items"), i, item) {
        const char *ns = kfx_json_str(item, "metadata", "namespace"), *name = kfx_json_str(item, "metadata", "name");
        const char *uid = kfx_json_str(item, "metadata", "uid");
        const char *rv = kfx_json_str(item, "metadata", "resourceVersion");
        if (!name || !uid || !rv)
            continue;
        KFX_FREE char *key = kfx_xasprintf("%s/%s", ns ? ns : "", name);
        json_object_set_new(seen, key, json_sprintf("%s/%s", uid, rv));
    }
    return seen;
}

int kfx_inside_look(kfx_run_t *run, const json_t *paths, char hash[KFX_HASH_SIZE])
{
    kfx_pass_t pass = {.run = run};
    const kfx_hook_t hook = {.inside = true};
    KFX_JSON json_t *all = json_object();
    KFX_FREE char *plane = kfx_kube_escape(run->owner.plane);
    int rc = 0;
    size_t i;
    const json_t *path;
    json_array_foreach (paths, i, path) {
        /* resourceVersion=0: from the API server's memory; what that lacks is seen the next time. */
        KFX_REQUEST kfx_request_t *list =
            kfx_request_new(KFX_GET, NULL, "%s?resourceVersion=0&labelSelector=" KFX_LABEL_PLANE "%%3D%s",
                            json_string_value(path), plane);
        list->metadata_only = true;
        list->no_retry = true;
        kfx_code_t code = kfx_hook_request(&pass, &hook, list);
        if (code != KFX_OK && code != KFX_E_NOT_FOUND) { /* 404: the kind is gone, and what was of it */
            rc = -1;
            break;
        }
        json_object_set_new(all, json_string_value(path), versions(list->answer));
    }
    kfx_inside_close(&pass);
    kfx_hash16(all, hash);
    return rc;
}

void kfx_inside_close(kfx_pass_t *pass)
{
    if (pass->inside)
        pass->run->rec->ops.hang_up(pass->run->rec->ops.ctx, pass->inside);
    pass->inside = NULL;
    kfx_kinds_destroy(&pass->inside_kinds);
}
