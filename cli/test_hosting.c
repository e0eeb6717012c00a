/* Which context is tried for the hosting cluster, before any is asked; what the user is told. */
#include "cli/hosting.h"

#include "base/mem.h"
#include "base/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NOW "2026-11-23T10:00:00Z"

static kfx_kc_t open_kc(const char *current)
{
    static const char text[] = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
                               "contexts:\n"
                               "- {name: host, context: {cluster: c, user: u}}\n"
                               "- {name: cp1, context: {cluster: c, user: u}}\n"
                               "- {name: broken, context: {cluster: none, user: u}}\n"
                               "users: [{name: u, user: {token: t}}]\n";
    kfx_kc_t kc = {.count = 1, .main = 0};
    kc.tree[0] = kfx_yaml_parse(text, sizeof text - 1, NULL);
    kc.path[0] = kfx_xstrdup("/x/config");
    kfx_kc_set_current(&kc, current);
    return kc;
}

static void test_stored_wins(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc("cp1");
    assert_int_equal(kfx_kc_set_hosting(&kc, "host", NOW, NULL), 0);
    const char *context;
    assert_int_equal(kfx_hosting_plan(&kc, &context, NULL, NULL), KFX_HOSTING_STORED);
    assert_string_equal(context, "host");
    kfx_kc_release(&kc);
}

static void test_current_is_tried(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc("cp1");
    const char *context;
    kfx_error_t why = KFX_ERROR_INIT;
    assert_int_equal(kfx_hosting_plan(&kc, &context, &why, NULL), KFX_HOSTING_TRY_CURRENT);
    assert_string_equal(context, "cp1");
    assert_int_equal(why.code, KFX_OK);

    /* A stored one that leads nowhere: the current one is tried, and why is kept for the message. */
    assert_int_equal(kfx_kc_set_hosting(&kc, "broken", NOW, NULL), 0);
    assert_int_equal(kfx_hosting_plan(&kc, &context, &why, NULL), KFX_HOSTING_TRY_CURRENT);
    assert_string_equal(context, "cp1");
    assert_non_null(strstr(why.msg, "cluster 'none'"));
    kfx_kc_release(&kc);
}

static void test_unknown(void **state)
{
    (void)state;
    const char *context;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kc_t kc = open_kc("");
    assert_int_equal(kfx_hosting_plan(&kc, &context, NULL, &err), KFX_HOSTING_UNKNOWN);
    assert_non_null(strstr(err.msg, "the hosting cluster context is not known!"));
    assert_non_null(strstr(err.msg, "kubectl config use-context"));
    assert_non_null(strstr(err.msg, "kflex ctx --set-current-for-hosting"));
    kfx_kc_set_current(&kc, "gone");
    assert_int_equal(kfx_hosting_plan(&kc, &context, NULL, &err), KFX_HOSTING_UNKNOWN);
    assert_non_null(strstr(err.msg, "'gone' does not exist"));
    kfx_kc_release(&kc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_wins),
        cmocka_unit_test(test_current_is_tried),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests_name("cli-hosting", tests, NULL, NULL);
}
