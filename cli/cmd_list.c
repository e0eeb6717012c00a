/* kflex list: the control planes of the hosting cluster, sorted by name. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/plane.h"

#include <string.h>
#include <time.h>

#define KFX_LIST_PAGE 500

typedef struct {
    kfx_plane_t *plane;
    size_t count;
} planes_t;

static int by_name(const void *a, const void *b)
{
    const kfx_plane_t *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int fetch(kfx_kube_t *kube, planes_t *planes, kfx_error_t *err)
{
    KFX_FREE char *next = kfx_xstrdup("");
    do {
        KFX_FREE char *escaped = kfx_kube_escape(next);
        KFX_FREE char *path =
            kfx_xasprintf("%s?limit=%d%s%s", KFX_CONTROLPLANES_PATH, KFX_LIST_PAGE, *next ? "&continue=" : "", escaped);
        KFX_JSON json_t *page = kfx_hosting_get(kube, path, err);
        if (!page)
            return -1;
        const json_t *items = json_object_get(page, "items");
        size_t more = json_array_size(items);
        planes->plane = kfx_xrealloc(planes->plane, (planes->count + more + 1) * sizeof *planes->plane);
        for (size_t i = 0; i < more; i++)
            kfx_plane_read(json_array_get(items, i), &planes->plane[planes->count++]);
        const char *token = kfx_json_str(page, "metadata", "continue");
        free(next);
        next = kfx_xstrdup(token ? token : "");
    } while (*next);
    return 0;
}

static const char *status_of(const kfx_plane_t *plane, const char *type)
{
    const kfx_condition_t *c = kfx_plane_condition(plane, type);
    return c && *c->status ? c->status : "Unknown";
}

static void print(kfx_cli_t *cli, const planes_t *planes)
{
    if (planes->count == 0) {
        kfx_out_line(&cli->out, "No control planes found.");
        return;
    }
    int width = 20;
    for (size_t i = 0; i < planes->count; i++)
        if ((int)strlen(planes->plane[i].name) >= width)
            width = (int)strlen(planes->plane[i].name) + 1;
    int64_t now = (int64_t)time(NULL);
    FILE *out = cli->out.out;
    fprintf(out, "Control Planes:\n%-*s %-10s %-10s %-10s %-10s\n", width, "NAME", "SYNCED", "READY", "TYPE", "AGE");
    for (size_t i = 0; i < planes->count; i++) {
        const kfx_plane_t *p = &planes->plane[i];
        char age[KFX_AGE_SIZE];
        fprintf(out, "%-*s %-10s %-10s %-10s %-10s\n", width, p->name, status_of(p, "Synced"), status_of(p, "Ready"),
                p->type, p->created < 0 ? "Unknown" : kfx_age(age, now - p->created));
    }
}

int kfx_cmd_list(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    planes_t planes = {NULL, 0};
    kfx_error_t why = KFX_ERROR_INIT;
    int rc = fetch(hosting.kube, &planes, &why);
    if (rc == 0) {
        if (planes.count)
            qsort(planes.plane, planes.count, sizeof *planes.plane, by_name);
        print(cli, &planes);
    } else if (why.code == KFX_E_NOT_FOUND) {
        kfx_error_set(
            err, why.code,
            "the cluster of context '%s' has no ControlPlane API: is KubeFlex installed there? Choose the hosting "
            "cluster with `kflex ctx --set-current-for-hosting`",
            hosting.context);
    } else {
        if (err)
            *err = why;
        kfx_hosting_explain(&hosting, err);
    }
    free(planes.plane);
    kfx_hosting_close(&hosting);
    return rc;
}
