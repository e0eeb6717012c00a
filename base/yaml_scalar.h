/* base/yaml_scalar.h: the types of plain YAML scalars. Used by base/yaml_parse.c and base/yaml_dump.c only.
 * Thread-safe. */
#ifndef KFX_YAML_SCALAR_H
#define KFX_YAML_SCALAR_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum {
    KFX_SCALAR_STRING,
    KFX_SCALAR_NULL,
    KFX_SCALAR_BOOL,
    KFX_SCALAR_INT,
    KFX_SCALAR_FLOAT,
    KFX_SCALAR_NOT_FINITE /* .inf and .nan, which JSON cannot say */
} kfx_scalar_t;

/* What a plain scalar means by the rules in base/yaml.h. */
kfx_scalar_t kfx_scalar_type(const char *text);

/* Its value, fresh; NULL with err for a number out of range. */
json_t *kfx_scalar_value(const char *text, kfx_error_t *err);

/* True where this string, written plain, could be read as something else by us or by a YAML 1.1 reader. */
bool kfx_scalar_needs_quotes(const char *text);

#endif
