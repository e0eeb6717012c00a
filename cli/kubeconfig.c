#include "cli/kubeconfig.h"

#include "base/json.h"
#include "base/mem.h"

#include <libgen.h>
#include <string.h>

#define KFX_KC_EXTENSION "kubeflex"

static const char *const kfx_kc_sections[] = {KFX_KC_CLUSTERS, KFX_KC_CONTEXTS, KFX_KC_USERS};

/* "contexts" -> "context": under which key an entry of the section has its body. */
static const char *body_key(const char *section)
{
    if (strcmp(section, KFX_KC_CONTEXTS) == 0)
        return "context";
    return strcmp(section, KFX_KC_CLUSTERS) == 0 ? "cluster" : "user";
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

void kfx_kc_release(kfx_kc_t *kc)
{
    for (size_t i = 0; i < kc->count; i++) {
        json_decref(kc->tree[i]);
        free(kc->path[i]);
    }
    memset(kc, 0, sizeof *kc);
}

json_t *kfx_kc_new_tree(void)
{
    return json_pack("{s:s, s:s, s:[], s:[], s:[], s:s, s:{}}", "apiVersion", "v1", "kind", "Config", KFX_KC_CLUSTERS,
                     KFX_KC_CONTEXTS, KFX_KC_USERS, "current-context", "", "preferences");
}

static int check_list(const json_t *list, const char *path, const char *where, kfx_error_t *err)
{
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return kfx_error_set(err, KFX_E_INVALID, "%s is no kubeconfig: \"%s\" is not a list", path, where);
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry) {
        if (!kfx_json_str(entry, "name"))
            return kfx_error_set(err, KFX_E_INVALID, "%s is no kubeconfig: entry %zu of \"%s\" has no name", path,
                                 i + 1, where);
    }
    return 0;
}

int kfx_kc_check(const json_t *tree, const char *path, kfx_error_t *err)
{
    if (!json_is_object(tree))
        return kfx_error_set(err, KFX_E_INVALID, "%s is no kubeconfig: it is not a map", path);
    for (size_t s = 0; s < KFX_COUNT(kfx_kc_sections); s++) {
        const char *section = kfx_kc_sections[s];
        json_t *list = json_object_get(tree, section);
        if (check_list(list, path, section, err) < 0)
            return -1;
        size_t i;
        json_t *entry;
        json_array_foreach (list, i, entry) {
            json_t *body = json_object_get(entry, body_key(section));
            if (body && !json_is_object(body) && !json_is_null(body))
                return kfx_error_set(err, KFX_E_INVALID, "%s is no kubeconfig: \"%s\" of \"%s\" is not a map", path,
                                     body_key(section), kfx_json_str(entry, "name"));
            if (check_list(json_object_get(body, "extensions"), path, "extensions", err) < 0)
                return -1;
        }
    }
    return check_list(json_object_get(tree, "extensions"), path, "extensions", err);
}

/* The entry of that name in one list, or NULL. */
static json_t *list_find(const json_t *list, const char *name, size_t *at)
{
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry) {
        if (same(kfx_json_str(entry, "name"), name)) {
            if (at)
                *at = i;
            return entry;
        }
    }
    return NULL;
}

static json_t *find_entry(const kfx_kc_t *kc, const char *section, const char *name)
{
    for (size_t f = 0; name && f < kc->count; f++) {
        json_t *entry = list_find(json_object_get(kc->tree[f], section), name, NULL);
        if (entry)
            return entry;
    }
    return NULL;
}

json_t *kfx_kc_body(const kfx_kc_t *kc, const char *section, const char *name)
{
    json_t *body = json_object_get(find_entry(kc, section, name), body_key(section));
    return json_is_object(body) ? body : NULL;
}

/* True where a file before this one has an entry of that name. */
static bool hidden(const kfx_kc_t *kc, const char *section, const char *name, size_t file)
{
    for (size_t f = 0; f < file; f++)
        if (list_find(json_object_get(kc->tree[f], section), name, NULL))
            return true;
    return false;
}

