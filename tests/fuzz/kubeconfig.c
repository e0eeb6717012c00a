/* tests/fuzz/kubeconfig.c: a kubeconfig out of a Secret: no file is read for it and nothing is run. */
#include "base/yaml.h"
#include "kube/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *tree = kfx_yaml_parse((const char *)data, size, &err);
    if (tree)
        kfx_kube_config_free(kfx_kube_config_from_tree(tree, NULL, NULL, false, &err));
    json_decref(tree);
    return 0;
}
