/* base/yaml.h: YAML (libyaml) to and from JSON trees.
 *
 * Plain scalars are typed by the YAML 1.2 core schema: null, true, false, integers (also 0x1f, 0o17), floats;
 * everything else and everything quoted is a string. So yes, no, on, off are strings, though YAML 1.1 readers
 * (kubectl's sigs.k8s.io/yaml among them) take them for booleans. One thing is read as those readers do, because
 * manifests depend on it: an integer with a leading zero is octal, so "defaultMode: 0644" is 420; where a digit is 8 or
 * 9 it is decimal. Integers beyond 64 bits, .inf and .nan are errors: JSON has no word for them.
 *
 * Keys are strings as they are written (8080: is "8080", True: is "True"); null, collections and aliases are no keys.
 * "<<" merges as in YAML 1.1: the mapping's own keys win, of several sources the first. Aliases are expanded to copies.
 * Tags: those of the core schema. Duplicate keys are an error. Depth (100), size (8 MiB), anchors (1000 a
 * document) and the number of nodes (200,000, aliases counted as often as used) are bounded. Strings must not hold a
 * NUL.
 *
 * Errors name the line and never quote a value other than a number. Thread-safe.
 */
#ifndef KFX_YAML_H
#define KFX_YAML_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

/* All documents of a stream as a JSON array (empty documents left out). Fresh reference, or NULL with the line. */
json_t *kfx_yaml_parse_all(const char *text, size_t len, kfx_error_t *err);

/* Exactly one document. An empty text is an empty object. */
json_t *kfx_yaml_parse(const char *text, size_t len, kfx_error_t *err);

/* Block style, keys in insertion order, strings of several lines as literal blocks where that keeps every byte, strings
 * quoted where a reader of YAML 1.1 or 1.2 could take them for something else. Caller frees. */
char *kfx_yaml_dump(const json_t *value, kfx_error_t *err);

#endif
