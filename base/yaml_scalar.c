#include "base/yaml_scalar.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

static bool any_of(const char *text, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const trues[] = {"true", "True", "TRUE", NULL};
static const char *const falses[] = {"false", "False", "FALSE", NULL};
static const char *const not_finite[] = {".inf",  ".Inf",  ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
                                         "-.Inf", "-.INF", ".nan", ".NaN",  ".NAN",  NULL};

/* Whole text after an optional sign and prefix made of these digits? */
static bool made_of(const char *text, const char *digits)
{
    return *text && strspn(text, digits) == strlen(text);
}

/* The radix, with *at on the first digit; 0 where text is no integer. */
static int int_radix(const char *text, const char **at)
{
    if (*text == '+' || *text == '-')
        text++;
    *at = text + 2;
    if (text[0] == '0' && text[1] == 'x')
        return made_of(*at, "0123456789abcdefABCDEF") ? 16 : 0;
    if (text[0] == '0' && text[1] == 'o')
        return made_of(*at, "01234567") ? 8 : 0;
    *at = text;
    if (!made_of(text, "0123456789"))
        return 0;
    return text[0] == '0' && text[1] && made_of(text, "01234567") ? 8 : 10;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_float(const char *p)
{
    if (*p == '+' || *p == '-')
        p++;
    size_t whole = strspn(p, "0123456789"), fraction = 0;
    p += whole;
    if (*p == '.') {
        p++;
        fraction = strspn(p, "0123456789");
        p += fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        return made_of(p, "0123456789");
    }
    return *p == 0;
}

kfx_scalar_t kfx_scalar_type(const char *text)
{
    const char *at;
    if (any_of(text, nulls))
        return KFX_SCALAR_NULL;
    if (any_of(text, trues) || any_of(text, falses))
        return KFX_SCALAR_BOOL;
    if (int_radix(text, &at) != 0)
        return KFX_SCALAR_INT;
    if (is_float(text))
        return KFX_SCALAR_FLOAT;
    return any_of(text, not_finite) ? KFX_SCALAR_NOT_FINITE : KFX_SCALAR_STRING;
}

static json_t *int_value(const char *text)
{
    const char *at;
    int radix = int_radix(text, &at);
    bool negative = *text == '-';
    errno = 0;
    unsigned long long n = strtoull(at, NULL, radix);
    if (errno == ERANGE || n > (unsigned long long)INT64_MAX + (negative ? 1 : 0))
        return NULL;
    return json_integer(negative ? (json_int_t)(0 - n) : (json_int_t)n);
}

json_t *kfx_scalar_value(const char *text, kfx_error_t *err)
{
    json_t *value = NULL;
    switch (kfx_scalar_type(text)) {
    case KFX_SCALAR_NULL: return json_null();
    case KFX_SCALAR_BOOL: return json_boolean(any_of(text, trues));
    case KFX_SCALAR_STRING: return json_string(text);
    case KFX_SCALAR_INT: value = int_value(text); break;
    case KFX_SCALAR_FLOAT: value = json_real(strtod(text, NULL)); break; /* NULL for what overflows */
    case KFX_SCALAR_NOT_FINITE: break;
    }
    if (!value)
        kfx_error_set(err, KFX_E_INVALID, "the number %.40s is out of range (put a string in quotes)", text);
    return value;
}

/* Words that YAML 1.1 takes for booleans, and its merge and default keys. */
static const char *const words_1_1[] = {"y",  "Y",  "yes", "Yes", "YES", "n",   "N",  "no", "No", "NO",
                                        "on", "On", "ON",  "off", "Off", "OFF", "<<", "=",  NULL};

/* Numbers of YAML 1.1 that are none for us: 1_000, 0b101, 190:20:30, and the like; dates. Rather too many than too few.
 */
static bool number_of_1_1(const char *text)
{
    const char *p = text + (*text == '+' || *text == '-');
    if (!isdigit((unsigned char)*p) && *p != '.')
        return false;
    if (strspn(p, "0123456789_:.") == strlen(p)) {
        bool dotted_more = strchr(p, '.') && strchr(strchr(p, '.') + 1, '.'); /* an IPv4 address or a version */
        return !dotted_more || strchr(p, ':') != NULL;
    }
    if (p[0] == '0' && p[1] && strchr("bBxXoO", p[1]) && made_of(p + 2, "0123456789abcdefABCDEF_"))
        return true;
    if (strspn(p, "0123456789_.eE+-") == strlen(p) && strpbrk(p, "eE"))
        return true;
    /* 2026-11-23 and what follows */
    return strspn(p, "0123456789") == 4 && p[4] == '-' && isdigit((unsigned char)p[5]);
}

bool kfx_scalar_needs_quotes(const char *text)
{
    return kfx_scalar_type(text) != KFX_SCALAR_STRING || any_of(text, words_1_1) || number_of_1_1(text);
}
