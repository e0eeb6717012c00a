/* reconcilers/test_guest.c: whole tasks of the types vcluster, k3s and ocm against an API server in memory; the test
 * writes what the plane's program would. */
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pki.h"
#include "base/yaml.h"
#include "kube/build.h"
#include "reconcilers/cluster_info.h"
#include "reconcilers/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECRETS NS "/secrets"
#define APPS "/apis/apps/v1/namespaces/cp1-system"
#define JOBS "/apis/batch/v1/namespaces/cp1-system/jobs"
#define CLUSTER_INFO "/api/v1/namespaces/kube-public/configmaps"

/* What differs between the types whose program makes its identity. */
typedef struct {
    const char *type, *users, *outside, *inside, *program, *program_key, *workload, *url, *service, *job;
} guest_t;

static const guest_t vcluster = {"vcluster",
                                 SECRETS "/vc-vcluster",
                                 "config",
                                 "config-incluster",
                                 SECRETS "/vc-vcluster-incluster",
                                 "config",
                                 APPS "/statefulsets/vcluster",
                                 "https://vcluster.cp1-system",
                                 NS "/services/vcluster-nodeport",
                                 JOBS "/update-cluster-info"};
static const guest_t ocm = {"ocm",
                            SECRETS "/multicluster-controlplane-kubeconfig",
                            "kubeconfig",
                            "kubeconfig-incluster",
                            SECRETS "/multicluster-controlplane-svc-kubeconfig",
                            "kubeconfig",
                            APPS "/deployments/multicluster-controlplane",
                            "https://multicluster-controlplane.cp1-system.svc",
                            NS "/services/multicluster-controlplane",
                            JOBS "/update-cluster-info"};
static const guest_t k3s = {"k3s",
                            SECRETS "/k3s-config",
                            "config",
                            "config-incluster",
                            NULL,
                            NULL,
                            APPS "/statefulsets/k3s-server",
                            "https://k3s.cp1-system.svc",
                            NS "/services/k3s",
                            JOBS "/k3s-bootstrap-kubeconfig"};

static void become(world_t *w, const char *type)
{
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    kfx_reconciler_clear(&w->rec);
    kfx_reconciler_init(&w->rec, kfx_type_lookup(type), &ops);
}

static char *decoded(const world_t *w, const char *secret, const char *key)
{
    const char *coded = kfx_json_str(kfx_fake_get((kfx_fake_t *)(uintptr_t)&w->api, secret), "data", key);
    size_t len;
    return coded && *coded ? kfx_base64_decode(coded, &len, NULL) : NULL;
}

static json_t *tree_of(const world_t *w, const char *secret, const char *key)
{
    KFX_FREE char *text = decoded(w, secret, key);
    json_t *tree = text ? kfx_yaml_parse(text, strlen(text), NULL) : NULL;
    if (!tree)
        fail_msg("%s has no kubeconfig in %s", secret, key);
    return tree;
}

static const json_t *cluster(const json_t *tree)
{
    return kfx_json_get(tree, "clusters", "0", "cluster");
}

static void write_text(world_t *w, const char *secret, const char *key, const char *text)
{
    json_t *object = kfx_fake_get(&w->api, secret);
    KFX_FREE char *coded = kfx_base64_encode(text, strlen(text));
    assert_non_null(object);
    kfx_json_put(object, json_string(coded), "data", key);
    kfx_fake_touch(&w->api, secret);
}

/* What the program does once its API server answers; `name` makes another identity. */
static void program_writes(world_t *w, const guest_t *g, const char *name)
{
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL}, admin = {NULL, NULL};
    kfx_cert_request_t subject = {.common_name = name, .client = true};
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_pki_authority(&subject, &ca, &err), 0);
    assert_int_equal(kfx_pki_issue(&ca, &subject, &admin, &err), 0);
    kfx_kubeconfig_t parts = {.context = "kubernetes",
                              .cluster = "kubernetes",
                              .user = name,
                              .server = "https://10.1.1.1:1",
                              .ca_pem = ca.cert,
                              .client_cert_pem = admin.cert,
                              .client_key_pem = admin.key};
    KFX_FREE char *text = kfx_kubeconfig_build(&parts, &err);
    write_text(w, g->program, g->program_key, text);
}

