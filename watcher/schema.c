/* watcher/schema.c: our definition of ControlPlane, compiled in, against the served one. Descriptions do not count. */
#include "watcher/schema.h"

#include "base/embedded.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <stdio.h>
#include <string.h>

#define VERSION "v1alpha1"
#define RULES "x-kubernetes-validations"
#define OPEN "x-kubernetes-preserve-unknown-fields"
#define PATH_SIZE 160

extern const kfx_embedded_t kfx_crds[]; /* made by embed.py */

json_t *kfx_schema_own(void)
{
    for (const kfx_embedded_t *file = kfx_crds; file->name; file++)
        if (strcmp(file->name, "controlplanes") == 0)
            return kfx_yaml_parse(file->text, strlen(file->text), NULL);
    return NULL;
}

static const json_t *version_of(const json_t *crd)
{
    size_t i;
    const json_t *version;
    json_array_foreach (kfx_json_get(crd, "spec", "versions"), i, version) {
        const char *name = kfx_json_str(version, "name");
        if (name && strcmp(name, VERSION) == 0 && kfx_json_bool(version, false, "served"))
            return version;
    }
    return NULL;
}

static void lacks(kfx_schema_t *self, const char *path, const char *what)
{
    size_t at = strlen(self->missing), left = sizeof(self->missing) - at;
    self->same = false;
    char text[PATH_SIZE + 64];
    snprintf(text, sizeof(text), "%s%s%s%s%s", at ? ", " : "", path[0] ? path : "ControlPlane", what ? " (" : "",
             what ? what : "", what ? ")" : "");
    if (strlen(text) + sizeof(", …") < left)
        memcpy(self->missing + at, text, strlen(text) + 1);
    else if (!strstr(self->missing, "…"))
        memcpy(self->missing + at, ", …", sizeof(", …"));
}

static bool has_equal(const json_t *list, const json_t *wanted)
{
    size_t i;
    const json_t *item;
    json_array_foreach (list, i, item)
        if (json_equal(item, wanted))
            return true;
    return false;
}

/* The same expression under the same condition; the message may be worded otherwise. */
static bool has_rule(const json_t *list, const json_t *wanted)
{
    size_t i;
    const json_t *item;
    const char *rule = kfx_json_str(wanted, "rule");
    json_array_foreach (list, i, item) {
        const char *found = kfx_json_str(item, "rule");
        if (found && rule && strcmp(found, rule) == 0 &&
            kfx_json_bool(item, false, "optionalOldSelf") == kfx_json_bool(wanted, false, "optionalOldSelf"))
            return true;
    }
    return false;
}

static void compare(kfx_schema_t *self, const json_t *ours, const json_t *served, const char *path);

static void compare_properties(kfx_schema_t *self, const json_t *ours, const json_t *served, const char *path)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)ours, key, value) {
        char below[PATH_SIZE];
        snprintf(below, sizeof(below), "%s%s%s", path, path[0] ? "." : "", key);
        const json_t *found = json_object_get(served, key);
        if (found)
            compare(self, value, found, below);
        else
            lacks(self, below, NULL);
    }
}

static bool holds(const char *key, const json_t *ours, const json_t *served)
{
    if (!json_is_array(ours))
        return json_equal(ours, served);
    size_t i;
    const json_t *item;
    json_array_foreach (ours, i, item)
        if (!(strcmp(key, RULES) == 0 ? has_rule(served, item) : has_equal(served, item)))
            return false;
    return true;
}

static void compare(kfx_schema_t *self, const json_t *ours, const json_t *served, const char *path)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)ours, key, value) {
        const json_t *found = json_object_get(served, key);
        if (strcmp(key, "description") == 0)
            continue;
        if (strcmp(key, "properties") == 0)
            compare_properties(self, value, found, path);
        else if (json_is_object(value) && json_is_object(found)) /* items, additionalProperties */
            compare(self, value, found, path);
        else if (!holds(key, value, found))
            lacks(self, path, key);
    }
}

static bool keeps_version(const json_t *schema)
{
    const json_t *status = kfx_json_get(schema, "properties", "status");
    return kfx_json_get(status, "properties", "kubernetesVersion") || kfx_json_bool(status, false, OPEN) ||
           kfx_json_bool(schema, false, OPEN);
}

kfx_schema_t *kfx_schema_compare(const json_t *crd)
{
    KFX_JSON json_t *own = kfx_schema_own();
    const json_t *ours = version_of(own), *served = version_of(crd);
    const char *uid = kfx_json_str(crd, "metadata", "uid");
    kfx_schema_t *self = kfx_xcalloc(1, sizeof(*self));
    self->same = true;
    kfx_copy(self->uid, sizeof(self->uid), uid ? uid : "");
    if (!served) {
        lacks(self, "version " VERSION, NULL);
        return self;
    }
    const json_t *schema = kfx_json_get(served, "schema", "openAPIV3Schema");
    compare(self, kfx_json_get(ours, "schema", "openAPIV3Schema"), schema, "");
    if (!kfx_json_get(served, "subresources", "status"))
        lacks(self, "subresource status", NULL);
    self->records = keeps_version(schema);
    return self;
}