const char *kfx_kc_next(const kfx_kc_t *kc, const char *section, kfx_kc_cursor_t *cursor)
{
    for (; cursor->file < kc->count; cursor->file++, cursor->index = 0) {
        json_t *list = json_object_get(kc->tree[cursor->file], section);
        while (cursor->index < json_array_size(list)) {
            const char *name = kfx_json_str(json_array_get(list, cursor->index++), "name");
            if (!hidden(kc, section, name, cursor->file))
                return name;
        }
    }
    return NULL;
}

/* The list under key, made where it is missing or null. */
static json_t *want_list(json_t *holder, const char *key)
{
    json_t *list = json_object_get(holder, key);
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(holder, key, list);
    }
    return list;
}

void kfx_kc_put(kfx_kc_t *kc, const char *section, const char *name, json_t *body)
{
    json_t *entry = find_entry(kc, section, name);
    if (entry) {
        json_object_set_new(entry, body_key(section), body);
        return;
    }
    json_array_append_new(want_list(kc->tree[kc->main], section),
                          json_pack("{s:o, s:s}", body_key(section), body, "name", name));
}

size_t kfx_kc_remove(kfx_kc_t *kc, const char *section, const char *name)
{
    size_t gone = 0;
    for (size_t f = 0; f < kc->count; f++) {
        json_t *list = json_object_get(kc->tree[f], section);
        size_t at;
        while (list_find(list, name, &at)) {
            json_array_remove(list, at);
            gone++;
        }
    }
    return gone;
}

const char *kfx_kc_current(const kfx_kc_t *kc)
{
    for (size_t f = 0; f < kc->count; f++) {
        const char *name = kfx_json_str(kc->tree[f], "current-context");
        if (name && *name)
            return name;
    }
    return "";
}

void kfx_kc_set_current(kfx_kc_t *kc, const char *context)
{
    size_t target = kc->main;
    for (size_t f = 0; f < kc->count; f++) {
        const char *name = kfx_json_str(kc->tree[f], "current-context");
        if (name && *name) {
            target = f;
            break;
        }
    }
    json_object_set_new(kc->tree[target], "current-context", json_string(context));
}

/* ---- extensions ---- */

static json_t *ext_entry(const json_t *holder)
{
    return list_find(json_object_get(holder, "extensions"), KFX_KC_EXTENSION, NULL);
}

const char *kfx_kc_ext(const json_t *holder, const char *key)
{
    const char *value = kfx_json_str(ext_entry(holder), "extension", "data", key);
    return value && *value ? value : NULL;
}

void kfx_kc_ext_set(json_t *holder, const char *key, const char *value, const char *now)
{
    json_t *entry = ext_entry(holder);
    if (!value) {
        json_t *data = kfx_json_get(entry, "extension", "data");
        if (json_is_object(data))
            json_object_del(data, key);
        return;
    }
    if (!entry) {
        entry = json_pack("{s:{}, s:s}", "extension", "name", KFX_KC_EXTENSION);
        json_array_append_new(want_list(holder, "extensions"), entry);
    }
    json_t *ext = json_object_get(entry, "extension");
    if (!json_is_object(ext)) {
        ext = json_object();
        json_object_set_new(entry, "extension", ext);
    }
    json_t *data = json_object_get(ext, "data");
    if (!json_is_object(data)) {
        data = json_object();
        json_object_set_new(ext, "data", data);
    }
    json_object_set_new(data, key, json_string(value));
    if (!json_is_object(json_object_get(ext, "metadata")))
        json_object_set_new(ext, "metadata",
                            json_pack("{s:s, s:s}", "creationTimestamp", now, "name", KFX_KC_EXTENSION));
}

void kfx_kc_ext_remove(json_t *holder)
{
    json_t *list = json_object_get(holder, "extensions");
    size_t at;
    while (list_find(list, KFX_KC_EXTENSION, &at))
        json_array_remove(list, at);
    if (json_is_array(list) && json_array_size(list) == 0)
        json_object_del(holder, "extensions");
}

const char *kfx_kc_plane_of(const kfx_kc_t *kc, const char *context)
{
    return kfx_kc_ext(kfx_kc_body(kc, KFX_KC_CONTEXTS, context), KFX_KC_PLANE);
}

