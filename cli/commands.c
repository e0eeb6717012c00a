/* kflex's table of commands: what there is to run, with which flags. Parser, --help, man page and completion read it.
 */
#include "cli/cli.h"

#define FIELD(name) offsetof(kfx_opts_t, name)

#define OUTPUT_FLAG                                                                                                    \
    {                                                                                                                  \
        KFX_FLAG_CHOICE, 'o', "output", FIELD(output), "FORMAT", "output format: json, yaml, wide or name",            \
            "json yaml wide name"                                                                                      \
    }

/* Those of create and adopt that make spec.postCreateHook and spec.postCreateHooks. */
#define HOOK_FLAGS                                                                                                      \
    {KFX_FLAG_STRING, 'p', "postcreate-hook", FIELD(hook), "NAME", "PostCreateHook to run", NULL},                      \
        {KFX_FLAG_PAIRS, 'e', "set", FIELD(vars), "KEY=VALUE", "variable of that hook; may be repeated", NULL},         \
        {KFX_FLAG_LIST, 0, "hook", FIELD(hooks), "NAME", "PostCreateHook to run, one of several; may be repeated",      \
         NULL},                                                                                                         \
        {KFX_FLAG_PAIRS,                                                                                                \
         0,                                                                                                             \
         "hook-set",                                                                                                    \
         FIELD(hook_vars),                                                                                              \
         "HOOK:KEY=VALUE",                                                                                              \
         "variable of one of several hooks; may be repeated",                                                           \
         NULL},                                                                                                         \
        {KFX_FLAG_PAIRS, 0, "global-set", FIELD(globals), "KEY=VALUE", "variable of all hooks; may be repeated", NULL}, \
    {                                                                                                                   \
        KFX_FLAG_BOOL, 0, "wait-for-hooks", FIELD(wait_for_hooks), NULL, "Ready only when all hooks are done", NULL     \
    }
#define WAIT_FLAGS                                                                                                     \
    {KFX_FLAG_BOOL, 0, "wait", FIELD(wait), NULL, "wait until it is Ready (default true)", "true false"},              \
        {KFX_FLAG_BOOL, 0, "no-wait", FIELD(no_wait), NULL, "return as soon as it is asked for", NULL},                \
    {                                                                                                                  \
        KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "DURATION", "how long to wait for Ready (default 10m)",    \
            NULL                                                                                                       \
    }