static void workload_ready(world_t *w, const guest_t *g)
{
    assert_non_null(kfx_fake_get(&w->api, g->workload));
    kfx_json_put(kfx_fake_get(&w->api, g->workload), json_true(), "status", "ready");
}

/* Until Ready. */
static void up(world_t *w, const guest_t *g)
{
    become(w, g->type);
    run_task(w);
    if (g->program)
        program_writes(w, g, "one");
    workload_ready(w, g);
    run_task(w);
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_condition(w, "Ready", "True", "Available");
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void test_waits_for_the_program(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        const guest_t *g = guests[i];
        world_t *w = *state;
        become(w, g->type);
        run_task(w);
        assert_condition(w, "Synced", "False", "WaitingForCredentials");
        assert_condition(w, "Ready", "False", "Creating");
        /* Nothing is polled; but a workload that does not come up is looked at after a while. */
        assert_in_range(w->result.retry_after_ms, 4000, 5000);
        assert_string_equal(w->result.secret_name, "");
        /* The program finds both Secrets, with data in them: multicluster-controlplane ends where it finds none. */
        assert_true(json_object_size(kfx_json_get(kfx_fake_get(&w->api, g->users), "data")) > 0);
        assert_true(json_object_size(kfx_json_get(kfx_fake_get(&w->api, g->program), "data")) > 0);
        kfx_fake_forget_log(&w->api);
        run_task(w);
        assert_int_equal(kfx_fake_count(&w->api, "APPLY") + kfx_fake_count(&w->api, "POST"), 0);
        program_writes(w, g, "one");
        run_task(w);
        assert_condition(w, "Synced", "True", "ReconcileSuccess");
        assert_string_equal(w->result.secret_in_cluster_key, g->inside);
        run_as(w, UID, true);
        assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
        world_teardown(state);
        world_setup(state);
    }
}

static void test_kubeconfigs(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm, &k3s};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        const guest_t *g = guests[i];
        world_t *w = *state;
        set_config(w, "externalAddress", "10.0.0.9");
        up(w, g);
        KFX_JSON json_t *inside = tree_of(w, g->users, g->inside);
        KFX_JSON json_t *outside = tree_of(w, g->users, g->outside);
        assert_string_equal(kfx_json_str(cluster(inside), "server"), g->url);
        assert_string_equal(kfx_json_str(cluster(outside), "server"), "https://10.0.0.9:9443");
        assert_string_equal(kfx_json_str(cluster(outside), "tls-server-name"), "cp1.localtest.me");
        assert_string_equal(kfx_json_str(inside, "current-context"), "cp1");
        assert_non_null(kfx_json_get(inside, "users", "0", "user", "client-key-data"));
        assert_string_equal(w->result.secret_name, strrchr(g->users, '/') + 1);
        assert_string_equal(w->result.secret_key, g->outside);
        assert_string_equal(w->result.secret_in_cluster_key, g->inside);
        world_teardown(state);
        world_setup(state);
    }
}

static void test_quiet_once_up(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm, &k3s};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        world_t *w = *state;
        kfx_fake_t inside;
        kfx_fake_init(&inside);
        w->api.remote = &inside;
        up(w, guests[i]);
        kfx_fake_forget_log(&w->api);
        become(w, guests[i]->type); /* another process */
        run_task(w);
        run_task(w);
        assert_condition(w, "Ready", "True", "Available");
        for (size_t v = 0; v < 5; v++)
            assert_int_equal(kfx_fake_count(&w->api, ((const char *[]){"APPLY", "POST", "PATCH", "DELETE", "PUT"})[v]),
                             0);
        kfx_fake_clear(&inside);
        world_teardown(state);
        world_setup(state);
    }
}

