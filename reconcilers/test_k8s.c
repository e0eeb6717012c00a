/* reconcilers/test_k8s.c: the type k8s without requests: manifests, endpoints, versions, the plan of Secrets. */
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/front.h"
#include "reconcilers/k8s/certs.h"
#include "reconcilers/k8s/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static kfx_config_t config_of(bool openshift, kfx_exposure_t exposure, kfx_profile_t profile)
{
    return (kfx_config_t){.domain = "localtest.me",
                          .external_port = 9443,
                          .host_container = "kubeflex-control-plane",
                          .ingress_class = "nginx",
                          .openshift = openshift,
                          .exposure = exposure,
                          .profile = profile};
}

static kfx_k8s_values_t values_of(const kfx_config_t *config, const kfx_k8s_choice_t *choice)
{
    return (kfx_k8s_values_t){
        .plane = "cp1", .config = config, .choice = choice, .dsn_hash = "dsn-1", .ca_id = "0badcafe"};
}

static json_t *manifest(const char *name, const kfx_config_t *config)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_k8s_choice_t choice;
    assert_int_equal(kfx_k8s_choose("", "", "", &choice, &err), 0);
    kfx_k8s_values_t values = values_of(config, &choice);
    json_t *out = kfx_k8s_manifest(name, &values, &err);
    if (!out)
        fail_msg("%s: %s", name, err.msg);
    return out;
}

/* True where the list holds the text. */
static bool has(const json_t *list, const char *text)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item)
        if (strcmp(json_string_value(item), text) == 0)
            return true;
    return false;
}

static const char *env_of(const json_t *container, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach (kfx_json_get(container, "env"), i, item)
        if (strcmp(kfx_json_str(item, "name"), name) == 0)
            return kfx_json_str(item, "value");
    return NULL;
}

static void test_service(void **state)
{
    (void)state;
    static const char *const types[] = {"NodePort", "NodePort", "LoadBalancer", "ClusterIP"};
    for (int i = KFX_EXPOSE_INGRESS; i <= KFX_EXPOSE_NONE; i++) {
        kfx_config_t config = config_of(false, (kfx_exposure_t)i, KFX_PROFILE_DEFAULT);
        KFX_JSON json_t *s = manifest("service", &config);
        assert_string_equal(kfx_json_str(s, "metadata", "name"), "cp1");
        assert_string_equal(kfx_json_str(s, "spec", "type"), types[i]);
        assert_string_equal(kfx_json_str(s, "spec", "selector", "app"), "kube-apiserver");
        assert_int_equal(json_array_size(kfx_json_get(s, "spec", "ports")), 1);
        assert_string_equal(kfx_json_str(s, "spec", "ports", "0", "name"), "https");
        assert_int_equal(kfx_json_int(s, 0, "spec", "ports", "0", "port"), 443);
        assert_int_equal(kfx_json_int(s, 0, "spec", "ports", "0", "targetPort"), 9444);
    }
}

static json_t *entry(const kfx_config_t *config)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *list = json_array();
    assert_int_equal(kfx_front_render(list, "cp1", "api", config, &err), 0);
    assert_int_equal(json_array_size(list), 1);
    return json_incref(json_array_get(list, 0));
}

