/* reconcilers/types.c: the types this program is built with: one name each. */
#include "base/cleanup.h"
#include "reconcilers/type.h"

#include <stdio.h>
#include <string.h>

/* kfx_type_<name> stands in reconcilers/<name>/<name>.c. */
#define TYPES(TYPE) TYPE(external) TYPE(host) TYPE(k3s) TYPE(k8s) TYPE(ocm) TYPE(vcluster)

#define DECLARE(name) extern const kfx_type_t kfx_type_##name;
#define REFER(name) &kfx_type_##name,

TYPES(DECLARE)

static const kfx_type_t *const types[] = {TYPES(REFER)};

const kfx_type_t *kfx_type_lookup(const char *name)
{
    for (size_t i = 0; i < KFX_COUNT(types); i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

void kfx_type_names(char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < KFX_COUNT(types); i++) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%s", used ? ", " : "", types[i]->name);
    }
}