static void test_drift(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        const guest_t *g = guests[i];
        world_t *w = *state;
        up(w, g);
        KFX_FREE char *good = decoded(w, g->users, g->inside);
        KFX_JSON json_t *good_tree = kfx_yaml_parse(good, strlen(good), NULL);
        kfx_fake_delete(&w->api, g->users);
        run_task(w);
        KFX_FREE char *back = decoded(w, g->users, g->inside);
        assert_string_equal(back, good);
        /* Its program starts again and writes what it thinks. */
        write_text(w, g->users, g->outside, "rubbish");
        json_object_set_new(kfx_fake_get(&w->api, g->users), "drifted", json_true());
        run_task(w);
        KFX_JSON json_t *outside = tree_of(w, g->users, g->outside);
        assert_string_equal(kfx_json_str(cluster(outside), "server"), "https://cp1.localtest.me:9443");
        /* The program's own loses its content: it is given back, by a process that knows nothing too. */
        kfx_fake_delete(&w->api, g->program);
        become(w, g->type);
        run_task(w);
        run_task(w);
        KFX_JSON json_t *returned = tree_of(w, g->program, g->program_key);
        assert_true(
            json_equal(kfx_json_get(returned, "users", "0", "user"), kfx_json_get(good_tree, "users", "0", "user")));
        assert_condition(w, "Synced", "True", "ReconcileSuccess");
        /* A new identity of the program reaches the users. */
        program_writes(w, g, "two");
        run_task(w);
        KFX_FREE char *other = decoded(w, g->users, g->inside);
        assert_string_not_equal(other, good);
        world_teardown(state);
        world_setup(state);
    }
}

static const char *annotation(world_t *w, const guest_t *g, const char *name)
{
    const char *found =
        kfx_json_str(kfx_fake_get(&w->api, g->workload), "spec", "template", "metadata", "annotations", name);
    return found ? found : "";
}

#define RESTARTED "kflex.kubestellar.org/restarted-for"
#define ACCOUNT_UID "kflex.kubestellar.org/account-uid"

/* Nobody has the credentials any more but the program, which writes them when it starts. */
static void test_both_secrets_lost(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        const guest_t *g = guests[i];
        world_t *w = *state;
        up(w, g);
        kfx_fake_delete(&w->api, g->users);
        kfx_fake_delete(&w->api, g->program);
        run_task(w);
        assert_condition(w, "Synced", "False", "WaitingForCredentials");
        assert_says(w, "is started again");
        assert_condition(w, "Ready", "False", "Unavailable");
        assert_string_equal(annotation(w, g, RESTARTED),
                            kfx_json_str(kfx_fake_get(&w->api, g->program), "metadata", "uid"));
        KFX_FREE char *first = kfx_xstrdup(annotation(w, g, RESTARTED));
        kfx_json_put(kfx_fake_get(&w->api, g->workload), json_true(), "status", "rolling");
        kfx_fake_forget_log(&w->api);
        run_task(w);
        assert_int_equal(kfx_fake_count(&w->api, "PATCH"), 0);
        kfx_json_put(kfx_fake_get(&w->api, g->workload), json_false(), "status", "rolling");
        become(w, g->type); /* another process, before the program has written: asks for nothing new */
        run_task(w);
        assert_string_equal(annotation(w, g, RESTARTED), first);
        program_writes(w, g, "one");
        run_task(w);
        run_task(w);
        assert_condition(w, "Synced", "True", "ReconcileSuccess");
        assert_condition(w, "Ready", "True", "Available");
        world_teardown(state);
        world_setup(state);
    }
}

/* A plane that has never been Ready: its program is given time before it is started again. */
static void test_first_credentials_take_time(void **state)
{
    world_t *w = *state;
    become(w, "vcluster");
    run_task(w);
    workload_ready(w, &vcluster);
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForCredentials");
    assert_string_equal(annotation(w, &vcluster, RESTARTED), "");
    assert_in_range(w->result.retry_after_ms, 50000, 60000);
}

/* The token of a pod ends with its ServiceAccount. */
static void test_new_account(void **state)
{
    static const struct {
        const guest_t *guest;
        const char *account;
    } cases[] = {{&vcluster, NS "/serviceaccounts/vc-vcluster"},
                 {&ocm, NS "/serviceaccounts/multicluster-controlplane-sa"}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        world_t *w = *state;
        up(w, cases[i].guest);
        KFX_FREE char *before = kfx_xstrdup(annotation(w, cases[i].guest, ACCOUNT_UID));
        assert_string_equal(before, kfx_json_str(kfx_fake_get(&w->api, cases[i].account), "metadata", "uid"));
        kfx_fake_delete(&w->api, cases[i].account);
        run_task(w);
        assert_string_not_equal(annotation(w, cases[i].guest, ACCOUNT_UID), before);
        assert_string_equal(annotation(w, cases[i].guest, ACCOUNT_UID),
                            kfx_json_str(kfx_fake_get(&w->api, cases[i].account), "metadata", "uid"));
        world_teardown(state);
        world_setup(state);
    }
}