/* True where the context was made for this plane: tagged with it, or untagged (an older kflex did not tag what
 * `kflex ctx` loaded) but named and shaped as kflex does. The hosting context never is. */
static bool belongs(const kfx_kc_t *kc, const char *context, const char *plane)
{
    const json_t *body = kfx_kc_body(kc, KFX_KC_CONTEXTS, context);
    if (!body || kfx_kc_ext(body, KFX_KC_IS_HOSTING))
        return false;
    const char *tag = kfx_kc_ext(body, KFX_KC_PLANE);
    if (tag)
        return same(tag, plane);
    KFX_FREE char *cluster = kfx_xasprintf("%s-cluster", plane);
    KFX_FREE char *user = kfx_xasprintf("%s-admin", plane);
    return same(context, plane) &&
           (same(kfx_json_str(body, "cluster"), cluster) || same(kfx_json_str(body, "user"), user));
}

const char *kfx_kc_context_of(const kfx_kc_t *kc, const char *plane)
{
    const char *name;
    if (find_entry(kc, KFX_KC_CONTEXTS, plane)) {
        const char *tag = kfx_kc_plane_of(kc, plane);
        if (!tag || same(tag, plane))
            return plane;
    }
    for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(kc, KFX_KC_CONTEXTS, &at));)
        if (same(kfx_kc_plane_of(kc, name), plane))
            return name;
    return NULL;
}

/* ---- the hosting context ---- */

const char *kfx_kc_hosting_stored(const kfx_kc_t *kc)
{
    static const char *const keys[] = {KFX_KC_HOSTING, KFX_KC_HOSTING_LEGACY};
    for (size_t f = 0; f < kc->count; f++)
        for (size_t k = 0; k < KFX_COUNT(keys); k++) {
            const char *name = kfx_kc_ext(kc->tree[f], keys[k]);
            if (name)
                return name;
        }
    return NULL;
}

const char *kfx_kc_hosting(const kfx_kc_t *kc, kfx_error_t *err)
{
    const char *name = kfx_kc_hosting_stored(kc);
    if (!name) {
        kfx_error_set(err, KFX_E_NOT_FOUND, "hosting cluster context data not set");
        return NULL;
    }
    const json_t *context = kfx_kc_body(kc, KFX_KC_CONTEXTS, name);
    if (!context) {
        kfx_error_set(err, KFX_E_INVALID, "hosting cluster context data is set to a non-existing context: '%s'", name);
        return NULL;
    }
    const char *cluster = kfx_json_str(context, "cluster");
    if (!cluster || !*cluster) {
        kfx_error_set(err, KFX_E_INVALID, "hosting cluster context '%s' does not reference a cluster", name);
        return NULL;
    }
    const json_t *body = kfx_kc_body(kc, KFX_KC_CLUSTERS, cluster);
    if (!body) {
        kfx_error_set(err, KFX_E_INVALID, "cluster '%s' referenced by context '%s' does not exist", cluster, name);
        return NULL;
    }
    const char *server = kfx_json_str(body, "server");
    if (!server || !*server) {
        kfx_error_set(err, KFX_E_INVALID, "cluster '%s' referenced by context '%s' has no server defined", cluster,
                      name);
        return NULL;
    }
    return name;
}

int kfx_kc_set_hosting(kfx_kc_t *kc, const char *context, const char *now, kfx_error_t *err)
{
    json_t *body = kfx_kc_body(kc, KFX_KC_CONTEXTS, context);
    if (!body)
        return kfx_error_set(err, KFX_E_NOT_FOUND,
                             "no context '%s' in the kubeconfig: see `kubectl config get-contexts`", context);
    const char *name;
    for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(kc, KFX_KC_CONTEXTS, &at));)
        if (!same(name, context))
            kfx_kc_ext_set(kfx_kc_body(kc, KFX_KC_CONTEXTS, name), KFX_KC_IS_HOSTING, NULL, now);
    kfx_kc_ext_set(body, KFX_KC_IS_HOSTING, "true", now);

    /* One file has it, so that no stale name in another can come before it. */
    for (size_t f = 0; f < kc->count; f++) {
        kfx_kc_ext_set(kc->tree[f], KFX_KC_HOSTING_LEGACY, NULL, now);
        kfx_kc_ext_set(kc->tree[f], KFX_KC_HOSTING, f == kc->main ? context : NULL, now);
    }
    return 0;
}

