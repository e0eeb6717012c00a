/* reconcilers/render.c: manifests as YAML documents. */
#include "reconcilers/render.h"

#include "base/file.h"
#include "base/yaml.h"
#include "proto/model.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_MAX (1U << 20)

static json_t *load(const char *file, kfx_error_t *err)
{
    size_t len;
    if (!file)
        return json_pack("{s:s, s:s}", "domain", "localtest.me", "externalPort", "9443");
    KFX_FREE char *text = kfx_file_read(file, CONFIG_MAX, &len, err);
    json_t *data = text ? kfx_yaml_parse(text, len, err) : NULL;
    if (!data)
        kfx_error_wrap(err, "--config %s", file);
    return data;
}

int kfx_render(const kfx_type_t *type, const char *plane, const char *config_file, kfx_error_t *err)
{
    KFX_JSON json_t *data = load(config_file, err);
    KFX_CLEANUP(kfx_config_clear) kfx_config_t config = {.ingress_annotations = NULL};
    size_t i;
    json_t *object;
    if (!data || kfx_plane_name_check(plane, err) || kfx_config_parse(data, &config, err))
        return -1;
    KFX_JSON json_t *list = type->render(plane, &config, err);
    if (!list)
        return -1;
    json_array_foreach (list, i, object) {
        KFX_FREE char *text = kfx_yaml_dump(object, err);
        if (!text)
            return -1;
        printf("---\n%s", text);
    }
    if (fflush(stdout))
        return kfx_error_set(err, KFX_E_INTERNAL, "cannot write to stdout");
    return 0;
}
