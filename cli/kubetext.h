/* cli/kubetext.h: writing a changed kubeconfig so that what did not change keeps its text, comments and layout. Pure.
 */
#ifndef KFX_CLI_KUBETEXT_H
#define KFX_CLI_KUBETEXT_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

/* A text that reads as `after`. old is a text that reads as `before`: its top-level keys, and entries of its lists,
 * that are the same in both are taken from it as they stand, with the comments above them. Where that is not possible
 * (JSON, flow style, anchors across entries), everything is written anew. Fresh, or NULL with err. */
char *kfx_kubetext_rewrite(const char *old, size_t len, const json_t *before, json_t *after, kfx_error_t *err);

#endif
