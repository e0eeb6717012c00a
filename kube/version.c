/* kube/version.c: the order of resourceVersions. */
#include "kube/watch.h"

#include <ctype.h>
#include <string.h>

static bool is_decimal(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++)
        if (!isdigit((unsigned char)*text))
            return false;
    return true;
}

int kfx_rv_compare(const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return 0;
    if (!is_decimal(a) || !is_decimal(b))
        return 1;
    while (*a == '0')
        a++;
    while (*b == '0')
        b++;
    size_t la = strlen(a), lb = strlen(b);
    if (la != lb)
        return la > lb ? 1 : -1;
    int order = strcmp(a, b);
    return order > 0 ? 1 : order < 0 ? -1 : 0;
}
