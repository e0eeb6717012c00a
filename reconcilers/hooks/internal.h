/* reconcilers/hooks/internal.h: between the files of this folder. */
#ifndef KFX_RECONCILERS_HOOKS_INTERNAL_H
#define KFX_RECONCILERS_HOOKS_INTERNAL_H

#include "reconcilers/hooks/hooks.h"
#include "reconcilers/run.h"

/* Reasons of a hook, in status.postCreateHookStatus and of condition HooksApplied. */
#define KFX_HOOK_APPLIED "Applied"
#define KFX_HOOK_WAITS "ObjectsNotReady"
#define KFX_HOOK_FAILED "ObjectFailed"
#define KFX_HOOK_NOT_FOUND "HookNotFound"
#define KFX_HOOK_INVALID "InvalidTemplate"
#define KFX_HOOK_REFUSED "ApplyFailed"
#define KFX_HOOK_FORBIDDEN "Forbidden"
#define KFX_HOOK_CONFLICT "NameConflict"

/* The label and the annotation by which the Go implementation knows cluster-scoped objects of a plane's hooks. */
#define KFX_LABEL_MANAGED_BY "app.kubernetes.io/managed-by"
#define KFX_MANAGED_BY "Helm"
#define KFX_ANNOTATION_RELEASE_NS "meta.helm.sh/release-namespace"

/* ---- kinds.c: what the API server serves, by discovery of one group and version at a time -------------------------
 */

typedef struct {
    char collection[160]; /* "/apis/apps/v1" */
    char plural[64];
    bool namespaced;
} kfx_hook_kind_t;

typedef struct kfx_kinds kfx_kinds_t;

kfx_kinds_t *kfx_kinds_new(void);
void kfx_kinds_destroy(kfx_kinds_t **self_p);
/* True when known. */
bool kfx_kinds_get(kfx_kinds_t *self, const char *api_version, const char *kind, kfx_hook_kind_t *out);
/* Takes an APIResourceList. */
void kfx_kinds_put(kfx_kinds_t *self, const char *api_version, const json_t *list);
/* A definition was removed or replaced: the version is asked for again. */
void kfx_kinds_forget(kfx_kinds_t *self, const char *api_version);

/* ---- objects.c: pure -------------------------------------------------------------------------------------------- */

/* Marks an object for the plane: Namespace, label, annotations, and for namespaced ones an ownerReference that has it
 * collected with the plane. hash: of the object before that. INVALID with what is wrong with it. */
int kfx_hook_mark(json_t *object, const kfx_owner_t *owner, const char *hook, bool namespaced, char hash[KFX_HASH_SIZE],
                  kfx_error_t *err);
/* The same for an object inside the plane, which has namespaces of its own. */
int kfx_hook_mark_inside(json_t *object, const kfx_owner_t *owner, const char *hook, bool namespaced,
                         char hash[KFX_HASH_SIZE], kfx_error_t *err);
/* The namespace of an object inside a plane. */
const char *kfx_hook_inside_namespace(const json_t *object);
/* All that desired says is so in live; what live has beyond is others'. */
bool kfx_hook_covers(const json_t *desired, const json_t *live);
/* The same but for the marks, by which two planes' objects differ. */
bool kfx_hook_covers_shared(const json_t *desired, const json_t *live);

typedef enum { KFX_OBJECT_READY, KFX_OBJECT_WAITS, KFX_OBJECT_FAILED } kfx_object_state_t;

/* By kind; `why` (cleared first) says what is missing. */
kfx_object_state_t kfx_hook_object_state(const json_t *live, char why[160]);
/* A Job or Pod that has come to its end. */
bool kfx_hook_finished(const json_t *live);

/* ---- one pass ---------------------------------------------------------------------------------------------------- */

/* A hook of the plane. */
typedef struct {
    char name[KFX_NAME_SIZE];
    const json_t *vars; /* of the plane for this hook; borrowed from the ControlPlane */
    json_t *found;      /* the PostCreateHook; owned */
    json_t *objects;    /* rendered, not marked yet; owned; NULL: cannot be rendered */
    char hash[KFX_HASH_SIZE];
    char user[2 * KFX_NAME_SIZE + 32]; /* as whom it is applied */
    bool once;                         /* spec.policy: Once */
    bool inside;                       /* spec.target: ControlPlane */
    /* how it stands */
    bool done, settled; /* settled: nothing is left to do for this hash */
    bool again;         /* a later try may help though nobody changes anything that is watched */
    char reason[64];
    char message[384];
} kfx_hook_t;

typedef struct {
    kfx_run_t *run;
    kfx_kinds_t *kinds;
    kfx_hook_t *hooks;
    size_t count, excess; /* excess: beyond KFX_HOOKS_MAX, left out */
    json_t *record;       /* of ConfigMap kubeflex-hooks: hook -> {hash, done, objects…} */
    bool recorded;        /* the ConfigMap is there */
    bool waits;           /* spec.waitForPostCreateHooks */
    bool stopped; /* the task was told to stop, or the API server is away: nothing is concluded from this pass */
    bool polls;   /* something is waited for that no event tells */
    struct kfx_remote *inside; /* the plane's API, once a hook needs it */
    kfx_kinds_t *inside_kinds; /* what that serves, for this pass */
    json_t *watched;           /* paths of collections for the watcher: array of texts */
    json_t *looked_at;         /* the same inside the plane, for kfx_inside_look */
} kfx_pass_t;

/* Sets reason and message. Returns -1. */
int kfx_hook_say(kfx_hook_t *hook, const char *reason, const char *fmt, ...) KFX_PRINTF(3, 4);

/* inside.c: one request about a hook's object, to the API server where it belongs and as whom it is to be. */
kfx_code_t kfx_hook_request(kfx_pass_t *pass, const kfx_hook_t *hook, kfx_request_t *req);
void kfx_inside_close(kfx_pass_t *pass);
/* What of this plane's hooks stands in these collections inside it, as a hash over uids and resourceVersions. -1: they
 * could not all be read. */
int kfx_inside_look(kfx_run_t *run, const json_t *paths, char hash[KFX_HASH_SIZE]);

/* plan.c: the hooks of run->plane; at most KFX_HOOKS_MAX. */
void kfx_pass_collect(kfx_pass_t *pass);
/* Reads the hook and puts the variables in. Where that fails, hook->objects stays NULL and it is said why. */
void kfx_hook_load(kfx_pass_t *pass, kfx_hook_t *hook);

/* record.c. -1 when it could not be had, with pass->stopped or a complaint in the log. */
int kfx_record_load(kfx_pass_t *pass);
int kfx_record_save(kfx_pass_t *pass);
/* The entry of that hook, made where there is none. Borrowed. */
json_t *kfx_record_entry(kfx_pass_t *pass, const char *hook);
/* The line of an object in the entry; NULL. Borrowed. inside: the hook's. */
json_t *kfx_record_object(const json_t *entry, const json_t *object, bool inside);

/* apply.c: what the hook asks for, in order. Sets done, settled, reason, message. */
void kfx_hook_apply(kfx_pass_t *pass, kfx_hook_t *hook);
/* What is in the record and not desired any more. */
void kfx_hooks_prune(kfx_pass_t *pass);
/* Cluster-scoped objects that the Go implementation made are collected with the plane. */
void kfx_hook_adopt(kfx_pass_t *pass, kfx_hook_t *hook);
/* The path of one of a hook's objects; -1 with hook's reason where the kind is not served. */
int kfx_hook_path(kfx_pass_t *pass, kfx_hook_t *hook, const json_t *object, kfx_hook_kind_t *kind, char **path);

#endif