/* Running pods are exchanged with a place only; what else is out of date is not held up by that. */
static void test_waits_for_its_turn(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm, &k3s};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        const guest_t *g = guests[i];
        world_t *w = *state;
        w->no_place = true;
        up(w, g); /* first pods need none */
        assert_false(w->result.wants_place || w->result.keeps_place);
        KFX_JSON json_t *before = json_deep_copy(kfx_json_get(kfx_fake_get(&w->api, g->workload), "spec"));
        set_config(w, i == 0 ? "vclusterImage" : i == 1 ? "ocmImage" : "k3sImage", "example.com/new:1");
        run_task(w);
        assert_true(w->result.wants_place && !w->result.keeps_place);
        assert_null(condition(w, "Synced")); /* the watcher says whether it has to wait */
        assert_condition(w, "Ready", "True", "Available");
        assert_string_equal(w->result.secret_key, g->outside);
        assert_true(json_equal(before, kfx_json_get(kfx_fake_get(&w->api, g->workload), "spec")));
        kfx_fake_delete(&w->api, g->users);
        run_task(w);
        KFX_JSON json_t *back = tree_of(w, g->users, g->inside);
        w->no_place = false;
        run_task(w);
        assert_condition(w, "Synced", "True", "ReconcileSuccess");
        assert_true(w->result.keeps_place && !w->result.wants_place);
        assert_false(json_equal(before, kfx_json_get(kfx_fake_get(&w->api, g->workload), "spec")));
        kfx_json_put(kfx_fake_get(&w->api, g->workload), json_true(), "status", "rolling");
        run_task(w);
        assert_true(w->result.keeps_place);
        kfx_json_put(kfx_fake_get(&w->api, g->workload), json_false(), "status", "rolling");
        run_task(w);
        assert_false(w->result.keeps_place || w->result.wants_place);
        world_teardown(state);
        world_setup(state);
    }
}

/* What cannot be made again cannot be changed either, and does not get out of sight. */
static void test_made_once(void **state)
{
    static const struct {
        const guest_t *guest;
        const char *secret;
    } cases[] = {{&ocm, SECRETS "/controlplane-ca"}, {&k3s, SECRETS "/k3s-certs"}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        world_t *w = *state;
        up(w, cases[i].guest);
        json_t *secret = kfx_fake_get(&w->api, cases[i].secret);
        assert_true(kfx_json_bool(secret, false, "immutable"));
        KFX_JSON json_t *data = json_deep_copy(json_object_get(secret, "data"));
        json_object_clear(kfx_json_get(secret, "metadata", "labels"));
        run_task(w);
        assert_string_equal(kfx_json_str(secret, "metadata", "labels", KFX_LABEL_PLANE), "cp1");
        assert_true(json_equal(data, json_object_get(secret, "data")));
        assert_condition(w, "Synced", "True", "ReconcileSuccess");
        world_teardown(state);
        world_setup(state);
    }
}

/* The certificate of an OCM plane has one name for users: by another address they ask for it. */
static void test_one_name(void **state)
{
    world_t *w = *state;
    set_config(w, "exposure", "nodeport");
    up(w, &ocm);
    KFX_JSON json_t *outside = tree_of(w, ocm.users, ocm.outside);
    assert_string_equal(kfx_json_str(cluster(outside), "server"), "https://kubeflex-control-plane:30007");
    assert_string_equal(kfx_json_str(cluster(outside), "tls-server-name"), "cp1.localtest.me");
    set_config(w, NULL, NULL);
    run_task(w);
    KFX_JSON json_t *named = tree_of(w, ocm.users, ocm.outside);
    assert_string_equal(kfx_json_str(cluster(named), "server"), "https://cp1.localtest.me:9443");
    assert_null(kfx_json_get(cluster(named), "tls-server-name"));
}

/* ---- hostile content -------------------------------------------------------------------------------------------- */

static const char *const hostile[] = {
    "",
    "{",
    "a: [",
    "clusters: {}\n",
    "current-context: c\n",
    "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: "
    "'https://10.0.0.1'}}]\nusers: [{name: u, user: {exec: {command: /bin/sh, apiVersion: v1}}}]\n",
    "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: "
    "'https://10.0.0.1', certificate-authority: /etc/passwd}}]\nusers: [{name: u, user: {token: t}}]\n",
    "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: "
    "'https://10.0.0.1', insecure-skip-tls-verify: true}}]\nusers: [{name: u, user: {token: t}}]\n",
    "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: "
    "'https://10.0.0.1'}}]\nusers: [{name: u, user: {tokenFile: /var/run/secrets/token}}]\n",
};

