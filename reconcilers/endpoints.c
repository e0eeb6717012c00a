/* reconcilers/endpoints.c: URLs and certificate names. */
#include "reconcilers/endpoints.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static void add(kfx_endpoints_t *out, const char *fmt, const char *a, const char *b)
{
    char name[sizeof(out->sans[0])];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(name, sizeof(name), fmt, a, b);
#pragma GCC diagnostic pop
    if (!name[0] || out->san_count == KFX_SANS_MAX)
        return;
    for (size_t i = 0; i < out->san_count; i++)
        if (strcmp(out->sans[i], name) == 0)
            return;
    kfx_copy(out->sans[out->san_count++], sizeof(out->sans[0]), name);
}

static void add_sans(const char *name, const char *ns, const kfx_config_t *config, const kfx_memo_t *facts,
                     kfx_endpoints_t *out)
{
    static const char *const fixed[] = {"kubernetes",
                                        "kubernetes.default",
                                        "kubernetes.default.svc",
                                        "kubernetes.default.svc.cluster",
                                        "kubernetes.default.svc.cluster.local",
                                        "localhost",
                                        "kubeflex-control-plane"};
    static const char *const forms[] = {"%s.%s", "%s.%s.svc", "%s.%s.svc.cluster", "%s.%s.svc.cluster.local"};
    for (size_t i = 0; i < KFX_COUNT(fixed); i++)
        add(out, "%s%s", fixed[i], "");
    add(out, "%s%s", config->host_container, "");
    for (size_t i = 0; i < KFX_COUNT(forms); i++)
        add(out, forms[i], name, ns);
    add(out, "%s%s", out->host, "");
    add(out, "%s%s", facts->route_host, "");
    add(out, "%s%s", facts->balancer, "");
    add(out, "%s%s", config->external_address, "");
    add(out, "%s%s", "10.96.0.1", ""); /* first address of the plane's own Service range */
    add(out, "%s%s", "127.0.0.1", "");
    add(out, "%s%s", "::1", "");
    out->input_count = out->san_count;
    add(out, "%s%s", facts->cluster_ip, "");
}

/* "https://address:port", brackets around an IPv6 address. */
static void url(char *out, size_t size, const char *address, int port)
{
    bool v6 = strchr(address, ':') != NULL;
    snprintf(out, size, "https://%s%s%s:%d", v6 ? "[" : "", address, v6 ? "]" : "", port);
}

static void external(const kfx_config_t *config, const kfx_memo_t *facts, kfx_endpoints_t *out)
{
    char *to = out->external_url;
    size_t size = sizeof(out->external_url);
    switch (config->exposure) {
    case KFX_EXPOSE_NODEPORT:
        url(to, size, config->external_address[0] ? config->external_address : config->host_container,
            facts->node_port);
        return;
    case KFX_EXPOSE_LOADBALANCER:
        url(to, size,
            facts->balancer[0]            ? facts->balancer
            : config->external_address[0] ? config->external_address
                                          : out->host,
            443);
        return;
    case KFX_EXPOSE_INGRESS:
    case KFX_EXPOSE_NONE: break;
    }
    if (facts->route_host[0]) {
        snprintf(to, size, "https://%s", facts->route_host);
    } else if (config->external_address[0]) {
        /* Reached by address, told apart by the name in the TLS handshake: no wildcard DNS is needed. */
        url(to, size, config->external_address, config->external_port);
        kfx_copy(out->tls_server_name, sizeof(out->tls_server_name), out->host);
    } else {
        url(to, size, out->host, config->external_port);
    }
}

void kfx_endpoints(const char *plane, const char *service, const kfx_config_t *config, const kfx_memo_t *facts,
                   kfx_endpoints_t *out)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    *out = (kfx_endpoints_t){.san_count = 0};
    snprintf(out->host, sizeof(out->host), "%s.%s", plane, config->domain);
    snprintf(out->internal_url, sizeof(out->internal_url), "https://%s.%s.svc.cluster.local", service, ns);
    external(config, facts, out);
    add_sans(service, ns, config, facts, out);
}