static void test_ingress(void **state)
{
    (void)state;
    static const char passthrough[] = "nginx.ingress.kubernetes.io/ssl-passthrough";
    kfx_config_t config = config_of(false, KFX_EXPOSE_INGRESS, KFX_PROFILE_DEFAULT);
    KFX_JSON json_t *plain = entry(&config);
    const json_t *rule = kfx_json_get(plain, "spec", "rules", "0");
    assert_string_equal(kfx_json_str(plain, "spec", "ingressClassName"), "nginx");
    assert_string_equal(kfx_json_str(plain, "metadata", "annotations", passthrough), "true");
    assert_string_equal(kfx_json_str(rule, "host"), "cp1.localtest.me");
    assert_string_equal(kfx_json_str(rule, "http", "paths", "0", "pathType"), "Prefix");
    assert_int_equal(kfx_json_int(rule, 0, "http", "paths", "0", "backend", "service", "port", "number"), 443);
    assert_string_equal(kfx_json_str(rule, "http", "paths", "0", "backend", "service", "name"), "api");
    assert_null(kfx_json_get(plain, "spec", "tls"));
    config.ingress_annotations = json_pack("{s:s}", "a", "b: ${plane}");
    KFX_JSON json_t *more = entry(&config);
    assert_string_equal(kfx_json_str(more, "metadata", "annotations", "a"), "b: ${plane}");
    assert_string_equal(kfx_json_str(more, "metadata", "annotations", passthrough), "true");
    kfx_config_clear(&config);
    config.openshift = true;
    KFX_JSON json_t *route = entry(&config);
    assert_string_equal(kfx_json_str(route, "spec", "to", "name"), "api");
    assert_string_equal(kfx_json_str(route, "spec", "tls", "termination"), "passthrough");
    assert_string_equal(kfx_json_str(route, "spec", "port", "targetPort"), "https");
    assert_null(kfx_json_get(route, "spec", "host"));
}

/* What must hold for each container of ours in a tenant Namespace (S-13). */
static void assert_confined(const json_t *container, const char *added)
{
    const json_t *context = kfx_json_get(container, "securityContext");
    assert_false(kfx_json_bool(context, true, "allowPrivilegeEscalation"));
    assert_true(kfx_json_bool(context, false, "readOnlyRootFilesystem"));
    assert_string_equal(kfx_json_str(context, "capabilities", "drop", "0"), "ALL");
    if (added)
        assert_string_equal(kfx_json_str(context, "capabilities", "add", "0"), added);
    else
        assert_null(kfx_json_get(context, "capabilities", "add"));
    assert_non_null(kfx_json_str(container, "resources", "limits", "memory"));
    assert_null(kfx_json_get(container, "resources", "limits", "cpu"));
    assert_string_equal(kfx_json_str(container, "imagePullPolicy"), "IfNotPresent");
}

static void assert_pod(const json_t *pod, bool openshift)
{
    assert_false(kfx_json_bool(pod, true, "automountServiceAccountToken"));
    assert_false(kfx_json_bool(pod, true, "enableServiceLinks"));
    assert_null(kfx_json_get(pod, "priorityClassName"));
    assert_true(kfx_json_bool(pod, false, "securityContext", "runAsNonRoot"));
    assert_string_equal(kfx_json_str(pod, "securityContext", "seccompProfile", "type"), "RuntimeDefault");
    assert_int_equal(kfx_json_int(pod, -1, "securityContext", "runAsUser"), openshift ? -1 : 65532);
    assert_int_equal(kfx_json_int(pod, -1, "securityContext", "fsGroup"), openshift ? -1 : 65532);
}

/* The keys of Secret k8s-certs that a pod mounts. */
static json_t *mounted(const json_t *pod)
{
    size_t i, k;
    json_t *volume, *item, *out = json_array();
    json_array_foreach (kfx_json_get(pod, "volumes"), i, volume) {
        const char *name = kfx_json_str(volume, "secret", "secretName");
        if (!name || strcmp(name, "k8s-certs") != 0)
            continue;
        assert_non_null(kfx_json_get(volume, "secret", "items")); /* never the whole Secret */
        json_array_foreach (kfx_json_get(volume, "secret", "items"), k, item)
            json_array_append(out, json_object_get(item, "key"));
    }
    return out;
}