/* ---- planes ---- */

/* The first context other than the plane's that uses the cluster or user of that name, or NULL. */
static const char *used_by_other(const kfx_kc_t *kc, const char *field, const char *name, const char *plane)
{
    const char *context;
    for (kfx_kc_cursor_t at = {0, 0}; (context = kfx_kc_next(kc, KFX_KC_CONTEXTS, &at));) {
        const json_t *body = kfx_kc_body(kc, KFX_KC_CONTEXTS, context);
        if (same(kfx_json_str(body, field), name) && !(plane && belongs(kc, context, plane)))
            return context;
    }
    return NULL;
}

int kfx_kc_conflict(const kfx_kc_t *kc, const char *plane, kfx_error_t *err)
{
    if (find_entry(kc, KFX_KC_CONTEXTS, plane) && !belongs(kc, plane, plane))
        return kfx_error_set(err, KFX_E_CONFLICT,
                             "the kubeconfig has a context '%s' already that is not this control plane's: rename it "
                             "(`kubectl config rename-context %s OTHER`) or choose another name",
                             plane, plane);
    static const struct {
        const char *field, *suffix;
    } uses[] = {{"cluster", "cluster"}, {"user", "admin"}};
    for (size_t i = 0; i < KFX_COUNT(uses); i++) {
        KFX_FREE char *name = kfx_xasprintf("%s-%s", plane, uses[i].suffix);
        const char *other = used_by_other(kc, uses[i].field, name, plane);
        if (other)
            return kfx_error_set(err, KFX_E_CONFLICT,
                                 "the kubeconfig has a %s '%s' already, used by context '%s', that is not this control "
                                 "plane's: rename that one or choose another name",
                                 uses[i].field, name, other);
    }
    return 0;
}

static int refuse_keys(const json_t *body, const char *const *keys, size_t count, kfx_error_t *err)
{
    for (size_t i = 0; i < count; i++)
        if (json_object_get(body, keys[i]))
            return kfx_error_set(
                err, KFX_E_INVALID,
                "the control plane's kubeconfig has a field '%s', which would use files or programs of "
                "this machine: not taken over",
                keys[i]);
    return 0;
}

/* The body an entry of the plane's kubeconfig, checked. Borrowed. */
static const json_t *plane_part(const json_t *config, const char *section, const char *name, kfx_error_t *err)
{
    const json_t *body = json_object_get(list_find(json_object_get(config, section), name, NULL), body_key(section));
    if (!json_is_object(body)) {
        kfx_error_set(err, KFX_E_INVALID, "the control plane's kubeconfig has no %s '%s'", body_key(section),
                      name ? name : "");
        return NULL;
    }
    return body;
}