/* Tenants cannot write there, but whoever can must not have us run, read or trust anything. */
static void test_hostile_program(void **state)
{
    world_t *w = *state;
    become(w, "vcluster");
    run_task(w);
    workload_ready(w, &vcluster);
    for (size_t i = 0; i < KFX_COUNT(hostile); i++) {
        write_text(w, vcluster.program, "config", hostile[i]);
        run_task(w);
        assert_condition(w, "Synced", "False", "WaitingForCredentials");
        assert_int_equal(w->api.dials, 0);
    }
}

static void test_hostile_users(void **state)
{
    world_t *w = *state;
    up(w, &vcluster);
    for (size_t i = 0; i < KFX_COUNT(hostile); i++) {
        int dials = w->api.dials;
        write_text(w, vcluster.users, "config-incluster", hostile[i]); /* before anybody has told us */
        run_task(w);
        assert_condition(w, "Ready", "False", "Unavailable");
        assert_int_equal(w->api.dials, dials);
    }
    json_object_set_new(kfx_fake_get(&w->api, vcluster.users), "drifted", json_true());
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
}

/* Whatever address the Secret has: asked is the plane's own Service. */
static void test_asks_its_own_service(void **state)
{
    world_t *w = *state;
    become(w, "vcluster");
    run_task(w);
    kfx_json_put(kfx_fake_get(&w->api, vcluster.service), json_string("10.96.7.7"), "spec", "clusterIP");
    kfx_fake_touch(&w->api, vcluster.service);
    workload_ready(w, &vcluster);
    program_writes(w, &vcluster, "one");
    run_task(w);
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_string_equal(w->api.dialed_server, "https://10.96.7.7:443");
}

/* ---- Ready ------------------------------------------------------------------------------------------------------ */

static void test_ready_tells_the_truth(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm, &k3s};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        world_t *w = *state;
        up(w, guests[i]);
        w->api.refuse = KFX_E_UNAVAILABLE;
        run_task(w);
        assert_condition(w, "Ready", "False", "Unavailable");
        w->api.refuse = KFX_OK;
        run_task(w);
        assert_condition(w, "Ready", "True", "Available");
        kfx_json_put(kfx_fake_get(&w->api, guests[i]->workload), json_false(), "status", "ready");
        run_task(w);
        assert_condition(w, "Ready", "False", "Unavailable");
        world_teardown(state);
        world_setup(state);
    }
}

/* ---- cluster-info and the Job ----------------------------------------------------------------------------------- */

static const char *info_server(kfx_fake_t *inside)
{
    static char out[512];
    const char *text = kfx_json_str(kfx_fake_get(inside, CLUSTER_INFO "/cluster-info"), "data", "kubeconfig");
    KFX_JSON json_t *tree = text ? kfx_yaml_parse(text, strlen(text), NULL) : NULL;
    const char *server = kfx_json_str(cluster(tree), "server");
    kfx_copy(out, sizeof(out), server ? server : "");
    return out;
}

static void test_cluster_info_and_job(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        const guest_t *g = guests[i];
        world_t *w = *state;
        kfx_fake_t inside;
        kfx_fake_init(&inside);
        w->api.remote = &inside;
        become(w, g->type);
        run_task(w);
        kfx_json_put(kfx_fake_get(&w->api, g->service), json_pack("[{s:i}]", "nodePort", 31234), "spec", "ports");
        kfx_fake_touch(&w->api, g->service);
        program_writes(w, g, "one");
        workload_ready(w, g);
        inside.fail_at = "POST"; /* kube-public is not there yet */
        inside.fail_code = KFX_E_NOT_FOUND;
        inside.fail_status = 404;
        inside.fail_message = "no such namespace";
        run_task(w);
        assert_condition(w, "Ready", "True", "Available"); /* it can be used all the same */
        assert_in_range(w->result.retry_after_ms, 1, 1000);
        assert_null(kfx_fake_get(&w->api, g->job));
        run_task(w);
        assert_string_equal(info_server(&inside), "https://kubeflex-control-plane:31234");
        assert_true(kfx_json_bool(kfx_fake_get(&inside, CLUSTER_INFO "/cluster-info"), false, "immutable"));
        assert_int_equal(kfx_json_int(kfx_fake_get(&w->api, g->job), -1, "spec", "completions"), 0);
        kfx_fake_forget_log(&inside);
        run_task(w);
        assert_int_equal(kfx_fake_count(&inside, "POST"), 0);
        /* Somebody changes it: it is immutable, so it is made anew. */
        json_t *existing = kfx_fake_get(&inside, CLUSTER_INFO "/cluster-info");
        kfx_json_put(existing, json_string("clusters: [{name: '', cluster: {server: 'https://else'}}]\n"), "data",
                     "kubeconfig");
        run_task(w);
        assert_string_equal(info_server(&inside), "https://kubeflex-control-plane:31234");
        kfx_fake_clear(&inside);
        world_teardown(state);
        world_setup(state);
    }
}

