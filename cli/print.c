#include "cli/print.h"

#include "base/mem.h"
#include "base/yaml.h"

#include <assert.h>
#include <string.h>

kfx_format_t kfx_format_of(const char *output, kfx_format_t fallback)
{
    static const char *const names[] = {"", "wide", "json", "yaml", "name"};
    for (size_t i = 1; output && i < KFX_COUNT(names); i++)
        if (strcmp(output, names[i]) == 0)
            return (kfx_format_t)i;
    return fallback;
}

bool kfx_format_is_tree(kfx_format_t format)
{
    return format == KFX_FORMAT_JSON || format == KFX_FORMAT_YAML;
}

int kfx_print_tree(kfx_out_t *out, kfx_format_t format, const json_t *tree, kfx_error_t *err)
{
    bool yaml = format == KFX_FORMAT_YAML;
    KFX_FREE char *text = yaml ? kfx_yaml_dump(tree, err) : json_dumps(tree, JSON_INDENT(2));
    if (!text)
        return yaml ? -1 : kfx_error_set(err, KFX_E_INTERNAL, "the answer cannot be written as JSON");
    fprintf(out->out, "%s%s", text, yaml ? "" : "\n");
    return 0;
}

static size_t columns_of(const kfx_table_t *table)
{
    size_t n = 0;
    while (table->column[n].title)
        n++;
    return n;
}

/* Characters of UTF-8 text; each is taken for one place. */
static int places(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void kfx_table_init(kfx_table_t *table, const kfx_column_t *columns)
{
    memset(table, 0, sizeof *table);
    table->column = columns;
    assert(columns_of(table) <= KFX_COLUMNS_MAX);
    for (size_t i = 0; columns[i].title; i++)
        table->width[i] = columns[i].width;
}

void kfx_table_add(kfx_table_t *table, const char *const *cells)
{
    size_t count = columns_of(table);
    table->cell = kfx_xrealloc(table->cell, (table->rows + 1) * count * sizeof *table->cell);
    for (size_t i = 0; i < count; i++) {
        char *text = kfx_clean(cells[i] ? cells[i] : "");
        table->cell[table->rows * count + i] = text;
        int n = places(text);
        if (n >= table->width[i])
            table->width[i] = n + 1; /* a blank stays between two columns */
    }
    table->rows++;
}

static int by_first(const void *a, const void *b)
{
    return strcmp(**(char *const *const *)a, **(char *const *const *)b);
}

void kfx_table_sort(kfx_table_t *table)
{
    size_t count = columns_of(table);
    if (table->rows == 0)
        return;
    char ***row = kfx_xcalloc(table->rows, sizeof *row);
    char **sorted = kfx_xcalloc(table->rows * count, sizeof *sorted);
    for (size_t i = 0; i < table->rows; i++)
        row[i] = &table->cell[i * count];
    qsort(row, table->rows, sizeof *row, by_first);
    for (size_t i = 0; i < table->rows; i++)
        memcpy(&sorted[i * count], row[i], count * sizeof *sorted);
    free(row);
    free(table->cell);
    table->cell = sorted;
}

static void put(FILE *to, const char *text, int width, bool last)
{
    fprintf(to, "%s%*s", text, last ? 0 : width - places(text), "");
}

/* The last column is not filled up. */
static void put_row(const kfx_table_t *table, kfx_out_t *out, char *const *cells)
{
    for (size_t i = 0; table->column[i].title; i++) {
        bool last = !table->column[i + 1].title;
        put(out->out, cells ? cells[i] : table->column[i].title, table->width[i], last);
        if (!last)
            fputc(' ', out->out);
    }
    fputc('\n', out->out);
}

void kfx_table_print_head(kfx_table_t *table, kfx_out_t *out)
{
    put_row(table, out, NULL);
}

void kfx_table_print_rows(kfx_table_t *table, kfx_out_t *out)
{
    size_t count = columns_of(table);
    for (size_t i = 0; i < table->rows; i++)
        put_row(table, out, &table->cell[i * count]);
    for (size_t i = 0; i < table->rows * count; i++)
        free(table->cell[i]);
    table->rows = 0;
}

void kfx_table_release(kfx_table_t *table)
{
    for (size_t i = 0; i < table->rows * columns_of(table); i++)
        free(table->cell[i]);
    free(table->cell);
    table->cell = NULL;
    table->rows = 0;
}
