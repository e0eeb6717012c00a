/* base/template_functions.c: the functions of templates: Go's own, and those of sprig that manifests use. */
#include "base/buf.h"
#include "base/codec.h"
#include "base/mem.h"
#include "base/template_tree.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ANY KFX_TEMPLATE_ARGS
#define LIST_MAX 100000

typedef const operand_value_t *args_t;

bool kfx_template_true(const operand_value_t *value)
{
    const json_t *json = value->json;
    if (!json || json_is_null(json) || json_is_false(json))
        return false;
    if (json_is_string(json))
        return json_string_length(json) > 0;
    if (json_is_integer(json))
        return json_integer_value(json) != 0;
    if (json_is_object(json))
        return json_object_size(json) > 0;
    return !json_is_array(json) || json_array_size(json) > 0;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_text(kfx_buf_t *out, const json_t *value)
{
    size_t i, count = 0;
    json_t *item;
    const char *key;
    if (json_is_string(value)) {
        kfx_buf_add(out, json_string_value(value), json_string_length(value));
    } else if (json_is_integer(value)) {
        kfx_buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_array(value)) {
        kfx_buf_adds(out, "[");
        json_array_foreach (value, i, item) {
            kfx_buf_adds(out, i ? " " : "");
            add_text(out, item);
        }
        kfx_buf_adds(out, "]");
    } else if (json_is_object(value)) {
        const char **keys = kfx_xcalloc(json_object_size(value) + 1, sizeof *keys);
        json_object_foreach ((json_t *)(uintptr_t)value, key, item)
            keys[count++] = key;
        qsort(keys, count, sizeof *keys, compare_keys);
        kfx_buf_adds(out, "map[");
        for (i = 0; i < count; i++) {
            kfx_buf_addf(out, "%s%s:", i ? " " : "", keys[i]);
            add_text(out, json_object_get(value, keys[i]));
        }
        kfx_buf_adds(out, "]");
        free(keys);
    } else {
        kfx_buf_adds(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "<nil>");
    }
}

char *kfx_template_text(const json_t *value)
{
    kfx_buf_t out = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    add_text(&out, value);
    if (out.failed) {
        kfx_buf_free(&out);
        return NULL;
    }
    return kfx_buf_steal(&out, NULL);
}

/* ---- helpers ---------------------------------------------------------------------------------------------------- */

static int wrong(kfx_error_t *err, const char *what)
{
    return kfx_error_set(err, KFX_E_INVALID, "%s", what);
}

static int give(operand_value_t *out, json_t *json, kfx_error_t *err)
{
    out->json = json;
    return json ? 0 : wrong(err, "the result is no UTF-8");
}

/* buf is freed. */
static int give_buf(operand_value_t *out, kfx_buf_t *buf, kfx_error_t *err)
{
    int rc = buf->failed ? wrong(err, "the result is longer than 1 MiB")
                         : give(out, json_stringn(buf->data ? buf->data : "", buf->len), err);
    kfx_buf_free(buf);
    return rc;
}

static int give_text(operand_value_t *out, char *text, kfx_error_t *err)
{
    int rc = text ? give(out, json_string(text), err) : wrong(err, "the result is longer than 1 MiB");
    free(text);
    return rc;
}

/* Borrowed; NULL with err where it is none. */
static const char *text_of(args_t arg, kfx_error_t *err)
{
    const char *text = json_string_value(arg->json);
    if (!text)
        wrong(err, "a text is needed here");
    return text;
}

static int number_of(args_t arg, json_int_t *out, kfx_error_t *err)
{
    char *end;
    const char *text = json_string_value(arg->json);
    if (json_is_integer(arg->json)) {
        *out = json_integer_value(arg->json);
        return 0;
    }
    errno = 0;
    *out = text ? strtoll(text, &end, 10) : 0;
    if (!text || end == text || *end || errno)
        return wrong(err, "a whole number is needed here");
    return 0;
}

/* ---- Go's ------------------------------------------------------------------------------------------------------- */

static int f_not(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return give(out, json_boolean(!kfx_template_true(args)), err);
}

/* Of one kind, or one of them has no value. */
static int comparable(args_t a, args_t b, kfx_error_t *err)
{
    bool both_bool = json_is_boolean(a->json) && json_is_boolean(b->json);
    if (!a->json || !b->json || both_bool || json_typeof(a->json) == json_typeof(b->json))
        return 0;
    return wrong(err, "a text and a number cannot be compared: int makes a number of a text");
}

static bool same(args_t a, args_t b)
{
    return a->json && b->json ? json_equal(a->json, b->json) : a->json == b->json;
}

static int f_eq(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    bool found = false;
    for (size_t i = 1; i < count; i++) {
        if (comparable(&args[0], &args[i], err))
            return -1;
        found = found || same(&args[0], &args[i]);
    }
    return give(out, json_boolean(found), err);
}

static int f_ne(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return comparable(&args[0], &args[1], err) ? -1 : give(out, json_boolean(!same(&args[0], &args[1])), err);
}

static int order(args_t args, int *out, kfx_error_t *err)
{
    const char *a = json_string_value(args[0].json), *b = json_string_value(args[1].json);
    if (a && b) {
        int diff = strcmp(a, b);
        *out = (diff > 0) - (diff < 0);
        return 0;
    }
    if (!json_is_integer(args[0].json) || !json_is_integer(args[1].json))
        return wrong(err, "two texts or two numbers are needed: int makes a number of a text");
    json_int_t x = json_integer_value(args[0].json), y = json_integer_value(args[1].json);
    *out = (x > y) - (x < y);
    return 0;
}

#define COMPARISON(name, test)                                                                                         \
    static int name(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)                                 \
    {                                                                                                                  \
        int diff = 0;                                                                                                  \
        (void)count;                                                                                                   \
        return order(args, &diff, err) ? -1 : give(out, json_boolean(diff test), err);                                 \
    }
COMPARISON(f_lt, < 0)
COMPARISON(f_le, <= 0)
COMPARISON(f_gt, > 0)
COMPARISON(f_ge, >= 0)

static int f_len(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const json_t *json = args->json;
    (void)count;
    if (!json_is_string(json) && !json_is_array(json) && !json_is_object(json))
        return wrong(err, "a number has no length");
    size_t len = json_is_string(json)  ? json_string_length(json)
                 : json_is_array(json) ? json_array_size(json)
                                       : json_object_size(json);
    return give(out, json_integer((json_int_t)len), err);
}

static int f_index(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const json_t *at = args[0].json;
    for (size_t i = 1; i < count; i++) {
        const json_t *key = args[i].json;
        if (json_is_object(at) && json_is_string(key)) {
            at = json_object_get(at, json_string_value(key));
            if (!at) {
                /* The argument's text may be gone when this is printed; the name of the function says enough. */
                out->missing = "that index looks up";
                return i + 1 == count ? 0 : wrong(err, "there is no such name");
            }
        } else if (json_is_array(at) && json_is_integer(key)) {
            json_int_t n = json_integer_value(key);
            at = n < 0 ? NULL : json_array_get(at, (size_t)n);
            if (!at)
                return wrong(err, "the list is shorter");
        } else {
            return wrong(err, "a list needs a number, an object a name");
        }
    }
    out->json = json_incref((json_t *)(uintptr_t)at);
    return 0;
}

static int f_slice(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const json_t *from = args[0].json;
    json_int_t size = (json_int_t)(json_is_array(from) ? json_array_size(from) : json_string_length(from)), a = 0,
               b = size;
    if ((count > 1 && number_of(&args[1], &a, err)) || (count > 2 && number_of(&args[2], &b, err)))
        return -1;
    if (a < 0 || b < a || b > size)
        return wrong(err, "it is shorter than that");
    if (json_is_string(from))
        return give(out, json_stringn(json_string_value(from) + a, (size_t)(b - a)), err);
    if (!json_is_array(from))
        return wrong(err, "a text or a list is needed");
    out->json = json_array();
    for (json_int_t i = a; i < b; i++)
        json_array_append(out->json, json_array_get(from, (size_t)i));
    return 0;
}

static int f_print(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    kfx_buf_t buf = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    for (size_t i = 0; i < count; i++) {
        /* As Go does: a blank between two of which none is a text. */
        if (i && !json_is_string(args[i].json) && !json_is_string(args[i - 1].json))
            kfx_buf_adds(&buf, " ");
        add_text(&buf, args[i].json);
    }
    return give_buf(out, &buf, err);
}

static int f_println(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    kfx_buf_t buf = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    for (size_t i = 0; i < count; i++) {
        kfx_buf_adds(&buf, i ? " " : "");
        add_text(&buf, args[i].json);
    }
    kfx_buf_adds(&buf, "\n");
    return give_buf(out, &buf, err);
}

static char *quoted(const json_t *value)
{
    char *text = kfx_template_text(value);
    json_t *json = text ? json_string(text) : NULL;
    char *out = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
    json_decref(json);
    free(text);
    return out;
}

/* One verb of printf, "%" passed: flags '-' and '0', width, and s v d q t x. */
static int format_one(const char **at, args_t arg, kfx_buf_t *out, kfx_error_t *err)
{
    bool left = false, zeros = false;
    int width = 0;
    for (; **at == '-' || **at == '0'; (*at)++)
        *(**at == '-' ? &left : &zeros) = true;
    for (; isdigit((unsigned char)**at) && width < 1000; (*at)++)
        width = width * 10 + (**at - '0');
    char verb = **at;
    bool number = json_is_integer(arg->json);
    if (!verb || !strchr("svdqtx", verb))
        return wrong(err, "of the verbs only %s %v %d %q %t %x are supported, with a width");
    if ((verb == 'd' && !number) || (verb == 't' && !json_is_boolean(arg->json)) || (verb == 'x' && !number))
        return wrong(err, "a value does not fit its verb");
    (*at)++;
    char *text = verb == 'q'   ? quoted(arg->json)
                 : verb == 'x' ? kfx_xasprintf("%llx", (unsigned long long)json_integer_value(arg->json))
                               : kfx_template_text(arg->json);
    size_t len = text ? strlen(text) : 0;
    bool sign = zeros && !left && number && text && *text == '-';
    kfx_buf_adds(out, sign ? "-" : "");
    for (size_t i = len; !left && i < (size_t)width; i++)
        kfx_buf_adds(out, zeros ? "0" : " ");
    kfx_buf_adds(out, text ? text + sign : "");
    for (size_t i = len; left && i < (size_t)width; i++)
        kfx_buf_adds(out, " ");
    free(text);
    return text ? 0 : wrong(err, "the result is longer than 1 MiB");
}

static int f_printf(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    kfx_buf_t buf = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    const char *at = text_of(args, err);
    size_t used = 1;
    int rc = at ? 0 : -1;
    while (rc == 0 && *at) {
        size_t plain = strcspn(at, "%");
        kfx_buf_add(&buf, at, plain);
        at += plain;
        if (!*at)
            break;
        at++;
        if (*at == '%')
            kfx_buf_add(&buf, at++, 1);
        else if (used == count)
            rc = wrong(err, "there are more verbs than values");
        else
            rc = format_one(&at, &args[used++], &buf, err);
    }
    if (rc == 0 && used < count)
        rc = wrong(err, "there are more values than verbs");
    if (rc)
        kfx_buf_free(&buf);
    return rc ? rc : give_buf(out, &buf, err);
}

/* ---- sprig's ---------------------------------------------------------------------------------------------------- */

static int f_default(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    args_t chosen = count > 1 && kfx_template_true(&args[1]) ? &args[1] : &args[0];
    (void)err;
    *out = (operand_value_t){json_incref(chosen->json), chosen->missing};
    return 0;
}

static int f_empty(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    return f_not(args, count, out, err);
}

static int f_coalesce(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    size_t i = 0;
    while (i + 1 < count && !kfx_template_true(&args[i]))
        i++;
    (void)err;
    *out = (operand_value_t){json_incref(args[i].json), args[i].missing};
    return 0;
}

static int f_ternary(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    args_t chosen = kfx_template_true(&args[2]) ? &args[0] : &args[1];
    (void)count;
    (void)err;
    *out = (operand_value_t){json_incref(chosen->json), chosen->missing};
    return 0;
}

static int f_required(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *what = args[0].json ? text_of(&args[0], err) : "a value is required";
    (void)count;
    if (!what)
        return -1;
    if (!args[1].json || (json_is_string(args[1].json) && json_string_length(args[1].json) == 0))
        return kfx_error_set(err, KFX_E_INVALID, "%.300s", what);
    out->json = json_incref(args[1].json);
    return 0;
}

static int f_quote(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return give_text(out, quoted(args->json), err);
}

static int f_squote(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    kfx_buf_t buf = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    (void)count;
    kfx_buf_adds(&buf, "'");
    add_text(&buf, args->json);
    kfx_buf_adds(&buf, "'");
    return give_buf(out, &buf, err);
}

static int change_case(args_t args, operand_value_t *out, int (*change)(int), kfx_error_t *err)
{
    const char *text = text_of(args, err);
    if (!text)
        return -1;
    char *copy = kfx_xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = (*c & 0x80) ? *c : (char)change((unsigned char)*c);
    return give_text(out, copy, err);
}

static int f_upper(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return change_case(args, out, toupper, err);
}

static int f_lower(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return change_case(args, out, tolower, err);
}

static int f_trim(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *text = text_of(args, err);
    (void)count;
    if (!text)
        return -1;
    text += strspn(text, " \t\r\n\v\f");
    size_t len = strlen(text);
    while (len && strchr(" \t\r\n\v\f", text[len - 1]))
        len--;
    return give(out, json_stringn(text, len), err);
}

/* Two texts; the one that is worked on comes last, as it does from a pipe. */
static int two_texts(args_t args, const char **a, const char **b, kfx_error_t *err)
{
    *a = text_of(&args[0], err);
    *b = *a ? text_of(&args[1], err) : NULL;
    return *b ? 0 : -1;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    size_t a = strlen(text), b = strlen(with);
    return a >= b && strcmp(text + a - b, with) == 0;
}

static int f_trim_prefix(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *with, *text;
    (void)count;
    if (two_texts(args, &with, &text, err))
        return -1;
    return give(out, json_string(starts(text, with) ? text + strlen(with) : text), err);
}

static int f_trim_suffix(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *with, *text;
    (void)count;
    if (two_texts(args, &with, &text, err))
        return -1;
    return give(out, json_stringn(text, strlen(text) - (ends(text, with) ? strlen(with) : 0)), err);
}

#define TEXT_TEST(name, test)                                                                                          \
    static int name(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)                                 \
    {                                                                                                                  \
        const char *with, *text;                                                                                       \
        (void)count;                                                                                                   \
        return two_texts(args, &with, &text, err) ? -1 : give(out, json_boolean(test), err);                           \
    }
TEXT_TEST(f_contains, strstr(text, with) != NULL)
TEXT_TEST(f_has_prefix, starts(text, with))
TEXT_TEST(f_has_suffix, ends(text, with))

static int f_replace(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    kfx_buf_t buf = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    const char *old, *new, *text = text_of(&args[2], err), *next;
    (void)count;
    if (!text || two_texts(args, &old, &new, err))
        return -1;
    if (!*old)
        return wrong(err, "what is to be replaced is empty");
    for (; (next = strstr(text, old)) != NULL; text = next + strlen(old)) {
        kfx_buf_add(&buf, text, (size_t)(next - text));
        kfx_buf_adds(&buf, new);
    }
    kfx_buf_adds(&buf, text);
    return give_buf(out, &buf, err);
}

static int f_split_list(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *by, *text, *next;
    (void)count;
    if (two_texts(args, &by, &text, err))
        return -1;
    if (!*by)
        return wrong(err, "the text between the parts is empty");
    KFX_JSON json_t *list = json_array();
    for (; (next = strstr(text, by)) != NULL; text = next + strlen(by))
        if (json_array_size(list) == LIST_MAX || json_array_append_new(list, json_stringn(text, (size_t)(next - text))))
            return wrong(err, "too many parts, or a part is no UTF-8");
    json_array_append_new(list, json_string(text));
    return give(out, json_incref(list), err);
}

static int f_join(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    kfx_buf_t buf = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    const char *by = text_of(&args[0], err);
    size_t i;
    json_t *item;
    (void)count;
    if (!by)
        return -1;
    if (!json_is_array(args[1].json))
        return wrong(err, "a list is needed");
    json_array_foreach (args[1].json, i, item) {
        kfx_buf_adds(&buf, i ? by : "");
        add_text(&buf, item);
    }
    return give_buf(out, &buf, err);
}

static int f_trunc(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    json_int_t n;
    const char *text = text_of(&args[1], err);
    (void)count;
    if (!text || number_of(&args[0], &n, err))
        return -1;
    size_t len = strlen(text);
    if (n >= 0)
        return give(out, json_stringn(text, (size_t)n < len ? kfx_utf8_cut(text, (size_t)n) : len), err);
    size_t skip = (size_t)-n < len ? len - (size_t)-n : 0;
    while (skip < len && ((unsigned char)text[skip] & 0xc0) == 0x80)
        skip++;
    return give(out, json_string(text + skip), err);
}

static int indent(args_t args, operand_value_t *out, bool newline, kfx_error_t *err)
{
    kfx_buf_t buf = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    json_int_t n;
    const char *text = text_of(&args[1], err);
    if (!text || number_of(&args[0], &n, err))
        return -1;
    if (n < 0 || n > 100)
        return wrong(err, "0 to 100 blanks are possible");
    kfx_buf_adds(&buf, newline ? "\n" : "");
    for (bool more = true; more;) {
        size_t line = strcspn(text, "\n");
        more = text[line] == '\n';
        kfx_buf_addf(&buf, "%*s", (int)n, "");
        kfx_buf_add(&buf, text, line + more);
        text += line + more;
    }
    return give_buf(out, &buf, err);
}

static int f_indent(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return indent(args, out, false, err);
}

static int f_nindent(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return indent(args, out, true, err);
}

static int f_b64enc(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *text = text_of(args, err);
    (void)count;
    return text ? give_text(out, kfx_base64_encode(text, strlen(text)), err) : -1;
}

static int f_b64dec(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *text = text_of(args, err);
    size_t len;
    (void)count;
    char *plain = text ? kfx_base64_decode(text, &len, err) : NULL;
    if (!plain)
        return -1;
    return strlen(plain) == len ? give_text(out, plain, err) : (free(plain), wrong(err, "the result is no text"));
}

static int f_sha256sum(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    char hex[KFX_SHA256_HEX_SIZE];
    const char *text = text_of(args, err);
    (void)count;
    if (!text)
        return -1;
    kfx_sha256_hex(text, strlen(text), hex);
    return give(out, json_string(hex), err);
}

static int f_to_string(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    (void)count;
    return give_text(out, kfx_template_text(args->json), err);
}

static int f_int(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    json_int_t n;
    (void)count;
    return number_of(args, &n, err) ? -1 : give(out, json_integer(n), err);
}

static int f_add(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    json_int_t sum = 0, n;
    for (size_t i = 0; i < count; i++)
        if (number_of(&args[i], &n, err))
            return -1;
        else if (__builtin_add_overflow(sum, n, &sum))
            return wrong(err, "the number does not fit 64 bits");
    return give(out, json_integer(sum), err);
}

static int f_sub(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    json_int_t a, b;
    (void)count;
    if (number_of(&args[0], &a, err) || number_of(&args[1], &b, err))
        return -1;
    return __builtin_sub_overflow(a, b, &a) ? wrong(err, "the number does not fit 64 bits")
                                            : give(out, json_integer(a), err);
}

static int f_as_bool(args_t args, size_t count, operand_value_t *out, kfx_error_t *err)
{
    const char *text = json_string_value(args->json);
    (void)count;
    if (json_is_boolean(args->json))
        return give(out, json_incref(args->json), err);
    if (!text || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
        return wrong(err, "the value must be true or false");
    return give(out, json_boolean(text[0] == 't'), err);
}

const kfx_template_function_t *kfx_template_function(const char *name)
{
    static const kfx_template_function_t functions[] = {
        {"and", 1, ANY, true, NULL}, /* these two in template_run.c */
        {"or", 1, ANY, true, NULL},
        {"not", 1, 1, true, f_not},
        {"eq", 2, ANY, true, f_eq},
        {"ne", 2, 2, true, f_ne},
        {"lt", 2, 2, false, f_lt},
        {"le", 2, 2, false, f_le},
        {"gt", 2, 2, false, f_gt},
        {"ge", 2, 2, false, f_ge},
        {"len", 1, 1, false, f_len},
        {"index", 2, ANY, false, f_index},
        {"slice", 1, 3, false, f_slice},
        {"print", 0, ANY, false, f_print},
        {"println", 0, ANY, false, f_println},
        {"printf", 1, ANY, false, f_printf},
        {"default", 1, 2, true, f_default},
        {"empty", 1, 1, true, f_empty},
        {"coalesce", 1, ANY, true, f_coalesce},
        {"ternary", 3, 3, true, f_ternary},
        {"required", 2, 2, true, f_required},
        {"quote", 1, 1, false, f_quote},
        {"squote", 1, 1, false, f_squote},
        {"upper", 1, 1, false, f_upper},
        {"lower", 1, 1, false, f_lower},
        {"trim", 1, 1, false, f_trim},
        {"trimPrefix", 2, 2, false, f_trim_prefix},
        {"trimSuffix", 2, 2, false, f_trim_suffix},
        {"contains", 2, 2, false, f_contains},
        {"hasPrefix", 2, 2, false, f_has_prefix},
        {"hasSuffix", 2, 2, false, f_has_suffix},
        {"replace", 3, 3, false, f_replace},
        {"splitList", 2, 2, false, f_split_list},
        {"join", 2, 2, false, f_join},
        {"trunc", 2, 2, false, f_trunc},
        {"indent", 2, 2, false, f_indent},
        {"nindent", 2, 2, false, f_nindent},
        {"b64enc", 1, 1, false, f_b64enc},
        {"b64dec", 1, 1, false, f_b64dec},
        {"sha256sum", 1, 1, false, f_sha256sum},
        {"toString", 1, 1, false, f_to_string},
        {"int", 1, 1, false, f_int},
        {"add", 1, ANY, false, f_add},
        {"sub", 2, 2, false, f_sub},
        {"asInt", 1, 1, false, f_int},
        {"asBool", 1, 1, false, f_as_bool},
    };
    for (size_t i = 0; i < KFX_COUNT(functions); i++)
        if (strcmp(functions[i].name, name) == 0)
            return &functions[i];
    return NULL;
}
