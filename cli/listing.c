#include "cli/listing.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "cli/plane.h"

#include <string.h>
#include <time.h>

/* Widths as in Go's kflex; scripts cut columns. */
static const kfx_column_t columns[] = {{"NAME", 20}, {"SYNCED", 10}, {"READY", 10}, {"TYPE", 10}, {"AGE", 10}, {0}};
static const kfx_column_t wide_columns[] = {{"NAME", 20},    {"SYNCED", 10},  {"READY", 10}, {"TYPE", 10}, {"AGE", 10},
                                            {"VERSION", 10}, {"BACKEND", 10}, {"STATE", 10}, {0}};

void kfx_listing_init(kfx_listing_t *self, kfx_cli_t *cli)
{
    memset(self, 0, sizeof *self);
    self->out = &cli->out;
    self->format = kfx_format_of(cli->opts.output, KFX_FORMAT_TABLE);
    kfx_table_init(&self->table, self->format == KFX_FORMAT_WIDE ? wide_columns : columns);
    if (kfx_format_is_tree(self->format))
        self->items = json_array();
}

void kfx_listing_release(kfx_listing_t *self)
{
    kfx_table_release(&self->table);
    json_decref(self->items);
    self->items = NULL;
}

static const char *status_of(const kfx_plane_t *plane, const char *type)
{
    const kfx_condition_t *c = kfx_plane_condition(plane, type);
    return c && *c->status ? c->status : "Unknown";
}

static void add_row(kfx_table_t *table, const json_t *object, bool gone)
{
    kfx_plane_t *p = kfx_xcalloc(1, sizeof *p);
    kfx_plane_read(object, p);
    char age[KFX_AGE_SIZE] = "Unknown";
    if (p->created >= 0)
        kfx_age(age, (int64_t)time(NULL) - p->created);
    const char *version = kfx_json_str(object, "status", "kubernetesVersion");
    const char *backend = kfx_json_str(object, "spec", "backend");
    KFX_FREE char *missing = kfx_plane_is(p, "Ready") ? kfx_xstrdup("Ready") : kfx_plane_missing(p);
    const char *cells[] = {p->name,
                           gone ? "Gone" : status_of(p, "Synced"),
                           gone ? "Gone" : status_of(p, "Ready"),
                           p->type,
                           age,
                           version ? version : "-",
                           backend ? backend : "-",
                           gone          ? "Gone"
                           : p->deleting ? "Deleting"
                                         : missing};
    kfx_table_add(table, cells);
    free(p);
}

/* Who wrote which field is of no use to people, and longer than the rest. */
static json_t *trimmed(const json_t *object)
{
    json_t *copy = json_deep_copy(object);
    json_t *metadata = json_object_get(copy, "metadata");
    if (json_is_object(metadata))
        json_object_del(metadata, "managedFields");
    if (!json_object_get(copy, "kind")) {
        json_object_set_new(copy, "apiVersion", json_string(KFX_API_VERSION));
        json_object_set_new(copy, "kind", json_string("ControlPlane"));
    }
    return copy;
}

void kfx_listing_add(kfx_listing_t *self, const json_t *object)
{
    if (self->items)
        json_array_append_new(self->items, trimmed(object));
    else
        add_row(&self->table, object, false);
    self->count++;
}

static int by_name(const void *a, const void *b)
{
    const char *x = kfx_json_str(*(json_t *const *)a, "metadata", "name");
    const char *y = kfx_json_str(*(json_t *const *)b, "metadata", "name");
    return strcmp(x ? x : "", y ? y : "");
}

static json_t *sorted(const json_t *items)
{
    size_t count = json_array_size(items);
    json_t *out = json_array();
    if (count == 0)
        return out;
    KFX_FREE json_t **item = kfx_xcalloc(count, sizeof(json_t *));
    for (size_t i = 0; i < count; i++)
        item[i] = json_array_get(items, i);
    qsort(item, count, sizeof(json_t *), by_name);
    for (size_t i = 0; i < count; i++)
        json_array_append(out, item[i]);
    return out;
}

static int print_items(const kfx_listing_t *self, bool single, kfx_error_t *err)
{
    KFX_JSON json_t *items = sorted(self->items);
    if (single)
        return kfx_print_tree(self->out, self->format, json_array_get(items, 0), err);
    KFX_JSON json_t *list = json_pack("{s:s, s:s, s:{}, s:O}", "apiVersion", KFX_API_VERSION, "kind",
                                      "ControlPlaneList", "metadata", "items", items);
    return kfx_print_tree(self->out, self->format, list, err);
}

int kfx_listing_print(kfx_listing_t *self, bool heading, bool single, kfx_error_t *err)
{
    if (self->items)
        return print_items(self, single, err);
    kfx_table_sort(&self->table);
    if (self->format == KFX_FORMAT_NAME) {
        for (size_t i = 0; i < self->table.rows; i++)
            fprintf(self->out->out, "%s\n", self->table.cell[i * (KFX_COUNT(columns) - 1)]);
        return 0;
    }
    if (self->count == 0) {
        kfx_out_line(self->out, "No control planes found.");
        return 0;
    }
    if (heading)
        kfx_out_line(self->out, "Control Planes:");
    kfx_table_print_head(&self->table, self->out);
    kfx_table_print_rows(&self->table, self->out);
    return 0;
}

char *kfx_listing_key(const kfx_listing_t *self, const json_t *object)
{
    const char *rv = kfx_json_str(object, "metadata", "resourceVersion");
    if (kfx_format_is_tree(self->format))
        return kfx_xstrdup(rv ? rv : "");
    kfx_table_t one;
    kfx_table_init(&one, wide_columns);
    add_row(&one, object, false);
    KFX_FREE char *state = self->format == KFX_FORMAT_WIDE
                               ? kfx_xasprintf("|%s|%s|%s", one.cell[5], one.cell[6], one.cell[7])
                               : kfx_xstrdup("");
    char *key = kfx_xasprintf("%s|%s|%s%s", one.cell[1], one.cell[2], one.cell[3], state);
    kfx_table_release(&one);
    return key;
}

int kfx_listing_tell(kfx_listing_t *self, const char *type, const json_t *object, kfx_error_t *err)
{
    FILE *out = self->out->out;
    const char *name = kfx_json_str(object, "metadata", "name");
    int rc = 0;
    if (self->items) {
        KFX_JSON json_t *event = json_pack("{s:s, s:o}", "type", type, "object", trimmed(object));
        KFX_FREE char *text =
            self->format == KFX_FORMAT_JSON ? json_dumps(event, JSON_COMPACT) : kfx_yaml_dump(event, err);
        rc = text ? 0 : -1;
        if (text)
            fprintf(out, "%s%s\n", self->format == KFX_FORMAT_JSON ? "" : "---\n", text);
    } else if (self->format == KFX_FORMAT_NAME) {
        fprintf(out, "%s\n", name ? name : "");
    } else {
        add_row(&self->table, object, strcmp(type, "DELETED") == 0);
        kfx_table_print_rows(&self->table, self->out);
    }
    fflush(out);
    return rc;
}
