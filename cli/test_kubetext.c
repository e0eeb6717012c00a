/* Kubeconfigs as tools and people write them (tests/fuzz/corpus/kubefile): what kflex does not mean to change stays,
 * text and all.
 */
#include "cli/kubetext.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "cli/kubeconfig.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NOW "2026-11-25T00:00:00Z"

static const char plane_text[] = "apiVersion: v1\nkind: Config\ncurrent-context: cp1\n"
                                 "clusters: [{name: cp1-cluster, cluster: {server: 'https://cp1.localtest.me:9443'}}]\n"
                                 "contexts: [{name: cp1, context: {cluster: cp1-cluster, user: cp1-admin}}]\n"
                                 "users: [{name: cp1-admin, user: {token: tenant}}]\n";

static json_t *parse(const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *tree = kfx_yaml_parse(text, strlen(text), &err);
    if (!tree)
        print_error("%s\n", err.msg);
    assert_non_null(tree);
    return tree;
}

/* The text after the change that edit makes to the tree; it reads as that tree. */
static char *rewrite(const char *text, void (*edit)(kfx_kc_t *kc))
{
    kfx_kc_t kc = {.count = 1};
    kc.path[0] = kfx_xstrdup("config");
    kc.tree[0] = parse(text);
    KFX_JSON json_t *before = json_deep_copy(kc.tree[0]);
    edit(&kc);
    char *out = kfx_kubetext_rewrite(text, strlen(text), before, kc.tree[0], NULL);
    assert_non_null(out);
    KFX_JSON json_t *read = parse(out);
    assert_true(json_equal(read, kc.tree[0]));
    kfx_kc_release(&kc);
    return out;
}

static void add_plane(kfx_kc_t *kc)
{
    KFX_JSON json_t *plane = parse(plane_text);
    assert_int_equal(kfx_kc_merge_plane(kc, plane, "cp1", NOW, NULL), 0);
}

static void remove_plane(kfx_kc_t *kc)
{
    bool was_current = false;
    assert_int_equal(kfx_kc_remove_plane(kc, "cp1", &was_current), 3);
    assert_true(was_current);
}

static void set_hosting(kfx_kc_t *kc)
{
    kfx_kc_cursor_t at = {0, 0};
    assert_int_equal(kfx_kc_set_hosting(kc, kfx_kc_next(kc, KFX_KC_CONTEXTS, &at), NOW, NULL), 0);
}

static void nothing(kfx_kc_t *kc)
{
    (void)kc;
}

/* Without what add_plane and set_hosting put there. */
static json_t *without_ours(const char *text)
{
    kfx_kc_t kc = {.count = 1};
    kc.path[0] = kfx_xstrdup("config");
    kc.tree[0] = parse(text);
    const char *name;
    kfx_kc_ext_remove(kc.tree[0]);
    for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(&kc, KFX_KC_CONTEXTS, &at));)
        kfx_kc_ext_remove(kfx_kc_body(&kc, KFX_KC_CONTEXTS, name));
    json_object_del(kc.tree[0], "current-context");
    json_t *tree = json_incref(kc.tree[0]);
    kfx_kc_release(&kc);
    return tree;
}

static void round_trip(const char *path)
{
    KFX_FREE char *text = kfx_file_read(path, 1 << 20, NULL, NULL);
    assert_non_null(text);
    KFX_FREE char *same = rewrite(text, nothing);
    KFX_FREE char *hosted = rewrite(text, set_hosting);
    KFX_FREE char *with = rewrite(hosted, add_plane);
    KFX_FREE char *back = rewrite(with, remove_plane);
    KFX_JSON json_t *before = without_ours(text), *after = without_ours(back);
    assert_true(json_equal(before, after));
    if (text[0] == '{' || strchr(text, '&'))
        return; /* no text of it can be kept: JSON, anchors */
    assert_string_equal(same, text);
    /* Each line of the user's is there still, also comments, but those of the entry that was marked. */
    KFX_FREE char *copy = kfx_xstrdup(text);
    char *rest = copy;
    size_t kept = 0, lines = 0;
    for (char *line; (line = strsep(&rest, "\n"));) {
        lines += *line != '\0';
        kept += *line && strstr(back, line);
    }
    assert_true(lines - kept <= 4);
}

static void test_corpus(void **state)
{
    (void)state;
    DIR *dir = opendir(KFX_CORPUS);
    assert_non_null(dir);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strstr(entry->d_name, ".yaml"))
            continue;
        KFX_FREE char *path = kfx_xasprintf("%s/%s", KFX_CORPUS, entry->d_name);
        print_message("%s\n", entry->d_name);
        round_trip(path);
        count++;
    }
    closedir(dir);
    assert_int_equal(count, 10);
}

static void test_comments_stay(void **state)
{
    (void)state;
    KFX_FREE char *path = kfx_xasprintf("%s/oidc.yaml", KFX_CORPUS);
    KFX_FREE char *text = kfx_file_read(path, 1 << 20, NULL, NULL);
    KFX_FREE char *with = rewrite(text, add_plane);
    assert_int_equal(strncmp(with, "# comments of a person\napiVersion: v1\nkind: Config\n\n", 50), 0);
    assert_non_null(strstr(with, "clusters:\n  # behind a proxy\n  - name: prod\n"));
    assert_non_null(strstr(with, "      certificate-authority-data: >-\n"));
    assert_non_null(strstr(with, "    context: {cluster: prod, user: oidc, namespace: team-a}\n"));
    assert_non_null(
        strstr(with, "\n  - cluster:\n      server: https://cp1.localtest.me:9443\n    name: cp1-cluster\n"));
    assert_non_null(strstr(with, "extension: {kept: yes, number: 1.50}\n"));
}

/* Texts on which cutting by lines would go wrong: what comes out reads as meant, however it looks. */
static void test_odd_texts(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "{}",
        "contexts: []\nusers: [{name: a, user: {}}]\n",
        "contexts:\n-\n  name: a\n  context: {}\n",
        "contexts:\n- {name: a, context: {}}\n- name: b\n  context: {}\nx: |\n  # text\n\n  # more\ny: 1",
        "\"contexts\": \n- name: a\n  context: {}\n? users\n: []\n",
        "---\ncontexts:\n- name: a\n  context: {}\n...\n",
        "%YAML 1.1\n---\ncontexts:\n  - name: a\n    context: {}\n",
        "contexts: !!seq\n- name: a\n  context: {}\n",
        "contexts:\r\n- name: a\r\n  context: {}\r\n",
        "  contexts:\n  - name: a\n    context: {}\n",
        "# only a comment\n",
    };
    for (size_t i = 0; i < KFX_COUNT(odd); i++) {
        KFX_FREE char *with = rewrite(odd[i], add_plane);
        KFX_FREE char *back = rewrite(with, remove_plane);
        assert_non_null(back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_comments_stay),
        cmocka_unit_test(test_odd_texts),
    };
    return cmocka_run_group_tests_name("cli-kubetext", tests, NULL, NULL);
}
