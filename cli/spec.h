/* cli/spec.h: the ControlPlane that create asks for: flags, and with -f a file, which the flags change. */
#ifndef KFX_CLI_SPEC_H
#define KFX_CLI_SPEC_H

#include "cli/flags.h"

#include <jansson.h>

/* The manifest, its name checked (borrowed in *name). INVALID says what to change. Nothing is asked of any cluster.
 * Fresh. */
json_t *kfx_spec_build(const kfx_opts_t *opts, const char **name, kfx_error_t *err);

/* Hooks and their variables, of flags: create and adopt share them. spec is changed. */
int kfx_spec_add_hooks(const kfx_opts_t *opts, json_t *spec, kfx_error_t *err);

#endif
