/* cli/kubeconfig.h: editing kubeconfig trees: contexts of planes, the hosting context, KubeFlex's extensions.
 *
 * Pure functions on JSON trees; files are cli/kubefile.h's business. A kubeconfig may be spread over several files
 * ($KUBECONFIG): a lookup takes the first file that has the entry, an edit changes the entry where it is, a new entry
 * goes to the main file. Whatever is not named here (other entries, other tools' extensions, unknown fields) stays as
 * it is. Names: context <cp>, cluster <cp>-cluster, user <cp>-admin (KubeFlex's contract). Not thread-safe.
 */
#ifndef KFX_CLI_KUBECONFIG_H
#define KFX_CLI_KUBECONFIG_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define KFX_KC_FILES_MAX 16

/* Sections, for kfx_kc_body and friends. */
#define KFX_KC_CONTEXTS "contexts"
#define KFX_KC_CLUSTERS "clusters"
#define KFX_KC_USERS "users"

/* Keys of the extension "kubeflex". */
#define KFX_KC_HOSTING "hosting-cluster-ctx-name"      /* on the file */
#define KFX_KC_HOSTING_LEGACY "kflex-initial-ctx-name" /* on the file, read only */
#define KFX_KC_PLANE "controlplane-name"               /* on a context */
#define KFX_KC_IS_HOSTING "is-hosting-cluster-ctx"     /* on a context: "true" */
#define KFX_KC_FIRST "first-ctx-name"                  /* on a context, kept as found */

typedef struct {
    size_t count; /* files, at least one */
    size_t main;  /* index of the one that gets new entries */
    json_t *tree[KFX_KC_FILES_MAX];
    char *path[KFX_KC_FILES_MAX]; /* relative file names inside an entry start at its folder */
} kfx_kc_t;

void kfx_kc_release(kfx_kc_t *kc); /* trees and paths; not the struct */

/* The skeleton of a new file. Fresh. */
json_t *kfx_kc_new_tree(void);
/* INVALID where the tree cannot be a kubeconfig: edits rely on this having passed. */
int kfx_kc_check(const json_t *tree, const char *path, kfx_error_t *err);

/* What lies under "context", "cluster" or "user" of the named entry. Borrowed; NULL where there is none. */
json_t *kfx_kc_body(const kfx_kc_t *kc, const char *section, const char *name);
/* Walks the names of a section over all files; an entry that an earlier file hides is left out. Start with a zeroed
 * cursor; NULL at the end. Borrowed. Do not edit the section meanwhile. */
typedef struct {
    size_t file, index;
} kfx_kc_cursor_t;
const char *kfx_kc_next(const kfx_kc_t *kc, const char *section, kfx_kc_cursor_t *cursor);
/* Sets an entry's body (stolen). */
void kfx_kc_put(kfx_kc_t *kc, const char *section, const char *name, json_t *body);
/* From every file; returns how many went. */
size_t kfx_kc_remove(kfx_kc_t *kc, const char *section, const char *name);

const char *kfx_kc_current(const kfx_kc_t *kc); /* "" where there is none; borrowed */
void kfx_kc_set_current(kfx_kc_t *kc, const char *context);

/* Extension "kubeflex" of a context's body or of a whole tree: the value of a key, or NULL. */
const char *kfx_kc_ext(const json_t *holder, const char *key);
/* value NULL takes the key out. Other keys and other tools' extensions stay. now: RFC 3339, for a new extension. */
void kfx_kc_ext_set(json_t *holder, const char *key, const char *value, const char *now);
/* Takes the whole extension out of the holder. */
void kfx_kc_ext_remove(json_t *holder);

/* The plane a context was tagged with, or NULL. */
const char *kfx_kc_plane_of(const kfx_kc_t *kc, const char *context);
/* The context to use for a plane: one named so, or one renamed but still tagged with it. Borrowed; NULL where none is.
 */
const char *kfx_kc_context_of(const kfx_kc_t *kc, const char *plane);

/* The stored hosting context, checked: NOT_FOUND where none is stored, INVALID (with the reason) where it leads
 * nowhere. Borrowed. */
const char *kfx_kc_hosting(const kfx_kc_t *kc, kfx_error_t *err);
/* The stored name as it is, unchecked, or NULL. */
const char *kfx_kc_hosting_stored(const kfx_kc_t *kc);
/* Stores it and moves the mark to this context alone. NOT_FOUND where there is no such context. */
int kfx_kc_set_hosting(kfx_kc_t *kc, const char *context, const char *now, kfx_error_t *err);

/* CONFLICT where the plane's names are taken by somebody else's entries (or by the hosting context). */
int kfx_kc_conflict(const kfx_kc_t *kc, const char *plane, kfx_error_t *err);
/* Takes cluster, user and context of the plane's own kubeconfig in, tags the context, makes it the current one. An
 * earlier context of this plane is replaced (its other extensions stay). A kubeconfig that would run programs or read
 * files is refused: it comes from a Secret. */
int kfx_kc_merge_plane(kfx_kc_t *kc, const json_t *plane_config, const char *plane, const char *now, kfx_error_t *err);
/* Takes out the plane's contexts (also renamed ones) and what only they used. Returns how many entries went; where the
 * current context was among them *was_current is set and there is no current one any more. */
size_t kfx_kc_remove_plane(kfx_kc_t *kc, const char *plane, bool *was_current);
/* The same for one context of any name: the context and, as Go's kflex does, <context>-cluster and <context>-admin,
 * if nothing else uses them. NOT_FOUND where there is no such context. */
int kfx_kc_delete_context(kfx_kc_t *kc, const char *context, bool *was_current, kfx_error_t *err);
/* Context old becomes new: cluster and user are renamed along (<new>-cluster, <new>-admin) where they were named after
 * old, and keep their names otherwise. A stored hosting context follows. NOT_FOUND, EXISTS. */
int kfx_kc_rename_context(kfx_kc_t *kc, const char *old_name, const char *new_name, kfx_error_t *err);

/* All files as one tree, with absolute file names in it: what to connect with. Fresh. */
json_t *kfx_kc_merged(const kfx_kc_t *kc);

#endif
