#include "cli/reach.h"

#include "base/json.h"
#include "base/mem.h"
#include "proto/proto.h"

#include <curl/curl.h>
#include <string.h>

#define DEFAULT_CLASS "ingressclass.kubernetes.io/is-default-class"

/* One part of the URL. Fresh; "" where it has none. */
static char *part_of(const char *url, CURLUPart part)
{
    CURLU *parsed = curl_url();
    char *text = NULL;
    if (parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
        curl_url_get(parsed, part, &text, CURLU_DEFAULT_PORT);
    char *copy = kfx_xstrdup(text ? text : "");
    curl_free(text);
    curl_url_cleanup(parsed);
    return copy;
}

static const json_t *cluster_of(const json_t *kubeconfig)
{
    return kfx_json_get(kubeconfig, "clusters", "0", "cluster");
}

/* What the words of libcurl and of our client mean. Fresh. */
static char *network_cause(const char *host, const char *port, const char *words)
{
    if (strstr(words, "resolve host"))
        return kfx_xasprintf("the name %s does not resolve (give it a DNS record, or set externalAddress in ConfigMap "
                             "kubeflex-config)",
                             host);
    if (strstr(words, "refused") || strstr(words, "Couldn't connect"))
        return kfx_xasprintf("nothing listens on port %s of %s (does the ingress controller run, and is externalPort "
                             "in ConfigMap kubeflex-config its port?)",
                             port, host);
    if (strstr(words, "certificate"))
        return kfx_xasprintf("what answers on port %s of %s has another certificate (the ingress controller must pass "
                             "TLS through)",
                             port, host);
    if (strstr(words, "timed out") || strstr(words, "no connection within"))
        return kfx_xasprintf("port %s of %s does not answer at all (the wrong address, or a firewall?)", port, host);
    return kfx_xstrdup(words);
}

static json_t *get(const kfx_hosting_t *hosting, const char *path, kfx_code_t *code)
{
    kfx_error_t why = KFX_ERROR_INIT;
    json_t *answer = kfx_hosting_get(hosting->kube, path, &why);
    *code = why.code;
    return answer;
}

static bool has_default_class(const json_t *classes)
{
    size_t i;
    json_t *class;
    json_array_foreach (json_object_get(classes, "items"), i, class) {
        const char *mark = kfx_json_str(class, "metadata", "annotations", DEFAULT_CLASS);
        if (mark && strcmp(mark, "true") == 0)
            return true;
    }
    return false;
}

/* What is wrong with the class of an Ingress, or NULL. Fresh. */
static char *class_cause(const kfx_hosting_t *hosting, const char *class)
{
    KFX_FREE char *name = kfx_kube_escape(class ? class : "");
    KFX_FREE char *path = kfx_xasprintf("/apis/networking.k8s.io/v1/ingressclasses%s%s", class ? "/" : "", name);
    kfx_code_t code;
    KFX_JSON json_t *answer = get(hosting, path, &code);
    if (class && code == KFX_E_NOT_FOUND)
        return kfx_xasprintf("; ingress class '%s' does not exist: install its controller", class);
    if (!class && answer && !has_default_class(answer))
        return kfx_xstrdup("; its Ingress names no class, and the hosting cluster has no default one");
    return NULL;
}

/* What is wrong with the plane's Ingress, as far as we may see it. Fresh; "" where nothing is. */
static char *ingress_cause(const kfx_hosting_t *hosting, const char *plane)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    KFX_FREE char *space = kfx_kube_escape(ns);
    KFX_FREE char *path = kfx_xasprintf("/apis/networking.k8s.io/v1/namespaces/%s/ingresses", space);
    kfx_code_t code;
    KFX_JSON json_t *list = get(hosting, path, &code);
    if (!list)
        return kfx_xstrdup("");
    const json_t *ingress = kfx_json_get(list, "items", "0");
    if (!ingress)
        return kfx_xasprintf("; there is no Ingress in namespace %s", ns);
    const char *class = kfx_json_str(ingress, "spec", "ingressClassName");
    char *cause = class_cause(hosting, class);
    if (cause)
        return cause;
    if (json_array_size(kfx_json_get(ingress, "status", "loadBalancer", "ingress")) == 0)
        return kfx_xasprintf("; its Ingress has no address: the controller of class '%s' does not run, or does not "
                             "tell one",
                             class ? class : "(default)");
    return kfx_xstrdup("");
}

char *kfx_reach_explain(const kfx_hosting_t *hosting, const char *plane, const json_t *kubeconfig,
                        const kfx_error_t *why)
{
    const char *server = kfx_json_str(cluster_of(kubeconfig), "server");
    const char *sni = kfx_json_str(cluster_of(kubeconfig), "tls-server-name");
    KFX_FREE char *host = part_of(server ? server : "", CURLUPART_HOST);
    KFX_FREE char *port = part_of(server ? server : "", CURLUPART_PORT);
    KFX_FREE char *network = network_cause(host, port, why->msg);
    KFX_FREE char *ingress = ingress_cause(hosting, plane);
    return kfx_xasprintf("%s%s. Meanwhile this works: `kubectl --context %s port-forward -n %s-system service/%s "
                         "8443:443`, and in another terminal `kubectl --context %s --server https://127.0.0.1:8443 "
                         "--tls-server-name %s get namespaces`",
                         network, ingress, hosting->context, plane, plane, plane, sni ? sni : host);
}