int kfx_kc_merge_plane(kfx_kc_t *kc, const json_t *plane_config, const char *plane, const char *now, kfx_error_t *err)
{
    static const char *const cluster_no[] = {"certificate-authority"};
    static const char *const user_no[] = {"exec", "auth-provider", "client-certificate", "client-key", "tokenFile"};

    if (kfx_kc_check(plane_config, "the control plane's kubeconfig", err) < 0 || kfx_kc_conflict(kc, plane, err) < 0)
        return -1;
    const char *from = kfx_json_str(plane_config, "current-context");
    if (!from || !*from)
        from = kfx_json_str(plane_config, KFX_KC_CONTEXTS, "0", "name");
    const json_t *context = plane_part(plane_config, KFX_KC_CONTEXTS, from, err);
    const json_t *cluster =
        context ? plane_part(plane_config, KFX_KC_CLUSTERS, kfx_json_str(context, "cluster"), err) : NULL;
    const json_t *user = cluster ? plane_part(plane_config, KFX_KC_USERS, kfx_json_str(context, "user"), err) : NULL;
    if (!user || refuse_keys(cluster, cluster_no, KFX_COUNT(cluster_no), err) < 0 ||
        refuse_keys(user, user_no, KFX_COUNT(user_no), err) < 0)
        return -1;
    if (!kfx_json_str(cluster, "server"))
        return kfx_error_set(err, KFX_E_INVALID, "the control plane's kubeconfig names no server");

    KFX_FREE char *cluster_name = kfx_xasprintf("%s-cluster", plane);
    KFX_FREE char *user_name = kfx_xasprintf("%s-admin", plane);
    json_t *body = json_pack("{s:s, s:s}", "cluster", cluster_name, "user", user_name);
    const char *ns = kfx_json_str(context, "namespace");
    if (ns && *ns)
        json_object_set_new(body, "namespace", json_string(ns));
    json_t *kept = json_object_get(kfx_kc_body(kc, KFX_KC_CONTEXTS, plane), "extensions");
    if (json_is_array(kept))
        json_object_set_new(body, "extensions", json_deep_copy(kept));
    kfx_kc_ext_set(body, KFX_KC_PLANE, plane, now);

    kfx_kc_put(kc, KFX_KC_CLUSTERS, cluster_name, json_deep_copy(cluster));
    kfx_kc_put(kc, KFX_KC_USERS, user_name, json_deep_copy(user));
    kfx_kc_put(kc, KFX_KC_CONTEXTS, plane, body);
    kfx_kc_set_current(kc, plane);
    return 0;
}

/* Removes cluster and user of that name where no context uses them any more. */
static size_t remove_unused(kfx_kc_t *kc, const char *cluster, const char *user)
{
    size_t gone = 0;
    if (cluster && !used_by_other(kc, "cluster", cluster, NULL))
        gone += kfx_kc_remove(kc, KFX_KC_CLUSTERS, cluster);
    if (user && !used_by_other(kc, "user", user, NULL))
        gone += kfx_kc_remove(kc, KFX_KC_USERS, user);
    return gone;
}

/* The context, and what only it used of what was made with it. */
static size_t remove_context(kfx_kc_t *kc, const char *context, bool ours, bool *was_current)
{
    const json_t *body = kfx_kc_body(kc, KFX_KC_CONTEXTS, context);
    KFX_FREE char *name = kfx_xstrdup(context);
    KFX_FREE char *cluster = ours ? kfx_xstrdup(kfx_json_str(body, "cluster")) : NULL;
    KFX_FREE char *user = ours ? kfx_xstrdup(kfx_json_str(body, "user")) : NULL;
    if (same(kfx_kc_current(kc), name)) {
        *was_current = true;
        kfx_kc_set_current(kc, "");
    }
    size_t gone = kfx_kc_remove(kc, KFX_KC_CONTEXTS, name);
    gone += remove_unused(kc, cluster, user);
    KFX_FREE char *named_cluster = kfx_xasprintf("%s-cluster", name);
    KFX_FREE char *named_user = kfx_xasprintf("%s-admin", name);
    return gone + remove_unused(kc, named_cluster, named_user);
}

/* The first context that belongs to the plane, or NULL. */
static const char *first_context_of(const kfx_kc_t *kc, const char *plane)
{
    const char *name;
    for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(kc, KFX_KC_CONTEXTS, &at));)
        if (belongs(kc, name, plane))
            return name;
    return NULL;
}

size_t kfx_kc_remove_plane(kfx_kc_t *kc, const char *plane, bool *was_current)
{
    size_t gone = 0;
    const char *name;
    while ((name = first_context_of(kc, plane)))
        gone += remove_context(kc, name, true, was_current);
    KFX_FREE char *cluster = kfx_xasprintf("%s-cluster", plane);
    KFX_FREE char *user = kfx_xasprintf("%s-admin", plane);
    return gone + remove_unused(kc, cluster, user);
}

