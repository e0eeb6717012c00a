/* base/template.h: the part of Go's text/template that PostCreateHooks use, over JSON values. docs/users.md lists it
 * for people; whatever is not listed is refused when the text is parsed, by name.
 *
 *   {{.Name}} {{$.Name}} {{$x.Name}} {{.}}   values; {{"text"}} {{`text`}} {{12}} {{true}}
 *   {{f a b | g}}                            pipelines; a value goes last into the next function; ( ) around one
 *   {{$x := pipeline}} {{$x = pipeline}}     variables
 *   {{if}} {{else if}} {{else}} {{end}}, {{with}}, {{range}} over lists, objects and numbers, {{break}} {{continue}}
 *   {{- and -}} trim white space; comments between {{/ * and * /}}
 *
 * Functions: and or not eq ne lt le gt ge len index slice print printf println (of Go); default empty coalesce ternary
 * required quote squote upper lower trim trimPrefix trimSuffix replace contains hasPrefix hasSuffix splitList join
 * trunc indent nindent b64enc b64dec sha256sum toString int add sub (as sprig has them); asInt asBool (ours, see
 * below).
 *
 * A name that has no value is an error that names it wherever its value would be used; not so in if, with, range, and,
 * or, not, eq, ne, default, empty, coalesce and ternary, where it counts as empty.
 *
 * Text, output and work are bounded (1 MiB, 1 MiB, 1,000,000 steps), so is nesting (64). Errors name the line and never
 * quote a value. A parsed template does not change: it may be run by several threads at once.
 */
#ifndef KFX_TEMPLATE_H
#define KFX_TEMPLATE_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct kfx_template kfx_template_t;

/* Fresh; NULL with INVALID. */
kfx_template_t *kfx_template_parse(const char *text, kfx_error_t *err);
void kfx_template_destroy(kfx_template_t **self_p);

/* The text that comes out, as a JSON string; where the template is nothing but one action whose last function is asInt
 * or asBool, a JSON number or boolean. vars: an object. lenient: a name without a value prints "<no value>", as Go
 * does. Fresh; NULL with INVALID. */
json_t *kfx_template_run(const kfx_template_t *self, const json_t *vars, bool lenient, kfx_error_t *err);

/* A tree whose texts, keys among them, are templates: each is run on its own, so what a value holds never changes the
 * tree around it. Two keys that come out equal are an error. Errors name the place: "spec.containers[0].image: …".
 * Fresh; NULL with INVALID. */
json_t *kfx_template_render(const json_t *tree, const json_t *vars, bool lenient, kfx_error_t *err);
/* Whether all its texts can be parsed; for before there are values. -1 with INVALID. */
int kfx_template_check(const json_t *tree, kfx_error_t *err);

#endif
