/* tests/fuzz/secret.c: Secrets and ConfigMaps that others fill, as the reconcilers of types external, vcluster and ocm
 * read them. Whatever is in them, what is accepted runs nothing, reads no file and checks certificates. */
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/cluster_info.h"
#include "reconcilers/credentials.h"
#include "reconcilers/external/bootstrap.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check(kfx_kube_config_t *config)
{
    if (config && (config->insecure || config->token_file || !config->server ||
                   (config->ca_pem && !strstr(config->ca_pem, "-----BEGIN CERTIFICATE-----"))))
        __builtin_trap();
    kfx_kube_config_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const kfx_cluster_info_t info = {"https://plane", "name", "PEM"};
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_CREDENTIALS kfx_credentials_t found = {.server = NULL};
    char *coded = kfx_base64_encode(data, size), *text = kfx_xcalloc(1, size + 1);
    memcpy(text, data, size);
    KFX_JSON json_t *secret =
        json_pack("{s:{s:s}, s:{s:s, s:s}}", "metadata", "name", "s", "data", "config", coded, KFX_KEY_INSIDE, coded);
    check(kfx_credentials_key(secret, "config", &err));
    check(kfx_bootstrap_parse(secret, KFX_KEY_INSIDE, &err));
    if (kfx_credentials_parse(secret, &found, &err) == 0 && (!found.token || !found.server))
        __builtin_trap();
    KFX_JSON json_t *value = json_string(text); /* NULL where it is no UTF-8 */
    KFX_JSON json_t *map = value ? json_pack("{s:{s:O}}", "data", "kubeconfig", value) : NULL;
    err = (kfx_error_t)KFX_ERROR_INIT;
    KFX_JSON json_t *edited = map ? kfx_cluster_info_edit(map, &info, &err) : NULL;
    /* What was edited is right: it is not edited again. */
    KFX_JSON json_t *again = edited ? kfx_cluster_info_edit(edited, &info, &err) : NULL;
    if (again)
        __builtin_trap();
    free(coded);
    free(text);
    return 0;
}
