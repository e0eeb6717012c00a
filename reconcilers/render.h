/* reconcilers/render.h: `kubeflex-reconciler --render`: what would be applied, for people. */
#ifndef KFX_RECONCILERS_RENDER_H
#define KFX_RECONCILERS_RENDER_H

#include "reconcilers/type.h"

/* Prints YAML documents on stdout. config_file NULL: built-in defaults. */
int kfx_render(const kfx_type_t *type, const char *plane, const char *config_file, kfx_error_t *err);

#endif
