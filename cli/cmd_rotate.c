/* kflex rotate: asks the storage agent for a new database password of a control plane. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/plane.h"

#include <string.h>

/* A plane whose database the agent made. */
static int check(const json_t *object, const char *name, kfx_error_t *err)
{
    const char *type = kfx_json_str(object, "spec", "type"), *backend = kfx_json_str(object, "spec", "backend");
    const kfx_type_info_t *info = kfx_type_find(type ? type : "");
    if (info && info->storage && (!backend || strcmp(backend, "shared") == 0))
        return 0;
    return kfx_error_set(err, KFX_E_INVALID,
                         "control plane %s (type %s, backend %s) has no database password that KubeFlex could change",
                         name, type ? type : "?", backend ? backend : "shared");
}

static int ask(const kfx_hosting_t *hosting, const char *name, kfx_error_t *err)
{
    KFX_FREE char *escaped = kfx_kube_escape(name);
    KFX_FREE char *path = kfx_xasprintf("%s/%s", KFX_CONTROLPLANES_PATH, escaped);
    kfx_error_t why = KFX_ERROR_INIT;
    KFX_JSON json_t *object = kfx_hosting_get(hosting->kube, path, &why);
    if (!object && why.code == KFX_E_NOT_FOUND)
        return kfx_error_set(
            err, why.code,
            "control plane not found on server: %s (hosting context '%s'). `kflex list` shows what there is", name,
            hosting->context);
    if (object && check(object, name, err) < 0)
        return -1;
    if (object) {
        char now[KFX_RFC3339_SIZE];
        const char *uid = kfx_json_str(object, "metadata", "uid");
        json_t *patch = json_pack("{s:{s:s, s:{s:s}}}", "metadata", "uid", uid ? uid : "", "annotations",
                                  KFX_ANNOTATION_ROTATE, kfx_rfc3339_now(now));
        KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_MERGE_PATCH, patch, "%s", path);
        req->field_manager = kfx_xstrdup("kflex");
        if (kfx_kube_call(hosting->kube, req, &why) == 0)
            return 0;
    }
    if (err)
        *err = why;
    return kfx_hosting_explain(hosting, err);
}

int kfx_cmd_rotate(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < cli->opts.arg_count; i++) {
        const char *name = cli->opts.arg[i];
        kfx_error_t why = KFX_ERROR_INIT;
        if (ask(&hosting, name, &why) == 0) {
            kfx_out_step(&cli->out, -1,
                         "Asked for a new database password of %s: its pods are exchanged, and the old one ends with "
                         "them",
                         name);
            continue;
        }
        if (rc < 0)
            kfx_out_error(&cli->out, err->msg); /* the last one is main's to tell */
        rc = -1;
        if (err)
            *err = why;
    }
    kfx_hosting_close(&hosting);
    return rc;
}