static const kfx_flag_t output_flags[] = {
    OUTPUT_FLAG,
    {0},
};
static const kfx_flag_t list_flags[] = {
    OUTPUT_FLAG,
    {KFX_FLAG_BOOL, 'w', "watch", FIELD(watch), NULL, "go on and show each change; Ctrl-C ends it", NULL},
    {0},
};
static const kfx_flag_t create_flags[] = {
    {KFX_FLAG_STRING, 't', "type", FIELD(type), "TYPE",
     "type of control plane: k8s, vcluster, k3s, host, ocm (default k8s); for external see adopt",
     "k8s vcluster k3s host ocm"},
    {KFX_FLAG_STRING, 'b', "backend-type", FIELD(backend), "TYPE",
     "backend: shared, dedicated or external (default shared)", "shared dedicated external"},
    HOOK_FLAGS,
    {KFX_FLAG_STRING, 0, "kubernetes-version", FIELD(kubernetes_version), "VERSION",
     "version of Kubernetes that it runs, as in v1.36.3", NULL},
    {KFX_FLAG_INT, 'x', "expiration-seconds", FIELD(expiration_seconds), "N",
     "how long KubeFlex's tokens live, for types host and external", NULL},
    {KFX_FLAG_STRING, 0, "storage-server", FIELD(storage.server), "NAME", "shared: the Postgres server of the pool",
     NULL},
    {KFX_FLAG_INT, 0, "storage-members", FIELD(storage.members), "N", "dedicated: members of the etcd, 1 or 3", "1 3"},
    {KFX_FLAG_STRING, 0, "storage-size", FIELD(storage.size), "SIZE", "dedicated: size of a member's volume, as 2Gi",
     NULL},
    {KFX_FLAG_STRING, 0, "storage-class", FIELD(storage.storage_class), "NAME", "dedicated: class of the volumes",
     NULL},
    {KFX_FLAG_STRING, 0, "storage-secret", FIELD(storage.secret), "NAMESPACE/NAME",
     "external: the Secret with the database's address", NULL},
    {KFX_FLAG_CHOICE, 0, "storage-deletion-policy", FIELD(storage.deletion_policy), "POLICY",
     "external: Retain the data when the control plane is deleted, or Delete it", "Retain Delete"},
    {KFX_FLAG_STRING, 0, "bootstrap-secret", FIELD(bootstrap_secret), "NAMESPACE/NAME/KEY",
     "for type external: the Secret with its administrator's kubeconfig", NULL},
    {KFX_FLAG_STRING, 'f', "filename", FIELD(file), "FILE",
     "a ControlPlane in YAML or JSON, `-` for standard input; flags change it", "@file"},
    WAIT_FLAGS,
    {0},
};
static const kfx_flag_t adopt_flags[] = {
    {KFX_FLAG_STRING, 'a', "adopted-kubeconfig", FIELD(adopted_kubeconfig), "FILE",
     "kubeconfig of the cluster to adopt (default: the one that kflex works on)", "@file"},
    {KFX_FLAG_STRING, 'c', "adopted-context", FIELD(adopted_context), "CONTEXT", "its administrator's context there",
     "@context"},
    {KFX_FLAG_STRING, 'u', "url-override", FIELD(url_override), "URL",
     "its address for the hosting cluster, where that differs from yours", NULL},
    {KFX_FLAG_INT, 'x', "expiration-seconds", FIELD(expiration_seconds), "N",
     "how long KubeFlex's tokens for it live (default 31536000)", NULL},
    HOOK_FLAGS,
    WAIT_FLAGS,
    {0},
};
static const kfx_flag_t logs_flags[] = {
    {KFX_FLAG_STRING, 'c', "component", FIELD(component), "NAME",
     "api-server (the default), kine, controller-manager, or a container's name", "api-server kine controller-manager"},
    {KFX_FLAG_BOOL, 'f', "follow", FIELD(follow), NULL, "go on and show what is written; Ctrl-C ends it", NULL},
    {KFX_FLAG_BOOL, 'p', "previous", FIELD(previous), NULL, "of the container's run before this one", NULL},
    {KFX_FLAG_INT, 0, "tail", FIELD(tail), "N", "the last N lines (default 0: all)", NULL},
    {0},
};
#define INSTALL_FLAGS                                                                                                  \
    {KFX_FLAG_STRING,                                                                                                  \
     0,                                                                                                                \
     "image",                                                                                                          \
     FIELD(image),                                                                                                     \
     "IMAGE",                                                                                                          \
     "image of KubeFlex's programs (default: of this release)",                                                        \
     NULL},                                                                                                            \
        {KFX_FLAG_BOOL, 0, "dry-run", FIELD(dry_run), NULL, "let the cluster check everything, and change nothing",    \
         NULL},                                                                                                        \
        {KFX_FLAG_BOOL, 0, "no-wait", FIELD(no_wait), NULL, "do not wait until it runs", NULL},                        \
    {                                                                                                                  \
        KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "DURATION", "how long to wait (default 10m)", NULL         \
    }