static void test_cluster_info_edit(void **state)
{
    static const kfx_cluster_info_t info = {"https://c", NULL, "PEM"}, named = {"https://c", "name", "PEM"};
    kfx_error_t err = KFX_ERROR_INIT;
    (void)state;
    KFX_JSON json_t *existing =
        json_pack("{s:{s:s, s:s}, s:{s:s, s:s}}", "metadata", "name", "cluster-info", "uid", "u", "data", "kubeconfig",
                  "apiVersion: v1\nclusters:\n- name: other\n  cluster: {server: 'https://a'}\n- name: ''\n  cluster: "
                  "{server: 'https://b', certificate-authority-data: Q0E=}\n",
                  "jws-kubeconfig-x", "signature");
    KFX_JSON json_t *out = kfx_cluster_info_edit(existing, &info, &err);
    assert_non_null(out);
    const char *text = kfx_json_str(out, "data", "kubeconfig");
    KFX_JSON json_t *tree = kfx_yaml_parse(text, strlen(text), &err);
    assert_string_equal(kfx_json_str(tree, "clusters", "1", "cluster", "server"), "https://c");
    assert_string_equal(kfx_json_str(tree, "clusters", "1", "cluster", "certificate-authority-data"), "Q0E=");
    assert_string_equal(kfx_json_str(tree, "clusters", "0", "cluster", "server"), "https://a");
    assert_string_equal(kfx_json_str(out, "data", "jws-kubeconfig-x"), "signature");
    assert_null(kfx_json_get(out, "metadata", "uid"));
    assert_false(kfx_json_bool(out, false, "immutable"));
    assert_null(kfx_cluster_info_edit(out, &info, &err));
    assert_int_equal(err.code, KFX_OK);
    KFX_JSON json_t *other = kfx_cluster_info_edit(out, &named, &err);
    assert_non_null(strstr(kfx_json_str(other, "data", "kubeconfig"), "tls-server-name: name"));
    KFX_JSON json_t *back = kfx_cluster_info_edit(other, &info, &err);
    assert_null(strstr(kfx_json_str(back, "data", "kubeconfig"), "tls-server-name"));
    KFX_JSON json_t *broken = json_pack("{s:{s:s}}", "data", "kubeconfig", "a: [");
    assert_null(kfx_cluster_info_edit(broken, &info, &err));
    assert_int_not_equal(err.code, KFX_OK);
}

/* ---- k3s -------------------------------------------------------------------------------------------------------- */

static void test_k3s_identity(void **state)
{
    world_t *w = *state;
    static const char certs[] = SECRETS "/k3s-certs";
    up(w, &k3s);
    KFX_FREE char *ca = decoded(w, certs, "server-ca.crt");
    KFX_FREE char *password = decoded(w, certs, "token");
    KFX_FREE char *token = decoded(w, k3s.users, "token");
    char hex[KFX_SHA256_HEX_SIZE];
    kfx_sha256_hex(ca, strlen(ca), hex);
    KFX_FREE char *expected = kfx_xasprintf("K10%s::server:%s", hex, password);
    assert_string_equal(token, expected);
    const char *first = kfx_json_str(kfx_fake_get(&w->api, k3s.workload), "spec", "template", "metadata", "annotations",
                                     "kflex.kubestellar.org/ca-hash");
    KFX_FREE char *before = kfx_xstrdup(first);
    KFX_FREE char *config = decoded(w, k3s.users, "config");
    /* Users' Secret is issued again from the same authorities. */
    kfx_fake_delete(&w->api, k3s.users);
    run_task(w);
    KFX_FREE char *again = decoded(w, k3s.users, "config");
    assert_non_null(again);
    KFX_JSON json_t *a = kfx_yaml_parse(config, strlen(config), NULL), *b = kfx_yaml_parse(again, strlen(again), NULL);
    assert_true(json_equal(kfx_json_get(a, "clusters"), kfx_json_get(b, "clusters")));
    /* Without them it is another plane: the pod is exchanged, the kubeconfigs are new. */
    kfx_fake_delete(&w->api, certs);
    run_task(w);
    assert_string_not_equal(before, kfx_json_str(kfx_fake_get(&w->api, k3s.workload), "spec", "template", "metadata",
                                                 "annotations", "kflex.kubestellar.org/ca-hash"));
    KFX_FREE char *other = decoded(w, k3s.users, "config");
    assert_string_not_equal(other, again);
}