static void check_apiserver(const kfx_config_t *config)
{
    KFX_JSON json_t *d = manifest("kube-apiserver", config);
    const json_t *pod = kfx_json_get(d, "spec", "template", "spec");
    const json_t *kine = kfx_json_get(pod, "initContainers", "0"), *server = kfx_json_get(pod, "containers", "0");
    const json_t *command = kfx_json_get(server, "command");
    assert_string_equal(kfx_json_str(d, "metadata", "name"), "kube-apiserver");
    assert_string_equal(kfx_json_str(d, "metadata", "labels", "tier"), "control-plane");
    assert_string_equal(kfx_json_str(d, "spec", "selector", "matchLabels", "app"), "kube-apiserver");
    assert_int_equal(json_object_size(kfx_json_get(d, "spec", "selector", "matchLabels")), 1);
    assert_string_equal(kfx_json_str(d, "spec", "template", "metadata", "labels", "app"), "kube-apiserver");
    assert_string_equal(
        kfx_json_str(d, "spec", "template", "metadata", "annotations", "kflex.kubestellar.org/dsn-hash"), "dsn-1");
    assert_string_equal(kfx_json_str(d, "spec", "template", "metadata", "annotations", "kflex.kubestellar.org/ca-hash"),
                        "0badcafe");
    assert_pod(pod, config->openshift);
    assert_confined(kine, NULL);
    assert_confined(server, "NET_BIND_SERVICE");
    assert_string_equal(kfx_json_str(server, "image"), "registry.k8s.io/kube-apiserver:v1.36.3");
    assert_string_equal(kfx_json_str(kine, "image"), "docker.io/rancher/kine:v0.17.2");
    assert_string_equal(kfx_json_str(kine, "restartPolicy"), "Always");
    assert_string_equal(kfx_json_str(kine, "env", "0", "valueFrom", "secretKeyRef", "name"), "kine-dsn");
    assert_true(has(kfx_json_get(kine, "args"), "--listen-address=unix:///run/kine/kine.sock")); /* S-02 */
    assert_true(has(kfx_json_get(kine, "args"), "--metrics-bind-address=0"));
    assert_true(has(command, "--etcd-servers=unix:///run/kine/kine.sock"));
    assert_true(has(command, "--secure-port=9444"));
    assert_true(has(command, "--authorization-mode=Node,RBAC"));
    assert_true(has(command, "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt"));
    assert_true(has(command, "--service-account-issuer=https://kubernetes.default.svc.cluster.local"));
    KFX_JSON json_t *keys = mounted(pod);
    assert_int_equal(json_array_size(keys), 10);
    assert_false(has(keys, "ca.key")); /* S-04 */
    assert_false(has(keys, "front-proxy-ca.key"));
}

static void check_manager(const kfx_config_t *config)
{
    KFX_JSON json_t *d = manifest("kube-controller-manager", config);
    const json_t *pod = kfx_json_get(d, "spec", "template", "spec"), *c = kfx_json_get(pod, "containers", "0");
    const json_t *command = kfx_json_get(c, "command");
    KFX_JSON json_t *keys = mounted(pod);
    assert_pod(pod, config->openshift);
    assert_confined(c, NULL);
    assert_string_equal(kfx_json_str(c, "image"), "registry.k8s.io/kube-controller-manager:v1.36.3");
    assert_string_equal(kfx_json_str(d, "spec", "selector", "matchLabels", "app"), "kube-controller-manager");
    assert_int_equal(json_array_size(keys), 4);
    assert_true(has(keys, "ca.key"));
    assert_false(has(keys, "front-proxy-ca.key"));
    assert_false(has(keys, "apiserver.key"));
    assert_true(has(command, "--kubeconfig=/etc/kubernetes/kubeconfig"));
    /* Without election there may never be two. */
    assert_true(has(command, "--leader-elect=false"));
    assert_string_equal(kfx_json_str(d, "spec", "strategy", "type"), "Recreate");
    assert_int_equal(kfx_json_int(d, 0, "spec", "replicas"), 1);
    assert_true(has(command, "--use-service-account-credentials=true"));
}

