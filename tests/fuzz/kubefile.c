/* tests/fuzz/kubefile.c: a user's kubeconfig, edited by kflex: what is written reads as what was meant, and a plane
 * that was added and removed leaves no trace but the current context. */
#include "base/mem.h"
#include "base/yaml.h"
#include "cli/kubeconfig.h"
#include "cli/kubetext.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define NOW "2026-11-25T00:00:00Z"

static const char plane_text[] = "clusters: [{name: cp1-cluster, cluster: {server: 'https://cp1'}}]\n"
                                 "contexts: [{name: cp1, context: {cluster: cp1-cluster, user: cp1-admin}}]\n"
                                 "users: [{name: cp1-admin, user: {token: t}}]\ncurrent-context: cp1\n";

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Writes the tree over the text it came from; the text, read again, must be the tree. */
static char *written(const char *text, size_t len, const json_t *before, json_t *after)
{
    char *out = kfx_kubetext_rewrite(text, len, before, after, NULL);
    if (!out)
        return NULL; /* what YAML can say and our writer cannot: nothing is written */
    json_t *read = kfx_yaml_parse(out, strlen(out), NULL);
    must(read && json_equal(read, after));
    json_decref(read);
    return out;
}

static void edit(const char *text, size_t len, json_t *tree)
{
    kfx_kc_t kc = {.count = 1};
    kc.path[0] = kfx_xstrdup("config");
    kc.tree[0] = tree;
    json_t *before = json_deep_copy(tree);
    json_t *plane = kfx_yaml_parse(plane_text, strlen(plane_text), NULL);
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_kc_merge_plane(&kc, plane, "cp1", NOW, &err) == 0) {
        free(written(text, len, before, kc.tree[0]));
        must(kfx_kc_context_of(&kc, "cp1") != NULL);
        bool was_current = false;
        must(kfx_kc_remove_plane(&kc, "cp1", &was_current) >= 1 && was_current);
        must(kfx_kc_context_of(&kc, "cp1") == NULL);
    }
    kfx_kc_cursor_t at = {0, 0};
    const char *first = kfx_kc_next(&kc, KFX_KC_CONTEXTS, &at);
    char *name = kfx_xstrdup(first ? first : "none");
    kfx_kc_set_hosting(&kc, name, NOW, &err);
    kfx_kc_rename_context(&kc, name, "renamed", &err);
    bool was_current = false;
    kfx_kc_delete_context(&kc, name, &was_current, &err);
    free(written(text, len, before, kc.tree[0]));
    json_decref(kfx_kc_merged(&kc));
    free(name);
    json_decref(plane);
    json_decref(before);
    kfx_kc_release(&kc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *tree = kfx_yaml_parse((const char *)data, size, &err);
    if (tree && kfx_kc_check(tree, "config", &err) == 0)
        edit((const char *)data, size, tree);
    else
        json_decref(tree);
    return 0;
}
