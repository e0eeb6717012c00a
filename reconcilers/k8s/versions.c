/* reconcilers/k8s/versions.c: the table by minor. Sources: kube-controller-manager's names/controller_names.go (long
 * names since 1.28) and --help of the programs. */
#include "reconcilers/k8s/versions.h"

#include "proto/model.h"
#include "reconcilers/config.h"

#include <stdio.h>

static const char *const no_flags[] = {NULL};

/* Kubernetes 1.27 knows the short names only, and no controller for the status of ValidatingAdmissionPolicies yet. */
static const char short_names[] =
    "bootstrapsigner,clusterrole-aggregation,csrapproving,csrcleaner,csrsigning,garbagecollector,namespace,"
    "pv-protection,pvc-protection,resourcequota,root-ca-cert-publisher,serviceaccount,serviceaccount-token,"
    "tokencleaner";

static const char long_names[] =
    "bootstrap-signer-controller,certificatesigningrequest-approving-controller,"
    "certificatesigningrequest-cleaner-controller,certificatesigningrequest-signing-controller,"
    "clusterrole-aggregation-controller,garbage-collector-controller,namespace-controller,"
    "persistentvolume-protection-controller,persistentvolumeclaim-protection-controller,resourcequota-controller,"
    "root-ca-certificate-publisher-controller,serviceaccount-controller,serviceaccount-token-controller,"
    "token-cleaner-controller,validatingadmissionpolicy-status-controller";

static const kfx_k8s_minor_t minors[] = {
    {27, 27, short_names, no_flags, no_flags},
    {28, 36, long_names, no_flags, no_flags},
};

const kfx_k8s_minor_t *kfx_k8s_minor(int minor)
{
    for (size_t i = 0; i < KFX_COUNT(minors); i++)
        if (minor >= minors[i].first && minor <= minors[i].last)
            return &minors[i];
    return NULL;
}

const char *kfx_k8s_supported(void)
{
    return "v1.27 to v1.36";
}

int kfx_k8s_choose(const char *spec, const char *status, const char *config, kfx_k8s_choice_t *choice, kfx_error_t *err)
{
    const struct {
        const char *text;
        const char *where;
    } sources[] = {{spec, "spec.kubernetesVersion"},
                   {status, "status.kubernetesVersion"},
                   {config, "kubernetesVersion of ConfigMap " KFX_CONFIGMAP},
                   {KFX_DEFAULT_KUBERNETES_VERSION, "the default version"}};
    size_t i = 0;
    while (!sources[i].text[0])
        i++;
    int minor = kfx_version_parse(sources[i].text, choice->version, err);
    if (minor < 0)
        return kfx_error_wrap(err, "%s (supported: %s)", sources[i].where, kfx_k8s_supported());
    choice->minor = kfx_k8s_minor(minor);
    choice->asked = i == 0;
    if (!choice->minor)
        return kfx_error_set(err, KFX_E_INVALID, "%s is %s, but supported are %s", sources[i].where, choice->version,
                             kfx_k8s_supported());
    return 0;
}