/* S-01, B-04: nothing of one k3s plane is another's, and nothing is cluster-wide. */
static void test_nothing_cluster_wide(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm, &k3s};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        world_t *w = *state;
        up(w, guests[i]);
        assert_int_equal(kfx_fake_count(&w->api, "clusterrole"), 0);
        world_teardown(state);
        world_setup(state);
    }
}

/* ---- manifests -------------------------------------------------------------------------------------------------- */

static kfx_config_t config_of(const char *key, const char *value)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_config_t config;
    KFX_JSON json_t *data = json_pack("{s:s, s:s}", "domain", "localtest.me", "externalPort", "9443");
    if (key)
        json_object_set_new(data, key, json_string(value));
    assert_int_equal(kfx_config_parse(data, &config, &err), 0);
    return config;
}

static json_t *rendered(const char *type, const kfx_config_t *config, const char *kind)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *list = kfx_type_lookup(type)->render("cp1", config, &err);
    size_t i;
    json_t *object;
    if (!list)
        fail_msg("%s: %s", type, err.msg);
    json_array_foreach (list, i, object)
        if (strcmp(kfx_json_str(object, "kind"), kind) == 0)
            return json_incref(object);
    return NULL;
}

static void assert_confined(const json_t *container)
{
    const json_t *context = kfx_json_get(container, "securityContext");
    assert_false(kfx_json_bool(context, true, "allowPrivilegeEscalation"));
    assert_true(kfx_json_bool(context, false, "readOnlyRootFilesystem"));
    assert_string_equal(kfx_json_str(context, "capabilities", "drop", "0"), "ALL");
    assert_null(kfx_json_get(context, "privileged"));
}

/* B-03, B-21, S-05, S-13: no root, no privileges, and OpenShift chooses the user. */
static void test_confined(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm, &k3s};
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        const char *kind = strstr(guests[i]->workload, "statefulsets") ? "StatefulSet" : "Deployment";
        KFX_CLEANUP(kfx_config_clear)
        kfx_config_t plain = config_of(NULL, NULL), openshift = config_of("isOpenShift", "true");
        KFX_JSON json_t *workload = rendered(guests[i]->type, &plain, kind);
        KFX_JSON json_t *there = rendered(guests[i]->type, &openshift, kind);
        const json_t *pod = kfx_json_get(workload, "spec", "template", "spec");
        assert_true(kfx_json_bool(pod, false, "securityContext", "runAsNonRoot"));
        assert_true(kfx_json_int(pod, 0, "securityContext", "runAsUser") > 0);
        assert_string_equal(kfx_json_str(pod, "securityContext", "seccompProfile", "type"), "RuntimeDefault");
        assert_null(kfx_json_get(there, "spec", "template", "spec", "securityContext", "runAsUser"));
        for (size_t c = 0; c < json_array_size(kfx_json_get(pod, "containers")); c++)
            assert_confined(json_array_get(kfx_json_get(pod, "containers"), c));
        for (size_t c = 0; c < json_array_size(kfx_json_get(pod, "initContainers")); c++)
            assert_confined(json_array_get(kfx_json_get(pod, "initContainers"), c));
        KFX_JSON json_t *route = rendered(guests[i]->type, &openshift, "Route");
        KFX_JSON json_t *ingress = rendered(guests[i]->type, &plain, "Ingress");
        assert_non_null(route);
        assert_non_null(ingress);
    }
}