static void test_workloads(void **state)
{
    (void)state;
    for (int openshift = 0; openshift < 2; openshift++) {
        for (int profile = KFX_PROFILE_DEFAULT; profile <= KFX_PROFILE_SMALL; profile++) {
            kfx_config_t config = config_of(openshift, KFX_EXPOSE_INGRESS, (kfx_profile_t)profile);
            check_apiserver(&config);
            check_manager(&config);
        }
    }
    kfx_config_t standard = config_of(false, KFX_EXPOSE_INGRESS, KFX_PROFILE_DEFAULT);
    kfx_config_t small = config_of(false, KFX_EXPOSE_INGRESS, KFX_PROFILE_SMALL);
    KFX_JSON json_t *a = manifest("kube-apiserver", &standard), *b = manifest("kube-apiserver", &small);
    const json_t *ca = kfx_json_get(a, "spec", "template", "spec", "containers", "0");
    const json_t *cb = kfx_json_get(b, "spec", "template", "spec", "containers", "0");
    assert_string_not_equal(env_of(ca, "GOGC"), env_of(cb, "GOGC"));
    /* Without a ratio, or close to a limit, the collector of an idle plane would never rest. */
    assert_string_not_equal(env_of(ca, "GOGC"), "off");
    assert_null(env_of(ca, "GOMEMLIMIT"));
    assert_null(env_of(cb, "GOMEMLIMIT"));
    assert_false(has(kfx_json_get(ca, "command"), "--watch-cache=false"));
    assert_true(has(kfx_json_get(cb, "command"), "--watch-cache=false"));
    assert_false(has(kfx_json_get(ca, "command"), "--enable-priority-and-fairness=false"));
    assert_true(has(kfx_json_get(cb, "command"), "--enable-priority-and-fairness=false"));
    assert_string_not_equal(kfx_json_str(ca, "resources", "limits", "memory"),
                            kfx_json_str(cb, "resources", "limits", "memory"));
}

/* The controller that a profile leaves out, where the version has it. */
static void test_left_out(void **state)
{
    (void)state;
    static const char name[] = "validatingadmissionpolicy-status-controller";
    static const struct {
        const char *version;
        kfx_profile_t profile;
        bool known, out;
    } cases[] = {{"v1.36.3", KFX_PROFILE_DEFAULT, true, false},
                 {"v1.36.3", KFX_PROFILE_SMALL, true, true},
                 {"v1.27.16", KFX_PROFILE_SMALL, false, false}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_k8s_choice_t choice;
        kfx_config_t config = config_of(false, KFX_EXPOSE_INGRESS, cases[i].profile);
        assert_int_equal(kfx_k8s_choose(cases[i].version, "", "", &choice, &err), 0);
        kfx_k8s_values_t values = values_of(&config, &choice);
        KFX_JSON json_t *d = kfx_k8s_manifest("kube-controller-manager", &values, &err);
        const json_t *command = kfx_json_get(d, "spec", "template", "spec", "containers", "0", "command");
        const char *list = NULL;
        size_t k;
        json_t *item;
        json_array_foreach (command, k, item)
            if (strncmp(json_string_value(item), "--controllers=", 14) == 0)
                list = json_string_value(item) + 14;
        assert_non_null(list);
        assert_int_equal(strstr(list, name) != NULL, cases[i].known);
        assert_int_equal(list[0] == '-' && strncmp(list + 1, name, strlen(name)) == 0, cases[i].out);
    }
}

/* Without kine the API server has no socket of its, and its address comes from a Secret, not from the manifest. */
static void test_etcd(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_k8s_choice_t choice;
    kfx_config_t config = config_of(false, KFX_EXPOSE_INGRESS, KFX_PROFILE_DEFAULT);
    assert_int_equal(kfx_k8s_choose("", "", "", &choice, &err), 0);
    kfx_k8s_values_t values = values_of(&config, &choice);
    values.etcd = true;
    KFX_JSON json_t *d = kfx_k8s_manifest("kube-apiserver", &values, &err);
    const json_t *pod = kfx_json_get(d, "spec", "template", "spec");
    const json_t *server = kfx_json_get(pod, "containers", "0");
    const json_t *command = kfx_json_get(server, "command");
    KFX_FREE char *text = kfx_json_text(d);

    assert_null(kfx_json_get(pod, "initContainers"));
    assert_null(strstr(text, "kine"));
    assert_true(has(command, "--etcd-servers=$(ETCD_SERVERS)"));
    assert_true(has(command, "--etcd-cafile=/etc/kubernetes/etcd/ca.crt"));
    assert_false(has(command, "--etcd-compaction-interval=0"));
    assert_string_equal(kfx_json_str(server, "env", "0", "valueFrom", "secretKeyRef", "name"), "etcd-client");
    assert_string_equal(kfx_json_str(server, "volumeMounts", "0", "mountPath"), "/etc/kubernetes/etcd");
    assert_string_equal(kfx_json_str(pod, "volumes", "0", "secret", "secretName"), "etcd-client");
    assert_non_null(env_of(server, "GOGC"));
    assert_confined(server, "NET_BIND_SERVICE");
}

