/* reconcilers/test_run_config.c: whole tasks while ConfigMap kubeflex-config changes, is wrong or is away. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The off-cluster kubeconfig leads there. */
static void assert_server(const world_t *w, const char *url)
{
    size_t len;
    kfx_fake_t *api = (kfx_fake_t *)(uintptr_t)&w->api;
    KFX_FREE char *text = kfx_base64_decode(
        kfx_json_str(kfx_fake_get(api, NS "/secrets/admin-kubeconfig"), "data", "kubeconfig"), &len, NULL);
    KFX_FREE char *line = kfx_xasprintf("server: %s\n", url);
    assert_non_null(text);
    if (!strstr(text, line))
        fail_msg("no \"%s\" in: %s", line, text);
}

static json_t *serving_cert(world_t *w)
{
    return json_incref(kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"), "data", "apiserver.crt"));
}

static void test_config_change_reissues(void **state)
{
    world_t *w = *state;
    bring_up(w);
    json_t *ca = json_incref(kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"), "data", "ca.crt"));
    json_t *serving =
        json_incref(kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"), "data", "apiserver.crt"));
    json_t *cm = json_incref(kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/cm-kubeconfig"), "data", "kubeconfig"));
    set_config(w, "externalAddress", "192.0.2.9");
    kfx_fake_forget_log(&w->api);
    run_task(w);
    const json_t *certs = kfx_fake_get(&w->api, NS "/secrets/k8s-certs");
    assert_true(json_equal(ca, kfx_json_get(certs, "data", "ca.crt")));
    assert_false(json_equal(serving, kfx_json_get(certs, "data", "apiserver.crt")));
    assert_true(json_equal(cm, kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/cm-kubeconfig"), "data", "kubeconfig")));
    assert_int_equal(kfx_fake_count(&w->api, "PATCH"), 2);
    assert_int_equal(kfx_fake_count(&w->api, "APPLY"), 0); /* no pod restarts for it */
    json_decref(ca);
    json_decref(serving);
    json_decref(cm);
}

static void test_exposure_change_prunes(void **state)
{
    world_t *w = *state;
    bring_up(w);
    set_config(w, "exposure", "none");
    run_task(w);
    assert_true(kfx_object_terminating(
        kfx_fake_get(&w->api, "/apis/networking.k8s.io/v1/namespaces/cp1-system/ingresses/cp1")));
    assert_string_equal(kfx_json_str(kfx_fake_get(&w->api, NS "/services/cp1"), "spec", "type"), "ClusterIP");
}

static void test_openshift_waits_for_host(void **state)
{
    world_t *w = *state;
    set_config(w, "isOpenShift", "true");
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_int_equal(w->result.retry_after_ms, 0); /* the router's write is an event */
    json_t *route = kfx_fake_get(&w->api, "/apis/route.openshift.io/v1/namespaces/cp1-system/routes/cp1");
    assert_non_null(route);
    kfx_json_put(route, json_string("cp1.apps.example.com"), "spec", "host");
    run_task(w);
    size_t len;
    KFX_FREE char *text = kfx_base64_decode(
        kfx_json_str(kfx_fake_get(&w->api, NS "/secrets/admin-kubeconfig"), "data", "kubeconfig"), &len, NULL);
    assert_non_null(strstr(text, "server: https://cp1.apps.example.com\n"));
}

static void test_bad_config(void **state)
{
    world_t *w = *state;
    set_config(w, "externalPort", "many");
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidConfig");
    assert_says(w, "externalPort");
    kfx_fake_forget_log(&w->api);
    run_task(w); /* remembered as wrong */
    assert_int_equal(kfx_fake_count(&w->api, "configmaps"), 0);
    set_config(w, NULL, NULL);
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForStorage");
    kfx_fake_delete(&w->api, "/api/v1/namespaces/kubeflex-system/configmaps/kubeflex-config");
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidConfig");
    assert_says(w, "create it");
    assert_int_equal(w->result.retry_after_ms, 0); /* its creation is an event */
}

/* A plane that runs is told apart from one that does not, whatever the configuration says. */
static void test_bad_config_while_running(void **state)
{
    world_t *w = *state;
    bring_up(w);
    set_config(w, "exposure", "everywhere");
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidConfig");
    assert_says(w, "exposure");
    assert_condition(w, "Ready", "True", "Available");
    assert_string_equal(w->result.secret_name, "admin-kubeconfig");
    assert_int_equal(w->result.written_count, 0);
    assert_in_range(w->result.retry_after_ms, 28000, 58000); /* the next probe */
    w->api.probe_rc = -1;
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    assert_condition(w, "Synced", "False", "InvalidConfig");
    w->api.probe_rc = 0;
    set_config(w, NULL, NULL);
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_int_equal(kfx_fake_count(&w->api, "APPLY") + kfx_fake_count(&w->api, "PATCH"), 0);
}

/* What changes no object causes one read of the ConfigMap in all, and no write. */
static void test_config_change_without_effect(void **state)
{
    world_t *w = *state;
    bring_up(w);
    set_config(w, "kubernetesVersion", "v1.35.0"); /* of new planes */
    kfx_fake_forget_log(&w->api);
    run_task(w);
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_int_equal(kfx_fake_count(&w->api, "GET"), 1);
    assert_int_equal(kfx_fake_count(&w->api, "/"), 1);
}

/* Running pods are exchanged with a place only, and the place is kept while that goes on: by what the digest shows, so
 * that it is the same for another worker. */
static void test_rollout_waits_for_its_turn(void **state)
{
    world_t *w = *state;
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    w->no_place = true;
    bring_up(w); /* first pods need none */
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_false(w->result.wants_place || w->result.keeps_place);
    set_config(w, "resourceProfile", "small");
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_true(w->result.wants_place && !w->result.keeps_place);
    assert_null(condition(w, "Synced"));               /* the watcher says whether it has to wait */
    assert_condition(w, "Ready", "True", "Available"); /* the pods run on */
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_in_range(w->result.retry_after_ms, 28000, 58000); /* no timer but the next probe's */
    assert_int_equal(kfx_fake_count(&w->api, "APPLY"), 0);

    w->no_place = false;
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_int_equal(kfx_fake_count(&w->api, "APPLY"), 2);
    assert_true(w->result.keeps_place && !w->result.wants_place);
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_true(), "status", "rolling");
    kfx_reconciler_clear(&w->rec); /* its worker dies; another one goes on */
    kfx_reconciler_init(&w->rec, kfx_type_lookup("k8s"), &ops);
    run_task(w);
    assert_true(w->result.keeps_place);
    assert_condition(w, "Ready", "True", "Available"); /* the old pod answers */
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_true(), "status", "stuck");
    run_task(w);
    assert_false(w->result.keeps_place || w->result.wants_place);
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_pack("{s:b}", "ready", 1), "status");
    run_task(w);
    assert_false(w->result.keeps_place || w->result.wants_place);
}

static void test_openshift_without_routes(void **state)
{
    world_t *w = *state;
    set_config(w, "isOpenShift", "true");
    fail_next(w, "APPLY /apis/route", KFX_E_NOT_FOUND, 404, "404 page not found");
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidConfig");
    assert_says(w, "isOpenShift");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
}

/* What the Service and the Route say later than they are made: the kubeconfig follows, and the names in the
 * certificate.
 */
static void test_late_addresses(void **state)
{
    static const char service[] = NS "/services/cp1";
    static const char route[] = "/apis/route.openshift.io/v1/namespaces/cp1-system/routes/cp1";
    world_t *w = *state;
    set_config(w, "exposure", "loadbalancer");
    bring_up(w);
    assert_server(w, "https://cp1.localtest.me:443");
    assert_condition(w, "Exposed", "False", "WaitingForAddress");
    json_t *serving = serving_cert(w);
    kfx_json_put(kfx_fake_get(&w->api, service), json_pack("[{s:s}]", "ip", "192.0.2.7"), "status", "loadBalancer",
                 "ingress");
    kfx_fake_touch(&w->api, service);
    run_task(w);
    assert_server(w, "https://192.0.2.7:443");
    assert_condition(w, "Exposed", "True", "LoadBalancer");
    json_t *again = serving_cert(w);
    assert_false(json_equal(serving, again));
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_int_equal(kfx_fake_count(&w->api, "/"), 0);

    set_config(w, "exposure", "nodeport");
    run_task(w);
    assert_server(w, "https://kubeflex-control-plane:30007");
    kfx_json_put(kfx_json_get(kfx_fake_get(&w->api, service), "spec", "ports", "0"), json_integer(30008), "nodePort");
    kfx_fake_touch(&w->api, service);
    run_task(w);
    assert_server(w, "https://kubeflex-control-plane:30008");
    assert_condition(w, "Exposed", "True", "NodePort");
    set_config(w, "exposure", "none");
    run_task(w);
    assert_condition(w, "Exposed", "False", "NotExposed");

    set_config(w, "isOpenShift", "true");
    run_task(w);
    for (int i = 0; i < 2; i++) {
        kfx_json_put(kfx_fake_get(&w->api, route), json_string(i ? "b.example.com" : "a.example.com"), "spec", "host");
        kfx_fake_touch(&w->api, route);
        run_task(w);
        assert_server(w, i ? "https://b.example.com" : "https://a.example.com");
        assert_condition(w, "Exposed", "True", "Route");
    }
    json_decref(serving);
    json_decref(again);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_config_change_reissues),
        T(test_exposure_change_prunes),
        T(test_openshift_waits_for_host),
        T(test_bad_config),
        T(test_bad_config_while_running),
        T(test_config_change_without_effect),
        T(test_rollout_waits_for_its_turn),
        T(test_openshift_without_routes),
        T(test_late_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