static void test_vcluster_binaries(void **state)
{
    (void)state;
    KFX_CLEANUP(kfx_config_clear)
    kfx_config_t with = config_of(NULL, NULL), without = config_of("vclusterKubernetesImage", "none");
    KFX_JSON json_t *a = rendered("vcluster", &with, "StatefulSet");
    KFX_JSON json_t *b = rendered("vcluster", &without, "StatefulSet");
    const json_t *init = kfx_json_get(a, "spec", "template", "spec", "initContainers", "0");
    assert_string_equal(kfx_json_str(init, "image"), "ghcr.io/loft-sh/kubernetes:v1.36.0");
    assert_string_equal(kfx_json_str(init, "volumeMounts", "0", "name"), "binaries");
    assert_int_equal(json_array_size(kfx_json_get(b, "spec", "template", "spec", "initContainers")), 0);
    assert_int_equal(json_array_size(kfx_json_get(a, "spec", "template", "spec", "volumes")),
                     json_array_size(kfx_json_get(b, "spec", "template", "spec", "volumes")) + 1);
}

static void test_vcluster_config(void **state)
{
    world_t *w = *state;
    become(w, "vcluster");
    run_task(w);
    KFX_JSON json_t *config = tree_of(w, SECRETS "/vc-config-vcluster", "config.yaml");
    assert_string_equal(kfx_json_str(config, "exportKubeConfig", "server"), "https://cp1.localtest.me:9443");
    assert_string_equal(kfx_json_str(config, "exportKubeConfig", "additionalSecrets", "0", "server"), vcluster.url);
    size_t found = 0, i;
    json_t *san;
    json_array_foreach (kfx_json_get(config, "controlPlane", "proxy", "extraSANs"), i, san)
        found += strcmp(json_string_value(san), "vcluster.cp1-system.svc") == 0 ||
                 strcmp(json_string_value(san), "cp1.localtest.me") == 0 ||
                 strcmp(json_string_value(san), "kubeflex-control-plane") == 0;
    assert_int_equal(found, 3);
    /* A changed name reaches the program by an exchange of its pod. */
    const char *path[] = {"spec", "template", "metadata", "annotations", "kflex.kubestellar.org/config-hash"};
    KFX_FREE char *before = kfx_xstrdup(
        kfx_json_str(kfx_fake_get(&w->api, vcluster.workload), path[0], path[1], path[2], path[3], path[4]));
    set_config(w, "domain", "example.com");
    run_task(w);
    assert_string_not_equal(
        before, kfx_json_str(kfx_fake_get(&w->api, vcluster.workload), path[0], path[1], path[2], path[3], path[4]));
}

/* Planes of the Go operator, vCluster 0.16.4 among them, are left as they are. */
static void test_foreign_workload(void **state)
{
    static const guest_t *const guests[] = {&vcluster, &ocm, &k3s};
    for (size_t i = 0; i < KFX_COUNT(guests); i++) {
        world_t *w = *state;
        up(w, guests[i]);
        json_t *workload = kfx_fake_get(&w->api, guests[i]->workload);
        json_object_del(kfx_json_get(workload, "metadata", "annotations"), KFX_ANNOTATION_HASH);
        json_object_del(kfx_json_get(workload, "metadata"), "managedFields");
        kfx_fake_touch(&w->api, guests[i]->workload);
        kfx_fake_forget_log(&w->api);
        run_task(w);
        assert_condition(w, "Synced", "False", "TakeoverPending");
        assert_null(condition(w, "Ready"));
        assert_int_equal(kfx_fake_count(&w->api, "APPLY"), 0);
        world_teardown(state);
        world_setup(state);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waits_for_the_program),
        TEST(test_kubeconfigs),
        TEST(test_quiet_once_up),
        TEST(test_drift),
        TEST(test_both_secrets_lost),
        TEST(test_first_credentials_take_time),
        TEST(test_new_account),
        TEST(test_waits_for_its_turn),
        TEST(test_made_once),
        TEST(test_hostile_program),
        TEST(test_hostile_users),
        TEST(test_asks_its_own_service),
        TEST(test_ready_tells_the_truth),
        TEST(test_cluster_info_and_job),
        TEST(test_cluster_info_edit),
        TEST(test_k3s_identity),
        TEST(test_nothing_cluster_wide),
        TEST(test_confined),
        TEST(test_vcluster_binaries),
        TEST(test_vcluster_config),
        TEST(test_foreign_workload),
        TEST(test_one_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
