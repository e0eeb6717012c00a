/* What init and upgrade apply: every file of deploy/manifests is in, put together as kustomize does. */
#include "cli/install.h"

#include "base/json.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static json_t *find(const json_t *objects, const char *kind, const char *name)
{
    size_t i;
    json_t *object;
    json_array_foreach (objects, i, object)
        if (strcmp(kfx_json_str(object, "kind"), kind) == 0 &&
            strcmp(kfx_json_str(object, "metadata", "name"), name) == 0)
            return object;
    return NULL;
}

static void test_objects(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *all = kfx_install_objects("registry/kubeflex:v9", &err);
    if (!all)
        print_error("%s\n", err.msg);
    assert_non_null(all);
    size_t i, deployments = 0;
    json_t *object;
    json_array_foreach (all, i, object) {
        assert_string_equal(kfx_json_str(object, "metadata", "labels", "app.kubernetes.io/part-of"), "kubeflex");
        if (strcmp(kfx_json_str(object, "kind"), "Deployment") != 0)
            continue;
        deployments++;
        const json_t *spec = kfx_json_get(object, "spec", "template", "spec");
        assert_string_equal(kfx_json_str(spec, "containers", "0", "image"), "registry/kubeflex:v9");
        assert_true(kfx_json_bool(spec, 0, "securityContext", "runAsNonRoot"));
        const json_t *ports = kfx_json_get(spec, "containers", "0", "ports");
        assert_string_equal(kfx_json_str(json_array_get(ports, json_array_size(ports) - 1), "name"), "health");
    }
    assert_true(deployments >= 6);
    /* The Namespace comes first: what is in it cannot be made before. */
    assert_string_equal(kfx_json_str(json_array_get(all, 0), "kind"), "Namespace");
    assert_non_null(find(all, "Deployment", "kubeflex-controller-manager"));
    assert_non_null(find(all, "ClusterRole", "kubeflex-watcher"));
    assert_non_null(find(all, "ConfigMap", "kubeflex-config"));
}

static void test_postgres(void **state)
{
    (void)state;
    KFX_JSON json_t *all = kfx_install_objects("i", NULL);
    json_t *set = find(all, "StatefulSet", "postgres-postgresql");
    assert_true(kfx_install_is_postgres(set));
    assert_false(kfx_install_is_postgres(find(all, "ConfigMap", "kubeflex-config")));
    size_t volumes = json_array_size(kfx_json_get(set, "spec", "template", "spec", "volumes"));
    kfx_install_claim_volume(set);
    assert_int_equal(json_array_size(kfx_json_get(set, "spec", "template", "spec", "volumes")), volumes - 1);
    assert_string_equal(kfx_json_str(set, "spec", "volumeClaimTemplates", "0", "metadata", "name"), "data");
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *version, *kind, *ns, *path;
    } cases[] = {
        {"v1", "Namespace", NULL, "/api/v1/namespaces/x"},
        {"apps/v1", "Deployment", "n", "/apis/apps/v1/namespaces/n/deployments/x"},
        {"networking.k8s.io/v1", "NetworkPolicy", "n", "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/x"},
        {"networking.k8s.io/v1", "Ingress", "n", "/apis/networking.k8s.io/v1/namespaces/n/ingresses/x"},
        {"scheduling.k8s.io/v1", "PriorityClass", NULL, "/apis/scheduling.k8s.io/v1/priorityclasses/x"},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        KFX_JSON json_t *object = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", cases[i].version, "kind",
                                            cases[i].kind, "metadata", "name", "x");
        if (cases[i].ns)
            kfx_json_put(object, json_string(cases[i].ns), "metadata", "namespace");
        KFX_FREE char *path = kfx_install_path(object);
        assert_string_equal(path, cases[i].path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_postgres),
        cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests_name("cli-install", tests, NULL, NULL);
}