static void test_render(void **state)
{
    (void)state;
    static const char *const kinds[][4] = {{"Service", "Ingress", "Deployment", "Deployment"},
                                           {"Service", "Deployment", "Deployment", NULL},
                                           {"Service", "Route", "Deployment", "Deployment"}};
    for (size_t i = 0; i < KFX_COUNT(kinds); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_config_t config = config_of(i == 2, i == 1 ? KFX_EXPOSE_NONE : KFX_EXPOSE_INGRESS, KFX_PROFILE_DEFAULT);
        KFX_JSON json_t *list = kfx_k8s_render("cp1", &config, &err);
        assert_non_null(list);
        for (size_t k = 0; k < 4; k++) {
            const json_t *object = json_array_get(list, k);
            if (!kinds[i][k]) {
                assert_null(object);
                continue;
            }
            assert_string_equal(kfx_json_str(object, "kind"), kinds[i][k]);
            assert_string_equal(kfx_json_str(object, "metadata", "namespace"), "cp1-system");
        }
    }
}

static void assert_endpoint(kfx_config_t config, kfx_memo_t facts, const char *url, const char *tls)
{
    kfx_endpoints_t e;
    kfx_endpoints("cp1", "cp1", &config, &facts, &e);
    assert_string_equal(e.external_url, url);
    assert_string_equal(e.tls_server_name, tls);
    assert_string_equal(e.internal_url, "https://cp1.cp1-system.svc.cluster.local");
}

static void test_endpoints(void **state)
{
    (void)state;
    kfx_config_t c = config_of(false, KFX_EXPOSE_INGRESS, KFX_PROFILE_DEFAULT);
    kfx_memo_t facts = {.cluster_ip = "10.96.7.7", .node_port = 30007};
    assert_endpoint(c, facts, "https://cp1.localtest.me:9443", "");
    kfx_copy(c.external_address, sizeof(c.external_address), "2001:db8::1");
    assert_endpoint(c, facts, "https://[2001:db8::1]:9443", "cp1.localtest.me");
    c.exposure = KFX_EXPOSE_NODEPORT;
    assert_endpoint(c, facts, "https://[2001:db8::1]:30007", "");
    c.external_address[0] = '\0';
    assert_endpoint(c, facts, "https://kubeflex-control-plane:30007", "");
    c.exposure = KFX_EXPOSE_LOADBALANCER;
    assert_endpoint(c, facts, "https://cp1.localtest.me:443", "");
    kfx_copy(facts.balancer, sizeof(facts.balancer), "lb.example.com");
    assert_endpoint(c, facts, "https://lb.example.com:443", "");
    c.exposure = KFX_EXPOSE_INGRESS;
    kfx_copy(facts.route_host, sizeof(facts.route_host), "cp1.apps.example.com");
    assert_endpoint(c, facts, "https://cp1.apps.example.com", "");
    kfx_endpoints_t e;
    kfx_endpoints("cp1", "cp1", &c, &facts, &e);
    assert_int_equal(e.san_count,
                     e.input_count + 1); /* the Service's address is no input: it is not known from a digest */
    assert_string_equal(e.sans[e.input_count], "10.96.7.7");
}

