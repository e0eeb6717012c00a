/* base/manifest.h: the YAML manifests beside a type's code, compiled in, and putting values into them.
 *
 * Values go into the parsed tree, never into text, so no value can change a manifest's structure, and what a value
 * holds is never looked at again. In a manifest
 *
 *   "${name}"       a scalar that is nothing else is replaced by the variable, whatever its JSON type; the variable
 * null takes its key (or list item) away "a-${name}:b"   inside a longer scalar: text as it is, integers in decimal;
 * any other type is an error
 *   - "${name...}"  a list item that is nothing else: the array's items take its place
 *
 * Keys are never substituted. A name that has no variable is an error that names it. Pure functions: thread-safe.
 */
#ifndef KFX_MANIFEST_H
#define KFX_MANIFEST_H

#include "base/embedded.h"
#include "base/error.h"

#include <jansson.h>

/* The manifest `name` of the list (ended by a NULL name) with the variables of `vars` put in. Fresh reference. */
json_t *kfx_manifest_render(const kfx_embedded_t *files, const char *name, const json_t *vars, kfx_error_t *err);

/* The same for a tree: a fresh one, the input stays as it is. */
json_t *kfx_manifest_substitute(const json_t *tree, const json_t *vars, kfx_error_t *err);

#endif
