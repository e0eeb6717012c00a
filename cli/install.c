#include "cli/install.h"

#include "base/embedded.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <ctype.h>
#include <string.h>

#define PART_OF "app.kubernetes.io/part-of"
#define CLAIM_SIZE "8Gi"

extern const kfx_embedded_t kfx_install_crd_files[], kfx_install_files[];

static const char *file_text(const char *name)
{
    for (const kfx_embedded_t *file = kfx_install_files; file->name; file++)
        if (strcmp(file->name, name) == 0)
            return file->text;
    return NULL;
}

static json_t *parse_file(const char *name, const char *text, kfx_error_t *err)
{
    json_t *documents = text ? kfx_yaml_parse_all(text, strlen(text), err) : NULL;
    if (!documents)
        kfx_error_set(err, KFX_E_INTERNAL, "kflex was built without a good %s.yaml", name);
    return documents;
}

json_t *kfx_install_crds(kfx_error_t *err)
{
    json_t *all = json_array();
    for (const kfx_embedded_t *file = kfx_install_crd_files; file->name; file++) {
        KFX_JSON json_t *documents = parse_file(file->name, file->text, err);
        if (!documents) {
            json_decref(all);
            return NULL;
        }
        json_array_extend(all, documents);
    }
    return all;
}

/* ---- what kustomize does with them ---- */

/* RFC 6902 "add", as far as our patch uses it: keys, indexes and "-". value is consumed. */
static int patch_add(json_t *object, const char *path, json_t *value)
{
    KFX_FREE char *copy = kfx_xstrdup(*path == '/' ? path + 1 : path);
    char *rest = copy, *key;
    json_t *at = object;
    while ((key = strsep(&rest, "/")) && rest)
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
    if (json_is_array(at) && key && strcmp(key, "-") == 0)
        return json_array_append_new(at, value);
    return json_object_set_new(at, key ? key : "", value); /* which frees value where at is no object */
}

static int patch(json_t *object, const json_t *operations, kfx_error_t *err)
{
    size_t i;
    json_t *op;
    json_array_foreach (operations, i, op) {
        const char *verb = kfx_json_str(op, "op"), *path = kfx_json_str(op, "path");
        if (!verb || !path || strcmp(verb, "add") != 0 ||
            patch_add(object, path, json_deep_copy(json_object_get(op, "value"))) < 0)
            return kfx_error_set(err, KFX_E_INTERNAL, "kflex was built with a patch that it does not understand: %s %s",
                                 verb ? verb : "", path ? path : "");
    }
    return 0;
}

static bool is_kind(const json_t *object, const char *kind)
{
    const char *its = kfx_json_str(object, "kind");
    return its && strcmp(its, kind) == 0;
}

static int add_file(json_t *all, const char *name, const json_t *operations, const char *image, kfx_error_t *err)
{
    KFX_JSON json_t *documents = parse_file(name, file_text(name), err);
    size_t i;
    json_t *object;
    json_array_foreach (documents, i, object) {
        kfx_json_put(object, json_string("kubeflex"), "metadata", "labels", PART_OF);
        if (is_kind(object, "Deployment")) {
            if (patch(object, operations, err) < 0)
                return -1;
            json_t *container = kfx_json_get(object, "spec", "template", "spec", "containers", "0");
            json_object_set_new(container, "image", json_string(image));
        }
        json_array_append(all, object);
    }
    return documents ? 0 : -1;
}

json_t *kfx_install_objects(const char *image, kfx_error_t *err)
{
    const char *list = file_text("kustomization"), *common = file_text("pods");
    KFX_JSON json_t *kustomization = list ? kfx_yaml_parse(list, strlen(list), err) : NULL;
    KFX_JSON json_t *operations = common ? kfx_yaml_parse(common, strlen(common), err) : NULL;
    json_t *all = json_array();
    size_t i;
    json_t *entry;
    int rc = json_is_array(operations) ? 0 : -1;
    json_array_foreach (json_object_get(kustomization, "resources"), i, entry) {
        const char *file = json_string_value(entry);
        if (rc < 0 || !file || strncmp(file, "../", 3) == 0)
            continue; /* ../crds go first, by themselves */
        KFX_FREE char *name = kfx_xasprintf("%.*s", (int)strcspn(file, "."), file);
        rc = add_file(all, name, operations, image, err);
    }
    if (rc == 0 && json_array_size(all) > 0)
        return all;
    json_decref(all);
    if (err && err->code == KFX_OK)
        kfx_error_set(err, KFX_E_INTERNAL, "kflex was built without manifests");
    return NULL;
}

/* ---- Postgres ---- */

bool kfx_install_is_postgres(const json_t *object)
{
    static const char *const names[] = {"postgres-postgresql", "kubeflex-postgres"};
    const char *name = kfx_json_str(object, "metadata", "name");
    for (size_t i = 0; name && i < KFX_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

void kfx_install_claim_volume(json_t *object)
{
    json_t *volumes = kfx_json_get(object, "spec", "template", "spec", "volumes");
    for (size_t i = 0; i < json_array_size(volumes); i++) {
        const char *name = kfx_json_str(json_array_get(volumes, i), "name");
        if (name && strcmp(name, "data") == 0)
            json_array_remove(volumes, i--);
    }
    kfx_json_put(object,
                 json_pack("[{s:{s:s}, s:{s:[s], s:{s:{s:s}}}}]", "metadata", "name", "data", "spec", "accessModes",
                           "ReadWriteOnce", "resources", "requests", "storage", CLAIM_SIZE),
                 "spec", "volumeClaimTemplates");
}

/* ---- applying ---- */

/* "NetworkPolicy" -> "networkpolicies": the API server's own rule for built-in kinds. */
static void plural_of(const char *kind, char out[128])
{
    char lower[100];
    size_t len = 0;
    for (; kind[len] && len + 1 < sizeof lower; len++)
        lower[len] = (char)tolower((unsigned char)kind[len]);
    lower[len] = '\0';
    char last = len ? lower[len - 1] : '\0';
    if (last == 'y')
        snprintf(out, 128, "%.*sies", (int)len - 1, lower);
    else
        snprintf(out, 128, "%s%s", lower, last == 's' ? "es" : "s");
}

char *kfx_install_path(const json_t *object)
{
    const char *version = kfx_json_str(object, "apiVersion"), *kind = kfx_json_str(object, "kind");
    const char *ns = kfx_json_str(object, "metadata", "namespace"), *name = kfx_json_str(object, "metadata", "name");
    KFX_FREE char *space = kfx_kube_escape(ns ? ns : "");
    KFX_FREE char *escaped = kfx_kube_escape(name ? name : "");
    char plural[128];
    plural_of(kind ? kind : "", plural);
    return kfx_xasprintf("/%s/%s%s%s/%s/%s", version && strchr(version, '/') ? "apis" : "api", version ? version : "",
                         ns ? "/namespaces/" : "", space, plural, escaped);
}

int kfx_install_put(kfx_kube_t *kube, json_t *object, bool dry_run, kfx_error_t *err)
{
    KFX_FREE char *path = kfx_install_path(object);
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_APPLY, json_incref(object), "%s%s", path, dry_run ? "?dryRun=All" : "");
    req->field_manager = kfx_xstrdup("kflex");
    return kfx_kube_call(kube, req, err);
}
