/* reconcilers/verdict.c: errors into conditions and outcomes. */
#include "reconcilers/verdict.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KIND_RETRY_MS 1000
#define RANGE_RETRY_MS 30000

int kfx_verdict_set(kfx_verdict_t *verdict, kfx_outcome_t outcome, uint32_t retry_after_ms, const char *reason,
                    const char *fmt, ...)
{
    va_list args;
    verdict->outcome = outcome;
    verdict->retry_after_ms = retry_after_ms;
    kfx_copy(verdict->reason, sizeof(verdict->reason), reason);
    va_start(args, fmt);
    vsnprintf(verdict->message, sizeof(verdict->message), fmt, args);
    va_end(args);
    return -1;
}

/* The API server refuses new objects in a Namespace that is going away with 403 and this text. */
static bool namespace_ends(const kfx_error_t *error)
{
    return error->code == KFX_E_FORBIDDEN && strstr(error->msg, "being terminated");
}

/* Validation of ownerReferences: the object has a controller already, and it is not this plane. */
static bool other_controller(const kfx_error_t *error, int status)
{
    return status == 422 && strstr(error->msg, "Only one reference can have Controller set to true");
}

/* Admission plugin OwnerReferencesPermissionEnforcement looks kinds up in a list that it reads again every 30 s. Until
 * then it refuses all that is owned by a kind whose definition is newer. */
static bool kind_unknown_yet(const kfx_error_t *error)
{
    return error->code == KFX_E_FORBIDDEN && strstr(error->msg, "cannot find RESTMapping");
}

/* "Internal error occurred: failed to allocate a nodePort: range is full", and the like for the Service's address. */
static int range_is_full(kfx_verdict_t *verdict, const kfx_error_t *error, const char *what)
{
    if (strcasestr(error->msg, "nodePort"))
        return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, RANGE_RETRY_MS, "NodePortsExhausted",
                               "%s: the hosting cluster has no free NodePort: delete Services of type NodePort, widen "
                               "--service-node-port-range of its API server, or set exposure: none in "
                               "ConfigMap " KFX_CONFIGMAP "; tried again every 30 s",
                               what);
    return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, RANGE_RETRY_MS, "ServiceAddressesExhausted",
                           "%s: the hosting cluster has no free Service address: delete Services or give it another "
                           "ServiceCIDR; tried again every 30 s",
                           what);
}

int kfx_verdict_error(kfx_verdict_t *verdict, const kfx_error_t *error, int status, const char *what)
{
    if (namespace_ends(error))
        return kfx_verdict_set(verdict, KFX_OUTCOME_WAITING, 0, "NamespaceTerminating",
                               "%s: the plane's Namespace is being deleted; it is made anew once it is gone", what);
    if (other_controller(error, status))
        return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, 0, "NameConflict",
                               "%s: an object of that name belongs to another controller; remove it or choose another "
                               "name for the plane",
                               what);
    if (strstr(error->msg, "range is full"))
        return range_is_full(verdict, error, what);
    if (kind_unknown_yet(error))
        return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, KIND_RETRY_MS, "ReconcileError",
                               "%s: the API server's admission does not know the new kind ControlPlane yet; it looks "
                               "again every 30 s, nothing needs to be done",
                               what);
    switch (error->code) {
    case KFX_E_FENCED:
    case KFX_E_CANCELED:
    case KFX_E_BUSY: return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, 0, "", "%s: %s", what, error->msg);
    case KFX_E_UNAVAILABLE:
    case KFX_E_TIMEOUT:
        if (status == 0 || status == 503)
            return kfx_verdict_set(verdict, KFX_OUTCOME_DOWN, 0, "", "%s: %s", what, error->msg);
        break;
    case KFX_E_FORBIDDEN:
        return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, 0, "ReconcileError",
                               "%s: not allowed: %.300s; grant it to the reconciler's ServiceAccount (KubeFlex's own "
                               "roles, applied again, do)",
                               what, error->msg);
    case KFX_E_UNAUTHORIZED:
        return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, 0, "ReconcileError",
                               "%s: the API server does not know the reconciler's credentials: %.300s", what,
                               error->msg);
    default: break;
    }
    return kfx_verdict_set(verdict, KFX_OUTCOME_RETRY, 0, "ReconcileError", "%s: %.400s", what, error->msg);
}

uint32_t kfx_retry_min(uint32_t a, uint32_t b)
{
    if (!a || !b)
        return a ? a : b;
    return a < b ? a : b;
}