static void test_versions(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *status, *config, *want;
    } cases[] = {
        {"", "", "", KFX_DEFAULT_KUBERNETES_VERSION},
        {"", "", "v1.35.1", "v1.35.1"},
        {"", "v1.34.0", "v1.35.1", "v1.34.0"}, /* recorded wins over a changed default */
        {"1.33.2", "v1.34.0", "v1.35.1", "v1.33.2"},
        {"v1.27.16", "", "", "v1.27.16"},
        {"v1.26.0", "", "", NULL},
        {"v1.37.0", "", "", NULL},
        {"nonsense", "v1.34.0", "", NULL},
        {"", "", "v1.2.3", NULL},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_k8s_choice_t choice;
        kfx_error_t err = KFX_ERROR_INIT;
        int rc = kfx_k8s_choose(cases[i].spec, cases[i].status, cases[i].config, &choice, &err);
        assert_int_equal(rc == 0, cases[i].want != NULL);
        if (cases[i].want)
            assert_string_equal(choice.version, cases[i].want);
        else
            assert_non_null(strstr(err.msg, kfx_k8s_supported()));
    }
    assert_non_null(strstr(kfx_k8s_minor(36)->controllers, "serviceaccount-token-controller"));
    assert_non_null(strstr(kfx_k8s_minor(36)->controllers, "validatingadmissionpolicy-status-controller"));
    assert_non_null(strstr(kfx_k8s_minor(27)->controllers, "csrsigning"));
    assert_null(strstr(kfx_k8s_minor(27)->controllers, "-controller"));
    assert_ptr_equal(kfx_k8s_minor(28), kfx_k8s_minor(36));
}

static void assert_plan(const kfx_secret_plan_t *plan, kfx_action_t certs, kfx_action_t admin, kfx_action_t cm,
                        bool read, bool make)
{
    assert_int_equal(plan->action[KFX_CERTS], certs);
    assert_int_equal(plan->action[KFX_ADMIN], admin);
    assert_int_equal(plan->action[KFX_CM], cm);
    assert_int_equal(plan->read_authority, read);
    assert_int_equal(plan->make_authority, make);
}

static void test_plan(void **state)
{
    (void)state;
    kfx_config_t config = config_of(false, KFX_EXPOSE_INGRESS, KFX_PROFILE_DEFAULT);
    kfx_memo_t facts = {.cluster_ip = "10.96.7.7"};
    kfx_endpoints_t e, moved;
    kfx_secret_state_t s[KFX_SECRETS] = {{.exists = false}};
    kfx_secret_plan_t plan;
    kfx_endpoints("cp1", "cp1", &config, &facts, &e);
    kfx_secret_plan(s, "", false, "cp1", &e, &plan);
    assert_plan(&plan, KFX_CREATE, KFX_CREATE, KFX_CREATE, false, true);
    kfx_secret_plan(s, "01234567", false, "cp1", &e, &plan);
    assert_plan(&plan, KFX_CREATE, KFX_CREATE, KFX_CREATE, false, false);
    for (int i = 0; i < KFX_SECRETS; i++) { /* as they were written */
        s[i].exists = true;
        kfx_copy(s[i].hash, sizeof(s[i].hash), plan.hash[i]);
    }
    kfx_secret_plan(s, "", false, "cp1", &e, &plan);
    assert_plan(&plan, KFX_KEEP, KFX_KEEP, KFX_KEEP, false, false);
    kfx_secret_plan(s, "", true, "cp1", &e, &plan);
    assert_plan(&plan, KFX_REISSUE, KFX_KEEP, KFX_KEEP, true, false);
    s[KFX_CM].exists = false;
    kfx_secret_plan(s, "", false, "cp1", &e, &plan);
    assert_plan(&plan, KFX_KEEP, KFX_KEEP, KFX_CREATE, true, false);
    s[KFX_CM].exists = true;
    kfx_copy(config.domain, sizeof(config.domain), "example.com");
    kfx_endpoints("cp1", "cp1", &config, &facts, &moved);
    kfx_secret_plan(s, "", false, "cp1", &moved, &plan);
    assert_plan(&plan, KFX_REISSUE, KFX_REISSUE, KFX_KEEP, true, false);
    s[KFX_CERTS].exists = false; /* another authority: everything that hangs on it */
    kfx_secret_plan(s, "89abcdef", false, "cp1", &e, &plan);
    assert_plan(&plan, KFX_CREATE, KFX_REISSUE, KFX_REISSUE, false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_service),   cmocka_unit_test(test_ingress),  cmocka_unit_test(test_workloads),
        cmocka_unit_test(test_left_out),  cmocka_unit_test(test_etcd),     cmocka_unit_test(test_render),
        cmocka_unit_test(test_endpoints), cmocka_unit_test(test_versions), cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