static const kfx_flag_t init_flags[] = {
    {KFX_FLAG_BOOL, 'c', "create-kind", FIELD(create_kind), NULL, "make a cluster with kind first", NULL},
    {KFX_FLAG_STRING, 'd', "domain", FIELD(domain), "DOMAIN",
     "domain of the control planes' addresses (default localtest.me)", NULL},
    {KFX_FLAG_STRING, 'n', "host-container-name", FIELD(host_container), "NAME",
     "container that the hosting cluster runs in (default kubeflex-control-plane)", NULL},
    {KFX_FLAG_INT, 'p', "external-port", FIELD(external_port), "PORT", "port of the ingress controller (default 9443)",
     NULL},
    INSTALL_FLAGS,
    {0},
};
static const kfx_flag_t upgrade_flags[] = {
    INSTALL_FLAGS,
    {0},
};
static const kfx_flag_t delete_flags[] = {
    {KFX_FLAG_BOOL, 0, "all", FIELD(all), NULL, "every control plane; asks first, on a terminal", NULL},
    {KFX_FLAG_BOOL, 'f', "force", FIELD(force), NULL, "do not ask", NULL},
    {KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "DURATION", "how long to wait until all is gone (default 10m)",
     NULL},
    {0},
};
static const kfx_flag_t backup_flags[] = {
    {KFX_FLAG_STRING, 'o', "output", FIELD(file), "FILE", "file to write; it is as secret as what it holds", "@file"},
    {0},
};
static const kfx_flag_t restore_flags[] = {
    {KFX_FLAG_BOOL, 0, "check", FIELD(check), NULL, "only read the file, and say what it holds", NULL},
    {KFX_FLAG_BOOL, 'f', "force", FIELD(force), NULL, "do not ask", NULL},
    {KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "DURATION",
     "how long to wait until it answers again (default 10m)", NULL},
    {0},
};
static const kfx_flag_t ctx_flags[] = {
    {KFX_FLAG_BOOL, 'o', "overwrite-existing-context", FIELD(overwrite), NULL, "load the context from the server anew",
     NULL},
    {KFX_FLAG_BOOL, 'c', "set-current-for-hosting", FIELD(set_hosting), NULL,
     "remember the current context as the hosting cluster's", NULL},
    {0},
};
static const kfx_flag_t rename_flags[] = {
    {KFX_FLAG_BOOL, 'S', "switch", FIELD(switch_to), NULL, "make the renamed context the current one", NULL},
    {0},
};
static const kfx_flag_t ctx_delete_flags[] = {
    {KFX_FLAG_BOOL, 'f', "force", FIELD(force), NULL, "do not ask, also for contexts that kflex did not make", NULL},
    {0},
};
static const kfx_flag_t tap_flags[] = {
    {KFX_FLAG_STRING, 0, "key", FIELD(tap.key), "PATTERN", "only about control planes of that name ('cp*' works)",
     NULL},
    {KFX_FLAG_STRING, 0, "type", FIELD(tap.type), "TYPE", "only about planes of that type, or `storage`", NULL},
    {KFX_FLAG_STRING, 0, "kind", FIELD(tap.kind), "KIND,KIND", "only these kinds (default: all but PING and PONG)",
     NULL},
    {KFX_FLAG_STRING, 0, "from", FIELD(tap.from), "PATTERN", "only from that sender: `bus`, a role or a pod's name",
     NULL},
    {KFX_FLAG_BOOL, 0, "json", FIELD(tap.json), NULL, "one JSON object a line", NULL},
    {KFX_FLAG_BOOL, 0, "stats", FIELD(tap.stats), NULL, "figures of each service every second instead of messages",
     NULL},
    {KFX_FLAG_STRING, 0, "record", FIELD(tap.record), "FILE", "write the messages to FILE, too", "@file"},
    {KFX_FLAG_STRING, 0, "replay", FIELD(tap.replay), "FILE",
     "show a recording; with --bus play it into that bus, which must be one for tests", "@file"},
    {KFX_FLAG_STRING, 0, "speed", FIELD(tap.speed), "N", "of a replay: 2 is twice as fast, max is without pauses",
     NULL},
    {KFX_FLAG_STRING, 0, "bus", FIELD(tap.bus), "ENDPOINT",
     "a bus that can be reached directly: its tap, or with --replay its work socket (default: the hosting cluster's)",
     NULL},
    {KFX_FLAG_STRING, 0, "keys-dir", FIELD(tap.keys_dir), "DIR", "keys for --bus (as `kubeflex-bus --keys-dir` has)",
     "@dir"},
    {0},
};

