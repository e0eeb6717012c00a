/* reconcilers/config.c: kubeflex-config, key by key. */
#include "reconcilers/config.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ANNOTATIONS_MAX 32

const char *kfx_exposure_name(kfx_exposure_t exposure)
{
    static const char *const names[] = {"ingress", "nodeport", "loadbalancer", "none"};
    return names[exposure];
}

/* RFC 1123 subdomain: labels of letters, digits and '-', dots between, 253 characters. */
static bool is_domain(const char *text)
{
    size_t len = strlen(text), label = 0;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i <= len; i++) {
        char c = text[i];
        if (c == '.' || c == '\0') {
            if (label == 0 || label > 63 || text[i - 1] == '-')
                return false;
            label = 0;
        } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && label > 0)) {
            label++;
        } else {
            return false;
        }
    }
    return true;
}

static bool is_address(const char *text)
{
    unsigned char raw[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, raw) == 1 || inet_pton(AF_INET6, text, raw) == 1;
}

static int bad(kfx_error_t *err, const char *key, const char *value, const char *allowed)
{
    return kfx_error_set(err, KFX_E_INVALID, "ConfigMap kubeflex-config: key %s is \"%.80s\", but must be %s", key,
                         value, allowed);
}

/* The key's text without surrounding blanks; fallback where it is missing or empty; NULL with err where it is required.
 */
static const char *text_of(const json_t *data, const char *key, const char *fallback, char buf[1024], kfx_error_t *err)
{
    const char *value = kfx_json_str(data, key);
    size_t len;
    while (value && isspace((unsigned char)*value))
        value++;
    if (!value || !*value) {
        if (!fallback)
            kfx_error_set(err, KFX_E_INVALID, "ConfigMap kubeflex-config: key %s is missing: add it", key);
        return fallback;
    }
    kfx_copy(buf, 1024, value);
    for (len = strlen(buf); len > 0 && isspace((unsigned char)buf[len - 1]); len--)
        buf[len - 1] = '\0';
    return buf;
}

static int parse_domain(const json_t *data, const char *key, const char *fallback, char out[254], kfx_error_t *err)
{
    char buf[1024];
    const char *value = text_of(data, key, fallback, buf, err);
    if (!value)
        return -1;
    if (!is_domain(value))
        return bad(err, key, value, "a DNS name in lower case, such as localtest.me");
    kfx_copy(out, 254, value);
    return 0;
}

static int parse_port(const json_t *data, int *out, kfx_error_t *err)
{
    char buf[1024], *end;
    const char *value = text_of(data, "externalPort", NULL, buf, err);
    if (!value)
        return -1;
    long port = strtol(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || port < 1 || port > 65535)
        return bad(err, "externalPort", value, "a port number from 1 to 65535, in quotes, such as \"9443\"");
    *out = (int)port;
    return 0;
}

/* The literals Go's strconv.ParseBool takes, because existing installations may have any of them. */
static int parse_bool(const json_t *data, const char *key, bool *out, kfx_error_t *err)
{
    static const char *const yes[] = {"true", "True", "TRUE", "t", "T", "1"};
    static const char *const no[] = {"false", "False", "FALSE", "f", "F", "0"};
    char buf[1024];
    const char *value = text_of(data, key, "false", buf, err);
    for (size_t i = 0; i < KFX_COUNT(yes); i++) {
        if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
            *out = strcmp(value, yes[i]) == 0;
            return 0;
        }
    }
    return bad(err, key, value, "\"true\" or \"false\"");
}

static int parse_word(const json_t *data, const char *key, const char *const *words, size_t count, const char *allowed,
                      int *out, kfx_error_t *err)
{
    char buf[1024];
    const char *value = text_of(data, key, words[0], buf, err);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = (int)i;
            return 0;
        }
    }
    return bad(err, key, value, allowed);
}

/* A qualified name: an optional DNS name and '/', then up to 63 letters, digits, '-', '_' and '.', the outer ones
 * letters or digits (apimachinery's IsQualifiedName). */
