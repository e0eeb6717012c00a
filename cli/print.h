/* cli/print.h: what is printed for people (tables) and for programs (-o json, yaml, name). Not thread-safe. */
#ifndef KFX_CLI_PRINT_H
#define KFX_CLI_PRINT_H

#include "base/error.h"
#include "cli/output.h"

#include <jansson.h>

typedef enum { KFX_FORMAT_TABLE, KFX_FORMAT_WIDE, KFX_FORMAT_JSON, KFX_FORMAT_YAML, KFX_FORMAT_NAME } kfx_format_t;

/* The value of --output, which the parser has checked; NULL: fallback. */
kfx_format_t kfx_format_of(const char *output, kfx_format_t fallback);
bool kfx_format_is_tree(kfx_format_t format); /* json or yaml */

/* The tree as JSON or YAML, with a newline at its end. */
int kfx_print_tree(kfx_out_t *out, kfx_format_t format, const json_t *tree, kfx_error_t *err);

typedef struct {
    const char *title;
    int width; /* at least; a column grows with its texts */
} kfx_column_t;

#define KFX_COLUMNS_MAX 10

typedef struct {
    const kfx_column_t *column; /* ended by .title NULL */
    char **cell;                /* row after row */
    size_t rows;
    int width[KFX_COLUMNS_MAX];
} kfx_table_t;

void kfx_table_init(kfx_table_t *table, const kfx_column_t *columns);
/* Copies the texts, one for each column; what could confuse a terminal is replaced. NULL counts as "". */
void kfx_table_add(kfx_table_t *table, const char *const *cells);
/* By the first column. */
void kfx_table_sort(kfx_table_t *table);
void kfx_table_print_head(kfx_table_t *table, kfx_out_t *out);
/* The rows, which are then forgotten; the widths stay. */
void kfx_table_print_rows(kfx_table_t *table, kfx_out_t *out);
void kfx_table_release(kfx_table_t *table);

#endif
