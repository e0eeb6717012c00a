/* cli/listing.h: control planes as `list` and `get` show them, in each format. */
#ifndef KFX_CLI_LISTING_H
#define KFX_CLI_LISTING_H

#include "cli/cli.h"
#include "cli/print.h"

typedef struct {
    kfx_out_t *out;
    kfx_format_t format;
    kfx_table_t table;
    json_t *items; /* what -o json, yaml and name show; NULL otherwise */
    size_t count;
} kfx_listing_t;

void kfx_listing_init(kfx_listing_t *self, kfx_cli_t *cli);
void kfx_listing_release(kfx_listing_t *self);

/* Takes over what is shown of it. */
void kfx_listing_add(kfx_listing_t *self, const json_t *object);
/* Prints them, sorted by name. heading: the line that Go's kflex begins with; single: one object instead of a List. */
int kfx_listing_print(kfx_listing_t *self, bool heading, bool single, kfx_error_t *err);

/* For --watch, one at a time: the object's row (or name) as text, without its age, to see whether anything changed.
 * Fresh. */
char *kfx_listing_key(const kfx_listing_t *self, const json_t *object);
/* type: "ADDED", "MODIFIED" or "DELETED". */
int kfx_listing_tell(kfx_listing_t *self, const char *type, const json_t *object, kfx_error_t *err);

#endif