int kfx_kc_delete_context(kfx_kc_t *kc, const char *context, bool *was_current, kfx_error_t *err)
{
    if (!find_entry(kc, KFX_KC_CONTEXTS, context))
        return kfx_error_set(err, KFX_E_NOT_FOUND, "no context '%s' in the kubeconfig: see `kflex ctx list`", context);
    remove_context(kc, context, kfx_kc_plane_of(kc, context) != NULL, was_current);
    return 0;
}

/* Renames cluster or user old-suffix to new-suffix where the context uses it and nobody else does. */
static void rename_part(kfx_kc_t *kc, json_t *context, const char *field, const char *section, const char *old_name,
                        const char *new_name)
{
    const char *suffix = strcmp(field, "cluster") == 0 ? "cluster" : "admin";
    KFX_FREE char *from = kfx_xasprintf("%s-%s", old_name, suffix);
    KFX_FREE char *to = kfx_xasprintf("%s-%s", new_name, suffix);
    json_t *entry = find_entry(kc, section, from);
    if (!entry || !same(kfx_json_str(context, field), from) || find_entry(kc, section, to))
        return;
    json_object_set_new(context, field, json_string(to));
    if (used_by_other(kc, field, from, NULL)) {
        json_t *body = json_object_get(entry, body_key(section));
        kfx_kc_put(kc, section, to, json_deep_copy(body));
    } else
        json_object_set_new(entry, "name", json_string(to));
}

int kfx_kc_rename_context(kfx_kc_t *kc, const char *old_name, const char *new_name, kfx_error_t *err)
{
    json_t *entry = find_entry(kc, KFX_KC_CONTEXTS, old_name);
    json_t *body = kfx_kc_body(kc, KFX_KC_CONTEXTS, old_name);
    if (!body)
        return kfx_error_set(err, KFX_E_NOT_FOUND, "no context '%s' in the kubeconfig: see `kflex ctx list`", old_name);
    if (find_entry(kc, KFX_KC_CONTEXTS, new_name))
        return kfx_error_set(err, KFX_E_EXISTS, "the kubeconfig has a context '%s' already: choose another name",
                             new_name);
    bool current = same(kfx_kc_current(kc), old_name);
    KFX_FREE char *from = kfx_xstrdup(old_name);
    rename_part(kc, body, "cluster", KFX_KC_CLUSTERS, from, new_name);
    rename_part(kc, body, "user", KFX_KC_USERS, from, new_name);
    json_object_set_new(entry, "name", json_string(new_name));
    if (current)
        kfx_kc_set_current(kc, new_name);
    for (size_t f = 0; f < kc->count; f++)
        if (same(kfx_kc_ext(kc->tree[f], KFX_KC_HOSTING), from))
            kfx_kc_ext_set(kc->tree[f], KFX_KC_HOSTING, new_name, "");
    return 0;
}

/* ---- one tree to connect with ---- */

static void make_absolute(json_t *body, const char *key, const char *path)
{
    const char *file = kfx_json_str(body, key);
    if (!file || !*file || file[0] == '/')
        return;
    KFX_FREE char *copy = kfx_xstrdup(path);
    KFX_FREE char *full = kfx_xasprintf("%s/%s", dirname(copy), file);
    json_object_set_new(body, key, json_string(full));
}

json_t *kfx_kc_merged(const kfx_kc_t *kc)
{
    static const char *const files[] = {"certificate-authority", "client-certificate", "client-key", "tokenFile"};
    json_t *out = kfx_kc_new_tree();
    for (size_t f = 0; f < kc->count; f++)
        for (size_t s = 0; s < KFX_COUNT(kfx_kc_sections); s++) {
            const char *section = kfx_kc_sections[s];
            size_t i;
            json_t *entry;
            json_array_foreach (json_object_get(kc->tree[f], section), i, entry) {
                if (hidden(kc, section, kfx_json_str(entry, "name"), f))
                    continue;
                json_t *copy = json_deep_copy(entry);
                for (size_t k = 0; k < KFX_COUNT(files); k++)
                    make_absolute(json_object_get(copy, body_key(section)), files[k], kc->path[f]);
                json_array_append_new(json_object_get(out, section), copy);
            }
        }
    json_object_set_new(out, "current-context", json_string(kfx_kc_current(kc)));
    return out;
}
