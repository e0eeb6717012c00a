/* reconcilers/types.c: the types this program is built with: one line each. */
#include "base/cleanup.h"
#include "reconcilers/k8s/k8s.h"
#include "reconcilers/type.h"

#include <string.h>

static const kfx_type_t *const types[] = {
    &kfx_type_k8s,
};

const kfx_type_t *kfx_type_lookup(const char *name)
{
    for (size_t i = 0; i < KFX_COUNT(types); i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

const char *kfx_type_names(void)
{
    return "k8s";
}
