#include "reconcilers/pods.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define RESTARTS_MIN 2 /* one restart may be a start that was too early */

static bool is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; text && i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

static bool image_trouble(const char *waiting)
{
    static const char *const reasons[] = {"ErrImagePull",      "ImagePullBackOff",  "InvalidImageName",
                                          "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"};
    return is_one_of(waiting, reasons, KFX_COUNT(reasons));
}

static bool start_trouble(const char *waiting)
{
    static const char *const reasons[] = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"};
    return is_one_of(waiting, reasons, KFX_COUNT(reasons));
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

static void say_image(const char *container, const char *image, kfx_trouble_t *out)
{
    out->reason = KFX_REASON_IMAGE;
    snprintf(out->message, sizeof(out->message),
             "image %.200s of container %.60s cannot be pulled: put it where the nodes pull from, or choose another "
             "version (spec.kubernetesVersion); it is tried again by itself",
             image, container);
}

/* A workload as kubectl calls it. */
typedef struct {
    const char *ns, *kind, *name;
} whose_t;

static const char *short_kind(const whose_t *whose)
{
    return strcmp(whose->kind, "StatefulSet") == 0 ? "sts" : "deploy";
}

/* Which words of the kubelet are stable: those about configuration. Others name container ids. */
static void say_start(const char *ns, const char *container, const char *waiting, const char *words, kfx_trouble_t *out)
{
    bool stable = strcmp(waiting, "CreateContainerConfigError") == 0;
    out->reason = KFX_REASON_FAILING;
    snprintf(out->message, sizeof(out->message),
             "container %.60s cannot be started: %s%s%.160s; look at `kubectl get events -n %.63s`", container, waiting,
             stable && *words ? ": " : "", stable ? words : "", ns);
}

static void say_failing(const whose_t *whose, const char *container, const json_t *ended, kfx_trouble_t *out)
{
    const char *why = kfx_json_str(ended, "reason");
    bool memory = why && strcmp(why, "OOMKilled") == 0;
    out->reason = KFX_REASON_FAILING;
    snprintf(out->message, sizeof(out->message),
             "container %.60s ends again and again (%.40s, exit code %d)%s; look at `kubectl logs -n %.63s %s/%.63s "
             "-c %.60s --previous`",
             container, why ? why : "Error", (int)kfx_json_int(ended, 0, "exitCode"),
             memory ? ": its memory limit is too small, see key resourceProfile of ConfigMap kubeflex-config" : "",
             whose->ns, short_kind(whose), whose->name, container);
}

static bool container_trouble(const json_t *status, const whose_t *whose, kfx_trouble_t *out)
{
    const char *name = or_empty(kfx_json_str(status, "name"));
    const char *waiting = kfx_json_str(status, "state", "waiting", "reason");
    const json_t *ended = kfx_json_get(status, "lastState", "terminated");
    if (image_trouble(waiting))
        say_image(name, or_empty(kfx_json_str(status, "image")), out);
    else if (start_trouble(waiting))
        say_start(whose->ns, name, waiting, or_empty(kfx_json_str(status, "state", "waiting", "message")), out);
    else if (ended && !json_is_true(kfx_json_get(status, "ready")) &&
             ((waiting && strcmp(waiting, "CrashLoopBackOff") == 0) ||
              kfx_json_int(status, 0, "restartCount") >= RESTARTS_MIN))
        say_failing(whose, name, ended, out);
    return out->reason != NULL;
}

static bool unschedulable(const json_t *pod, const whose_t *whose, kfx_trouble_t *out)
{
    size_t i;
    const json_t *c;
    json_array_foreach (kfx_json_get(pod, "status", "conditions"), i, c) {
        const char *type = kfx_json_str(c, "type"), *reason = kfx_json_str(c, "reason");
        if (!type || strcmp(type, "PodScheduled") != 0 || !reason || strcmp(reason, "Unschedulable") != 0)
            continue;
        out->reason = KFX_REASON_UNSCHEDULABLE;
        snprintf(out->message, sizeof(out->message),
                 "no node takes the pod of %s %.63s: %.300s; make room, or add a node", whose->kind, whose->name,
                 or_empty(kfx_json_str(c, "message")));
        return true;
    }
    return false;
}

static void pod_trouble(const json_t *pod, const whose_t *whose, kfx_trouble_t *out)
{
    static const char *const lists[] = {"initContainerStatuses", "containerStatuses"};
    size_t i;
    const json_t *status;
    if (unschedulable(pod, whose, out))
        return;
    for (size_t l = 0; l < KFX_COUNT(lists); l++)
        json_array_foreach (kfx_json_get(pod, "status", lists[l]), i, status)
            if (container_trouble(status, whose, out))
                return;
}

static bool belongs(const json_t *pod, const char *workload)
{
    const char *name = kfx_json_str(pod, "metadata", "name");
    size_t len = strlen(workload);
    return name && strncmp(name, workload, len) == 0 && name[len] == '-' &&
           !kfx_json_get(pod, "metadata", "deletionTimestamp");
}

void kfx_pods_trouble(const json_t *list, const char *ns, const char *kind, const char *workload, kfx_trouble_t *out)
{
    const whose_t whose = {ns, kind, workload};
    const char *newest = "";
    size_t i;
    const json_t *pod;
    *out = (kfx_trouble_t){.reason = NULL};
    json_array_foreach (kfx_json_get(list, "items"), i, pod) {
        kfx_trouble_t found = {.reason = NULL};
        const char *created = or_empty(kfx_json_str(pod, "metadata", "creationTimestamp"));
        if (!belongs(pod, workload) || strcmp(created, newest) < 0)
            continue; /* such times compare as texts */
        pod_trouble(pod, &whose, &found);
        if (!found.reason)
            continue;
        newest = created;
        *out = found;
    }
}

bool kfx_trouble_known(const char *reason)
{
    static const char *const reasons[] = {KFX_REASON_IMAGE, KFX_REASON_FAILING, KFX_REASON_UNSCHEDULABLE,
                                          KFX_REASON_REFUSED};
    for (size_t i = 0; i < KFX_COUNT(reasons); i++)
        if (strcmp(reason, reasons[i]) == 0)
            return true;
    return false;
}

void kfx_deployment_trouble(const json_t *deployment, kfx_trouble_t *out)
{
    size_t i;
    const json_t *c;
    *out = (kfx_trouble_t){.reason = NULL};
    json_array_foreach (kfx_json_get(deployment, "status", "conditions"), i, c) {
        const char *type = kfx_json_str(c, "type"), *status = kfx_json_str(c, "status");
        if (!type || strcmp(type, "ReplicaFailure") != 0 || !status || strcmp(status, "True") != 0)
            continue;
        out->reason = KFX_REASON_REFUSED;
        snprintf(out->message, sizeof(out->message),
                 "pods of Deployment %.63s are refused: %.300s; change the quota or policy that refuses them",
                 or_empty(kfx_json_str(deployment, "metadata", "name")), or_empty(kfx_json_str(c, "message")));
        return;
    }
}