static const kfx_command_t ctx_below[] = {
    {.name = "get", .operands = "", .summary = "print the current context", .run = kfx_cmd_ctx_get},
    {.name = "list",
     .operands = "",
     .summary = "list the contexts and the control planes they belong to",
     .flags = output_flags,
     .run = kfx_cmd_ctx_list},
    {.name = "rename",
     .operands = "OLD NEW",
     .summary = "rename a context",
     .min_args = 2,
     .max_args = 2,
     .flags = rename_flags,
     .run = kfx_cmd_ctx_rename,
     .values = "@context"},
    {.name = "delete",
     .operands = "CONTEXT",
     .summary = "delete a context from the kubeconfig; the control plane stays",
     .min_args = 1,
     .max_args = 1,
     .flags = ctx_delete_flags,
     .run = kfx_cmd_ctx_delete,
     .values = "@context"},
    {0},
};
static const kfx_command_t config_below[] = {
    {.name = "set-hosting",
     .operands = "CONTEXT",
     .summary = "remember a context as the hosting cluster's",
     .min_args = 1,
     .max_args = 1,
     .run = kfx_cmd_config_set_hosting,
     .values = "@context"},
    {.name = "diagnose",
     .operands = "",
     .summary = "say whether the hosting cluster's context is known",
     .details = "The default format is json.",
     .flags = output_flags,
     .run = kfx_cmd_config_diagnose},
    {0},
};
static const kfx_command_t completion_below[] = {
    {.name = "bash",
     .operands = "",
     .summary = "for bash: source <(kflex completion bash)",
     .run = kfx_cmd_completion_bash},
    {.name = "zsh",
     .operands = "",
     .summary = "for zsh: source <(kflex completion zsh), after compinit",
     .run = kfx_cmd_completion_zsh},
    {.name = "fish",
     .operands = "",
     .summary = "for fish: kflex completion fish | source",
     .run = kfx_cmd_completion_fish},
    {0},
};
static const kfx_command_t commands[] = {
    {.name = "init",
     .operands = "[CLUSTER-NAME]",
     .summary = "install KubeFlex in the current context's cluster",
     .details =
         "The manifests are kflex's own; nothing is downloaded but images. What is set in ConfigMap kubeflex-config "
         "stays unless a\n"
         "flag says otherwise. The Deployment of a Go KubeFlex is replaced; its control planes go on running.\n"
         "CLUSTER-NAME is for --create-kind, which needs the programs kind and kubectl.",
     .max_args = 1,
     .flags = init_flags,
     .run = kfx_cmd_init},
    {.name = "upgrade",
     .operands = "",
     .summary = "bring the hosting cluster's KubeFlex to the release of this kflex",
     .flags = upgrade_flags,
     .run = kfx_cmd_upgrade},
    {.name = "doctor",
     .operands = "",
     .summary = "check all that control planes need, and say what to do",
     .flags = output_flags,
     .run = kfx_cmd_doctor},
    {.name = "create",
     .operands = "NAME",
     .summary = "create a control plane and switch to it",
     .details =
         "With --filename the name may stand in the file, and any field of spec can be given; flags win over the "
         "file.\n"
         "Ctrl-C ends the waiting only: the control plane goes on being created.",
     .max_args = 1,
     .flags = create_flags,
     .run = kfx_cmd_create},
    {.name = "adopt",
     .operands = "NAME",
     .summary = "make a cluster that is there already a control plane",
     .details =
         "The kubeconfig of its administrator is used once, for an account of KubeFlex's own on that cluster, and then "
         "deleted.\n"
         "`kflex delete` removes the account again; the cluster stays.",
     .min_args = 1,
     .max_args = 1,
     .flags = adopt_flags,
     .run = kfx_cmd_adopt},
    {.name = "delete",
     .operands = "NAME...",
     .summary = "delete control planes and their contexts",
     .max_args = KFX_ARGS_MAX,
     .flags = delete_flags,
     .run = kfx_cmd_delete,
     .values = "@plane"},
    {.name = "list", .operands = "", .summary = "list the control planes", .flags = list_flags, .run = kfx_cmd_list},
    {.name = "get",
     .operands = "NAME...",
     .summary = "show some control planes, as list does",
     .min_args = 1,
     .max_args = KFX_ARGS_MAX,
     .flags = output_flags,
     .run = kfx_cmd_get,
     .values = "@plane"},
    {.name = "describe",
     .operands = "NAME",
     .summary = "tell all about a control plane: conditions, hooks, events",
     .min_args = 1,
     .max_args = 1,
     .run = kfx_cmd_describe,
     .values = "@plane"},
    {.name = "logs",
     .operands = "NAME",
     .summary = "show what a control plane's API server, or another part of it, has logged",
     .min_args = 1,
     .max_args = 1,
     .flags = logs_flags,
     .run = kfx_cmd_logs,
     .values = "@plane"},
    {.name = "events",
     .operands = "NAME",
     .summary = "show what happened to a control plane and its objects in the last hour",
     .min_args = 1,
     .max_args = 1,
     .flags = output_flags,
     .run = kfx_cmd_events,
     .values = "@plane"},
    {.name = "backup",
     .operands = "NAME",
     .summary = "write all that a control plane holds to a file",
     .details = "It goes on being used meanwhile: the file shows it at one moment. It takes the rights to read its "
                "Secret kine-dsn,\n"
                "and to create pods/portforward in namespace kubeflex-system. For backends that are a Postgres.",
     .min_args = 1,
     .max_args = 1,
     .flags = backup_flags,
     .run = kfx_cmd_backup,
     .values = "@plane"},
    {.name = "restore",
     .operands = "FILE [NAME]",
     .summary = "replace all that a control plane holds by a backup",
     .details = "Without NAME it is the one that the backup was made of. It must exist: make it with `kflex create` "
                "first. Its API\n"
                "server is restarted; where anything fails before, nothing has changed.",
     .min_args = 1,
     .max_args = 2,
     .flags = restore_flags,
     .run = kfx_cmd_restore,
     .values = "@file"},
    {.name = "rotate",
     .operands = "NAME...",
     .summary = "give control planes new database passwords",
     .min_args = 1,
     .max_args = KFX_ARGS_MAX,
     .run = kfx_cmd_rotate,
     .values = "@plane"},
    {.name = "ctx",
     .operands = "[NAME]",
     .summary = "switch to a control plane, or back to the hosting cluster",
     .details =
         "Without NAME it switches to the hosting cluster's context. With NAME it switches to that control plane's "
         "context,\n"
         "which is loaded from the server where the kubeconfig does not have it.",
     .max_args = 1,
     .flags = ctx_flags,
     .below = ctx_below,
     .run = kfx_cmd_ctx,
     .values = "@plane"},
    {.name = "config", .operands = "", .summary = "the hosting cluster's context", .below = config_below},
    {.name = "tap",
     .operands = "",
     .summary = "show the messages between KubeFlex's programs as they pass",
     .details = "It reaches the bus through the hosting cluster's API server, which takes the rights to read Secret "
                "kubeflex-bus-tap,\n"
                "to list pods and to create pods/portforward in namespace kubeflex-system. Ctrl-C ends it.",
     .flags = tap_flags,
     .run = kfx_cmd_tap},
    {.name = "version",
     .operands = "",
     .summary = "print the versions of kflex and of the hosting cluster",
     .flags = output_flags,
     .run = kfx_cmd_version},
    {.name = "completion",
     .operands = "",
     .summary = "print what makes a shell complete kflex's words",
     .below = completion_below},
    {.name = "help",
     .operands = "[COMMAND...]",
     .summary = "show the help of a command",
     .max_args = KFX_ARGS_MAX,
     .run = kfx_cmd_help},
    {.name = "__complete",
     .operands = "WORD...",
     .summary = "what the last word could become",
     .max_args = KFX_ARGS_MAX,
     .run = kfx_cmd_complete,
     .hidden = true,
     .raw = true},
    {.name = "__man", .operands = "", .summary = "the manual page", .run = kfx_cmd_man, .hidden = true},
    {0},
};
const kfx_command_t kfx_commands = {
    .name = "kflex", .operands = "", .summary = "tenant Kubernetes control planes", .below = commands};
