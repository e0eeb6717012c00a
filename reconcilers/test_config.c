/* reconcilers/test_config.c: kubeflex-config, key by key. */
#include "base/json.h"
#include "reconcilers/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *data_with(const char *key, const char *value)
{
    json_t *data = json_pack("{s:s, s:s}", "domain", "localtest.me", "externalPort", "9443");
    if (key && value)
        json_object_set_new(data, key, json_string(value));
    else if (key)
        json_object_del(data, key);
    return data;
}

static int parse(const char *key, const char *value, kfx_config_t *config, kfx_error_t *err)
{
    KFX_JSON json_t *data = data_with(key, value);
    return kfx_config_parse(data, config, err);
}

static void test_defaults(void **state)
{
    (void)state;
    kfx_config_t c;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(parse(NULL, NULL, &c, &err), 0);
    assert_string_equal(c.domain, "localtest.me");
    assert_int_equal(c.external_port, 9443);
    assert_false(c.openshift);
    assert_string_equal(c.host_container, "kubeflex-control-plane");
    assert_string_equal(c.ingress_class, "nginx");
    assert_string_equal(c.kubernetes_version, "");
    assert_string_equal(c.external_address, "");
    assert_int_equal(c.exposure, KFX_EXPOSE_INGRESS);
    assert_int_equal(c.profile, KFX_PROFILE_DEFAULT);
    assert_int_equal(json_object_size(c.ingress_annotations), 0);
    kfx_config_clear(&c);
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        bool good;
    } cases[] = {
        {"domain", NULL, false},
        {"domain", "", false},
        {"domain", "Example.com", false},
        {"domain", "a..b", false},
        {"domain", "-a.b", false},
        {"domain", "a-.b", false},
        {"domain", "a b", false},
        {"domain", "x.example.com", true},
        {"domain", " example.com\n", true},
        {"externalPort", NULL, false},
        {"externalPort", "0", false},
        {"externalPort", "65536", false},
        {"externalPort", "+80", false},
        {"externalPort", "80x", false},
        {"externalPort", "9999999999999999999999", false},
        {"externalPort", "443", true},
        {"isOpenShift", "True", true},
        {"isOpenShift", "t", true},
        {"isOpenShift", "0", true},
        {"isOpenShift", "yes", false},
        {"isOpenShift", "", true},
        {"hostContainer", "kind-control-plane", true},
        {"hostContainer", "a,DNS:evil", false},
        {"kubernetesVersion", "v1.36.3", true},
        {"kubernetesVersion", "1.35.0", true},
        {"kubernetesVersion", "latest", false},
        {"kubernetesVersion", "v1.36", false},
        {"kubernetesVersion", "v1.036.3", false},
        {"kubernetesVersion", "v2.0.0", false},
        {"kubernetesVersion", "v1.36.3-rc.1", false},
        {"kubernetesVersion", "v1.-1.3", false},
        {"ingressClass", "traefik", true},
        {"ingressClass", "no good", false},
        {"exposure", "loadbalancer", true},
        {"exposure", "LoadBalancer", false},
        {"resourceProfile", "small", true},
        {"resourceProfile", "tiny", false},
        {"externalAddress", "192.0.2.1", true},
        {"externalAddress", "2001:db8::1", true},
        {"externalAddress", "gw.example.com", true},
        {"externalAddress", "https://gw", false},
        {"externalAddress", "gw:443", false},
        {"ingressAnnotations", "a/b: \"true\"\nc: d", true},
        {"ingressAnnotations", "nginx.ingress.kubernetes.io/proxy-body-size: 8m", true},
        {"ingressAnnotations", "a b: c", false},
        {"ingressAnnotations", "/a: c", false},
        {"ingressAnnotations", "a/: c", false},
        {"ingressAnnotations", "a/b/c: d", false},
        {"ingressAnnotations", "_a: b", false},
        {"ingressAnnotations", "a_b/c: d", false},
        {"ingressAnnotations", "a: true", false},
        {"ingressAnnotations", "- a", false},
        {"ingressAnnotations", "a: [", false},
        {"ingressAnnotations", "a: {b: c}", false},
        {"unknown", "whatever", true},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_config_t c;
        kfx_error_t err = KFX_ERROR_INIT;
        int rc = parse(cases[i].key, cases[i].value, &c, &err);
        if ((rc == 0) != cases[i].good)
            fail_msg("%s=%s: rc %d %s", cases[i].key, cases[i].value ? cases[i].value : "(missing)", rc, err.msg);
        if (rc) { /* clear: names the ConfigMap and the key */
            assert_int_equal(err.code, KFX_E_INVALID);
            assert_non_null(strstr(err.msg, "ConfigMap kubeflex-config"));
            assert_non_null(strstr(err.msg, cases[i].key));
        }
        kfx_config_clear(&c);
    }
}

static void test_typed(void **state)
{
    (void)state;
    kfx_config_t c, copy;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(parse("isOpenShift", "1", &c, &err), 0);
    assert_true(c.openshift);
    kfx_config_clear(&c);
    assert_int_equal(parse("kubernetesVersion", "1.35.2", &c, &err), 0);
    assert_string_equal(c.kubernetes_version, "v1.35.2");
    kfx_config_clear(&c);
    assert_int_equal(parse("exposure", "none", &c, &err), 0);
    assert_int_equal(c.exposure, KFX_EXPOSE_NONE);
    kfx_config_clear(&c);
    assert_int_equal(parse("ingressAnnotations", "a: b", &c, &err), 0);
    kfx_config_copy(&copy, &c);
    kfx_config_clear(&c);
    assert_string_equal(kfx_json_str(copy.ingress_annotations, "a"), "b");
    kfx_config_clear(&copy);
    kfx_config_clear(&copy);
    assert_int_equal(kfx_config_parse(NULL, &c, &err), -1); /* a ConfigMap without data */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_typed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
