/* base/json.h: typed access to JSON trees (jansson), so that no caller walks them by hand.
 *
 * A path is a list of object keys (array elements by decimal index): kfx_json_str (pod, "metadata", "name").
 * Getters return borrowed values that live as long as the tree; a missing path or another type gives NULL, the default
 * or an empty iteration, never a crash. A tree must not be shared between threads.
 */
#ifndef KFX_JSON_H
#define KFX_JSON_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

json_t *kfx_json_get_(const json_t *root, ...) __attribute__((sentinel));
const char *kfx_json_str_(const json_t *root, ...) __attribute__((sentinel));
int64_t kfx_json_int_(const json_t *root, int64_t fallback, ...) __attribute__((sentinel));
bool kfx_json_bool_(const json_t *root, int fallback, ...) __attribute__((sentinel)); /* int: bool would be promoted */

#define kfx_json_get(root, ...) kfx_json_get_(root, __VA_ARGS__, NULL) /* any value, borrowed, or NULL */
#define kfx_json_str(root, ...) kfx_json_str_(root, __VA_ARGS__, NULL) /* text, borrowed, or NULL */
#define kfx_json_int(root, fallback, ...) kfx_json_int_(root, fallback, __VA_ARGS__, NULL)
#define kfx_json_bool(root, fallback, ...) kfx_json_bool_(root, fallback, __VA_ARGS__, NULL)

/* Sets root/keys… = value (stolen, also on failure), making objects on the way. 0 or -1 (out of memory, or something
 * on the way is no object). */
int kfx_json_put_(json_t *root, json_t *value, ...) __attribute__((sentinel));
#define kfx_json_put(root, value, ...) kfx_json_put_(root, value, __VA_ARGS__, NULL)

/* Parses text; the error names line and column. Depth is bounded by jansson (2048). Fresh reference. */
json_t *kfx_json_parse(const char *text, size_t len, kfx_error_t *err);

/* Compact text, keys sorted (for hashes and for comparing); caller frees. NULL only when memory is out. */
char *kfx_json_canonical(const json_t *value);
/* Compact text in insertion order; caller frees. */
char *kfx_json_text(const json_t *value);

#endif
