/* Reading kubeconfigs and service accounts. */
#include "base/file.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "kube/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define CERT_B64 "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCngK" /* "-----BEGIN CERTIFICATE-----\nx\n" */
#define KEY_B64 "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCngK"  /* "-----BEGIN PRIVATE KEY-----\nx\n" */

#define KUBECONFIG(cluster, user)                                                                                      \
    "apiVersion: v1\nkind: Config\ncurrent-context: one\n"                                                             \
    "contexts:\n"                                                                                                      \
    "- {name: one, context: {cluster: c, user: u, namespace: ns1}}\n"                                                  \
    "- {name: two, context: {cluster: c, user: ''}}\n"                                                                 \
    "- {name: lost, context: {cluster: nowhere, user: u}}\n"                                                           \
    "clusters:\n- name: c\n  cluster: {" cluster "}\n"                                                                 \
    "users:\n- name: u\n  user: {" user "}\n"

static char dir[64];

static int setup(void **state)
{
    (void)state;
    kfx_copy(dir, sizeof dir, "/tmp/kfx-config-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static char *path_of(const char *name)
{
    return kfx_xasprintf("%s/%s", dir, name);
}

static void put(const char *name, const char *text)
{
    KFX_FREE char *path = path_of(name);
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_file_write_atomic(path, text, strlen(text), 0600, &err) != 0)
        fail_msg("%s", err.msg);
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"config", "second",    "ca.pem", "ca.crt",
                                        "token",  "namespace", "plugin", "plugin.log"};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        KFX_FREE char *path = path_of(names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static kfx_kube_config_t *from(const char *yaml, const char *context, const char *where, bool allow_exec,
                               kfx_error_t *err)
{
    KFX_JSON json_t *tree = kfx_yaml_parse(yaml, strlen(yaml), err);
    if (!tree)
        fail_msg("%s", err->msg);
    return kfx_kube_config_from_tree(tree, context, where, allow_exec, err);
}

static void refused(const char *yaml, const char *context, kfx_code_t code, const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(from(yaml, context, NULL, false, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, err.msg);
}

static void test_inline(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_config_t *c = from(KUBECONFIG("server: 'https://h:6443/', certificate-authority-data: " CERT_B64
                                           ", tls-server-name: plane.example, proxy-url: 'http://proxy:3128'",
                                           "client-certificate-data: " CERT_B64 ", client-key-data: " KEY_B64
                                           ", token: t0k, as: somebody"),
                                NULL, NULL, false, &err);
    if (!c)
        fail_msg("%s", err.msg);
    assert_string_equal(c->server, "https://h:6443");
    assert_string_equal(c->tls_server_name, "plane.example");
    assert_string_equal(c->proxy_url, "http://proxy:3128");
    assert_string_equal(c->ca_pem, "-----BEGIN CERTIFICATE-----\nx\n");
    assert_string_equal(c->client_key_pem, "-----BEGIN PRIVATE KEY-----\nx\n");
    assert_string_equal(c->token, "t0k");
    assert_string_equal(c->impersonate, "somebody");
    assert_string_equal(c->ns, "ns1");
    assert_false(c->insecure);
    kfx_kube_config_free(c);

    c = from(KUBECONFIG("server: 'https://h', insecure-skip-tls-verify: true", "username: a, password: b"), "one", NULL,
             false, &err);
    assert_non_null(c);
    assert_true(c->insecure);
    assert_string_equal(c->password, "b");
    kfx_kube_config_free(c);
    c = from(KUBECONFIG("server: 'https://h'", "token: x"), "two", NULL, false, &err); /* nobody */
    assert_non_null(c);
    assert_null(c->token);
    kfx_kube_config_free(c);
    kfx_kube_config_free(NULL);
}

static void test_refused(void **state)
{
    (void)state;
    refused(KUBECONFIG("server: 'https://h'", "token: x"), "none", KFX_E_NOT_FOUND, "one, two, lost");
    refused(KUBECONFIG("server: 'https://h'", "token: x"), "lost", KFX_E_NOT_FOUND, "nowhere");
    refused("apiVersion: v1\n", NULL, KFX_E_NOT_FOUND, "no current context");
    refused(KUBECONFIG("x: y", "token: x"), NULL, KFX_E_INVALID, "no server");
    refused(KUBECONFIG("server: 'ftp://h'", "token: x"), NULL, KFX_E_INVALID, "ftp://h");
    refused(KUBECONFIG("server: 'https://h', certificate-authority-data: '***'", "token: x"), NULL, KFX_E_INVALID,
            "certificate-authority-data is no base64");
    refused(KUBECONFIG("server: 'https://h', certificate-authority-data: eA==", "token: x"), NULL, KFX_E_INVALID,
            "no PEM certificate");
    refused(KUBECONFIG("server: 'https://h', insecure-skip-tls-verify: true, certificate-authority-data: " CERT_B64,
                       "token: x"),
            NULL, KFX_E_INVALID, "insecure-skip-tls-verify");
    refused(KUBECONFIG("server: 'https://h'", "client-certificate-data: " CERT_B64), NULL, KFX_E_INVALID,
            "the key is missing");
    refused(KUBECONFIG("server: 'https://h', certificate-authority: /etc/passwd", "token: x"), NULL, KFX_E_INVALID,
            "certificate-authority-data");
    refused(KUBECONFIG("server: 'https://h'", "tokenFile: /etc/passwd"), NULL, KFX_E_INVALID, "tokenFile");
    refused(KUBECONFIG("server: 'https://h'", "exec: {command: /bin/true}"), NULL, KFX_E_INVALID, "exec plugin");
    refused(KUBECONFIG("server: 'https://h'", "auth-provider: {name: gcp}"), NULL, KFX_E_INVALID, "auth-provider");
    refused(KUBECONFIG("server: 'https://h'", "token: x, as-groups: [g]"), NULL, KFX_E_INVALID, "as-groups");
}

/* {"alg":"none"}.{"exp":…}.signature, in base64url without padding */
#define JWT_PAST "eyJhbGciOiJub25lIn0.eyJleHAiOjEwMDB9.c2ln"
#define JWT_FUTURE "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTksInMiOiI_Pz4-In0.c2ln"
#define OIDC(token) "auth-provider: {name: oidc, config: {client-id: k, id-token: " token "}}"

static void test_oidc(void **state)
{
    (void)state;
    static const char *const good[] = {KUBECONFIG("server: 'https://h'", OIDC(JWT_FUTURE)),
                                       KUBECONFIG("server: 'https://h'", OIDC("no.jwt")),
                                       KUBECONFIG("server: 'https://h'", OIDC("opaque"))};
    static const char *const tokens[] = {JWT_FUTURE, "no.jwt", "opaque"};
    for (size_t i = 0; i < KFX_COUNT(good); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_kube_config_t *c = from(good[i], NULL, NULL, false, &err);
        if (!c)
            fail_msg("%s", err.msg);
        assert_string_equal(c->token, tokens[i]);
        kfx_kube_config_free(c);
    }
    refused(KUBECONFIG("server: 'https://h'", OIDC(JWT_PAST)), NULL, KFX_E_UNAUTHORIZED, "has expired");
    refused(KUBECONFIG("server: 'https://h'", "auth-provider: {name: oidc}"), NULL, KFX_E_INVALID, "no id-token");
}

static void test_transport(void **state)
{
    (void)state;
    static const struct {
        const char *server, *name, *token, *base, *connect_to;
    } cases[] = {
        {"https://10.0.0.1:6443", NULL, "t", "https://10.0.0.1:6443", NULL},
        {"https://[fd00::1]:6443", NULL, "t", "https://[fd00::1]:6443", NULL},
        {"https://h/k8s/c1/", NULL, "t", "https://h:443/k8s/c1", NULL},
        {"https://10.0.0.1:9443", "cp1.example", "t", "https://cp1.example:9443", "::10.0.0.1:9443"},
        {"https://[fd00::1]:9443", "cp1.example", "t", "https://cp1.example:9443", "::[fd00::1]:9443"},
        {"http://127.0.0.1:8001", NULL, NULL, "http://127.0.0.1:8001", NULL},
        {"http://127.0.0.1:8001", NULL, "t", NULL, NULL}, /* no token in the clear */
        {"https://u:p@h", NULL, "t", NULL, NULL},
        {"https://h", NULL, "t\nHost: x", NULL, NULL},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_kube_config_t *config = kfx_xcalloc(1, sizeof *config);
        config->server = kfx_xstrdup(cases[i].server);
        config->tls_server_name = kfx_xstrdup(cases[i].name);
        config->token = kfx_xstrdup(cases[i].token);
        kfx_transport_t transport;
        kfx_error_t err = KFX_ERROR_INIT;
        int rc = kfx_transport_init(&transport, config, "agent", &err);
        assert_int_equal(rc, cases[i].base ? 0 : -1);
        assert_null(strstr(err.msg, "u:p@"));
        if (cases[i].base) {
            assert_string_equal(transport.base, cases[i].base);
            assert_int_equal(transport.connect_to != NULL, cases[i].connect_to != NULL);
            if (cases[i].connect_to)
                assert_string_equal(transport.connect_to, cases[i].connect_to);
        }
        kfx_transport_free(&transport);
    }
}

static void test_files(void **state)
{
    (void)state;
    put("ca.pem", "-----BEGIN CERTIFICATE-----\nfile\n");
    put("token", "t0k\n");
    put("config", KUBECONFIG("server: 'https://h', certificate-authority: ca.pem", "tokenFile: token"));
    put("second", "current-context: other\n"
                  "contexts:\n- {name: one, context: {cluster: c2, user: u}}\n- {name: other, context: {cluster: c2}}\n"
                  "clusters:\n- {name: c2, cluster: {server: 'https://second'}}\n");
    KFX_FREE char *config = path_of("config");
    KFX_FREE char *second = path_of("second");
    KFX_FREE char *token = path_of("token");
    KFX_FREE char *missing = path_of("missing");
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_config_t *c = kfx_kube_config_load(config, NULL, &err);
    if (!c)
        fail_msg("%s", err.msg);
    assert_string_equal(c->ca_pem, "-----BEGIN CERTIFICATE-----\nfile\n");
    assert_string_equal(c->token_file, token);
    kfx_kube_config_free(c);

    KFX_FREE char *list = kfx_xasprintf("%s:%s:%s", missing, config, second);
    setenv("KUBECONFIG", list, 1);
    c = kfx_kube_config_load(NULL, NULL, &err); /* the first file's context and its meaning of "one" */
    assert_non_null(c);
    assert_string_equal(c->server, "https://h");
    kfx_kube_config_free(c);
    c = kfx_kube_config_load(NULL, "other", &err);
    assert_non_null(c);
    assert_string_equal(c->server, "https://second");
    kfx_kube_config_free(c);
    setenv("KUBECONFIG", missing, 1);
    assert_null(kfx_kube_config_load(NULL, NULL, &err));
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, missing));
    unsetenv("KUBECONFIG");
}

static void test_in_cluster(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    unsetenv("KUBERNETES_SERVICE_HOST");
    assert_null(kfx_kube_config_in_cluster_at(dir, &err));
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    put("ca.crt", "-----BEGIN CERTIFICATE-----\nca\n");
    put("token", "t0k\n");
    put("namespace", "kubeflex-system\n");
    kfx_kube_config_t *c = kfx_kube_config_in_cluster_at(dir, &err);
    if (!c)
        fail_msg("%s", err.msg);
    assert_string_equal(c->server, "https://[fd00::1]:443");
    assert_string_equal(c->token, "t0k");
    assert_string_equal(c->ns, "kubeflex-system");
    assert_non_null(c->token_file);
    kfx_kube_config_free(c);
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
}

#define EXEC(mode)                                                                                                     \
    KUBECONFIG("server: 'https://h'", "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, "        \
                                      "args: ['a b', '$(id)'], env: [{name: WHAT, value: " mode "}], "                 \
                                      "interactiveMode: Never, provideClusterInfo: true}")

static void exec_fails(const char *yaml, kfx_code_t code, const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(from(yaml, NULL, dir, true, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, err.msg);
    assert_null(strstr(err.msg, "tok-1"));
}

static void test_exec(void **state)
{
    (void)state;
    put("plugin",
        "#!/bin/sh\n"
        "printf '%s|%s|%s|' \"$1\" \"$2\" \"$KUBERNETES_EXEC_INFO\" > \"${0%/*}/plugin.log\"\n"
        "head='{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":'\n"
        "case $WHAT in\n"
        "token) echo \"$head{\\\"token\\\":\\\"tok-1\\\"}}\";;\n"
        "old) echo \"$head{\\\"token\\\":\\\"tok-1\\\",\\\"expirationTimestamp\\\":\\\"2001-01-01T00:00:00Z\\\"}}\";;\n"
        "empty) echo \"$head{}}\";;\n"
        "junk) echo tok-1;;\n"
        "fail) echo tok-1; exit 3;;\n"
        "flood) exec yes tok-1;;\n"
        "esac\n");
    KFX_FREE char *plugin = path_of("plugin");
    KFX_FREE char *log = path_of("plugin.log");
    assert_int_equal(chmod(plugin, 0700), 0);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_config_t *c = from(EXEC("token"), NULL, dir, true, &err);
    if (!c)
        fail_msg("%s", err.msg);
    assert_string_equal(c->token, "tok-1");
    kfx_kube_config_free(c);
    KFX_FREE char *seen = kfx_file_read(log, 65536, NULL, &err);
    assert_non_null(seen);
    assert_int_equal(strncmp(seen, "a b|$(id)|", 10), 0); /* no shell read them */
    assert_non_null(strstr(seen, "\"server\":\"https://h\""));
    exec_fails(EXEC("old"), KFX_E_UNAUTHORIZED, "expired");
    exec_fails(EXEC("empty"), KFX_E_PROTOCOL, "neither a token nor a certificate");
    exec_fails(EXEC("junk"), KFX_E_PROTOCOL, "no ExecCredential");
    exec_fails(EXEC("fail"), KFX_E_UNAUTHORIZED, "exit status 3");
    exec_fails(EXEC("flood"), KFX_E_PROTOCOL, "bytes of output");
    exec_fails(
        KUBECONFIG("server: 'https://h'",
                   "exec: {apiVersion: client.authentication.k8s.io/v1, command: /no/such, interactiveMode: Never}"),
        KFX_E_NOT_FOUND, "/no/such");
    exec_fails(KUBECONFIG("server: 'https://h'", "exec: {apiVersion: v9, command: x}"), KFX_E_INVALID, "not supported");
}

static void test_exec_deadline(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *spec = json_pack("{s:s, s:s, s:[s], s:s}", "apiVersion", "client.authentication.k8s.io/v1beta1",
                                      "command", "sleep", "args", "60", "interactiveMode", "Never");
    kfx_kube_config_t config = {0};
    assert_int_equal(kfx_exec_credential(&config, spec, NULL, NULL, 50, &err), -1);
    assert_int_equal(err.code, KFX_E_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inline), cmocka_unit_test(test_refused),       cmocka_unit_test(test_oidc),
        cmocka_unit_test(test_files),  cmocka_unit_test(test_in_cluster),    cmocka_unit_test(test_transport),
        cmocka_unit_test(test_exec),   cmocka_unit_test(test_exec_deadline),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