static bool is_annotation(const char *key)
{
    const char *name = strchr(key, '/');
    char prefix[254];
    size_t len;
    if (name) {
        if ((size_t)(name - key) >= sizeof(prefix))
            return false;
        snprintf(prefix, sizeof(prefix), "%.*s", (int)(name - key), key);
        for (char *c = prefix; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        if (!is_domain(prefix))
            return false;
    }
    name = name ? name + 1 : key;
    len = strlen(name);
    if (len == 0 || len > 63 || !isalnum((unsigned char)name[0]) || !isalnum((unsigned char)name[len - 1]))
        return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
            return false;
    return true;
}

static int parse_annotations(const json_t *data, json_t **out, kfx_error_t *err)
{
    const char *text = kfx_json_str(data, "ingressAnnotations"), *key;
    KFX_JSON json_t *tree = kfx_yaml_parse(text ? text : "", text ? strlen(text) : 0, err);
    json_t *value;
    if (!tree)
        return kfx_error_wrap(err, "ConfigMap kubeflex-config: key ingressAnnotations is no YAML");
    if (!json_is_object(tree) || json_object_size(tree) > ANNOTATIONS_MAX)
        return kfx_error_set(
            err, KFX_E_INVALID,
            "ConfigMap kubeflex-config: key ingressAnnotations must be a YAML map of at most %d entries",
            ANNOTATIONS_MAX);
    json_object_foreach (tree, key, value) {
        if (!json_is_string(value))
            return kfx_error_set(
                err, KFX_E_INVALID,
                "ConfigMap kubeflex-config: key ingressAnnotations: the value of %.80s must be a text: "
                "put it in quotes",
                key);
        if (!is_annotation(key))
            return kfx_error_set(err, KFX_E_INVALID,
                                 "ConfigMap kubeflex-config: key ingressAnnotations: \"%.80s\" is no annotation's "
                                 "name, such as example.com/name",
                                 key);
    }
    *out = KFX_STEAL(tree);
    return 0;
}

static int parse_address(const json_t *data, char out[254], kfx_error_t *err)
{
    char buf[1024];
    const char *value = text_of(data, "externalAddress", "", buf, err);
    if (*value && !is_address(value) && !is_domain(value))
        return bad(err, "externalAddress", value, "an IP address or a DNS name, without scheme and port");
    kfx_copy(out, 254, value);
    return 0;
}

static int parse_version(const json_t *data, char out[32], kfx_error_t *err)
{
    char buf[1024];
    const char *value = text_of(data, "kubernetesVersion", "", buf, err);
    out[0] = '\0';
    if (*value && kfx_version_parse(value, out, err) < 0)
        return kfx_error_wrap(err, "ConfigMap kubeflex-config: key kubernetesVersion");
    return 0;
}

static int parse_url(const json_t *data, char out[512], kfx_error_t *err)
{
    static const char scheme[] = "https://";
    char buf[1024];
    const char *value = text_of(data, "hostServerURL", "", buf, err);
    size_t len = strlen(value);
    if (*value && (len >= 512 || strncmp(value, scheme, sizeof(scheme) - 1) != 0 || len == sizeof(scheme) - 1 ||
                   strcspn(value, " \t\r\n\"'<>\\?#@") != len))
        return bad(err, "hostServerURL", value,
                   "the API server's address, such as https://kubernetes.example.com:6443");
    kfx_copy(out, 512, value);
    return 0;
}

/* Names of roles are path segments: nearly anything goes. */
static int parse_role(const json_t *data, char out[254], kfx_error_t *err)
{
    char buf[1024];
    const char *value = text_of(data, "hostClusterRole", "cluster-admin", buf, err);
    if (strlen(value) > 253 || strpbrk(value, "/%") || strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
        return bad(err, "hostClusterRole", value, "the name of a ClusterRole, or none");
    kfx_copy(out, 254, value);
    return 0;
}

/* Planes of these types run somebody else's image; which version is for the user to say. */
static int parse_image(const json_t *data, const char *key, const char *fallback, char out[254], kfx_error_t *err)
{
    char buf[1024];
    const char *value = text_of(data, key, fallback, buf, err);
    size_t len = strlen(value);
    if (len > 253 || !isalnum((unsigned char)value[0]) ||
        strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@-") != len)
        return bad(err, key, value, "an image, such as docker.io/rancher/k3s:v1.33.4-k3s1");
    kfx_copy(out, 254, value);
    return 0;
}

static int parse_images(const json_t *data, kfx_config_t *out, kfx_error_t *err)
{
    return parse_image(data, "vclusterImage", "ghcr.io/loft-sh/vcluster-oss:0.37.0", out->vcluster_image, err) ||
                   parse_image(data, "vclusterKubernetesImage", "ghcr.io/loft-sh/kubernetes:v1.36.0",
                               out->vcluster_kubernetes_image, err) ||
                   parse_image(data, "k3sImage", "docker.io/rancher/k3s:v1.33.4-k3s1", out->k3s_image, err) ||
                   parse_image(data, "ocmImage", "quay.io/kubestellar/multicluster-controlplane:v0.2.0-kf-alpha.1",
                               out->ocm_image, err)
               ? -1
               : 0;
}

/* Blanks or commas between; kubeflex-system is always among them. */
static int parse_namespaces(const json_t *data, char out[1024], kfx_error_t *err)
{
    char buf[1024], *save = NULL;
    const char *value = text_of(data, "bootstrapNamespaces", "", buf, err);
    KFX_FREE char *list = kfx_xstrdup(value);
    kfx_copy(out, 1024, " kubeflex-system ");
    for (char *ns = strtok_r(list, ", \t\r\n", &save); ns; ns = strtok_r(NULL, ", \t\r\n", &save)) {
        size_t used = strlen(out);
        if (!is_domain(ns) || strchr(ns, '.') || used + strlen(ns) + 2 > 1024)
            return bad(err, "bootstrapNamespaces", value, "names of namespaces with commas between");
        snprintf(out + used, 1024 - used, "%s ", ns);
    }
    return 0;
}

int kfx_config_parse(const json_t *data, kfx_config_t *config, kfx_error_t *err)
{
    static const char *const exposures[] = {"ingress", "nodeport", "loadbalancer", "none"};
    static const char *const profiles[] = {"default", "small"};
    kfx_config_t out = {.ingress_annotations = NULL};
    static const char *const tokens[] = {"legacy", "bound"};
    int exposure = 0, profile = 0, bound = 0;
    *config = out;
    if (parse_domain(data, "domain", NULL, out.domain, err) || parse_port(data, &out.external_port, err) ||
        parse_bool(data, "isOpenShift", &out.openshift, err) ||
        parse_domain(data, "hostContainer", "kubeflex-control-plane", out.host_container, err) ||
        parse_version(data, out.kubernetes_version, err) ||
        parse_domain(data, "ingressClass", "nginx", out.ingress_class, err) ||
        parse_word(data, "exposure", exposures, KFX_COUNT(exposures), "ingress, nodeport, loadbalancer or none",
                   &exposure, err) ||
        parse_word(data, "resourceProfile", profiles, KFX_COUNT(profiles), "default or small", &profile, err) ||
        parse_address(data, out.external_address, err) || parse_url(data, out.host_server_url, err) ||
        parse_role(data, out.host_role, err) ||
        parse_word(data, "hostTokens", tokens, KFX_COUNT(tokens), "legacy or bound", &bound, err) ||
        parse_images(data, &out, err) || parse_namespaces(data, out.bootstrap_namespaces, err) ||
        parse_annotations(data, &out.ingress_annotations, err))
        return -1;
    out.exposure = (kfx_exposure_t)exposure;
    out.profile = (kfx_profile_t)profile;
    out.host_bound_tokens = bound == 1;
    *config = out;
    return 0;
}

void kfx_config_copy(kfx_config_t *to, const kfx_config_t *from)
{
    *to = *from;
    to->ingress_annotations = json_deep_copy(from->ingress_annotations);
}

void kfx_config_clear(kfx_config_t *config)
{
    if (!config)
        return;
    json_decref(config->ingress_annotations);
    config->ingress_annotations = NULL;
}

int kfx_version_parse(const char *text, char out[32], kfx_error_t *err)
{
    unsigned major, minor, patch;
    int end = 0;
    const char *digits = text[0] == 'v' ? text + 1 : text;
    if (strlen(text) < 24 && isdigit((unsigned char)digits[0]) &&
        sscanf(digits, "%3u.%3u.%3u%n", &major, &minor, &patch, &end) == 3 && digits[end] == '\0' && major == 1) {
        char canonical[32];
        snprintf(canonical, sizeof(canonical), "%u.%u.%u", major, minor, patch);
        if (strcmp(canonical, digits) == 0) {
            snprintf(out, 32, "v%s", canonical);
            return (int)minor;
        }
    }
    return kfx_error_set(err, KFX_E_INVALID, "\"%.40s\" is no Kubernetes version such as v1.36.3", text);
}
