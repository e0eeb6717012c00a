/* kube/escape.c: text on its way into URLs and headers. */
#include "base/mem.h"
#include "kube/internal.h"

#include <ctype.h>
#include <string.h>

char *kfx_kube_escape(const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = text ? strlen(text) : 0;
    char *out = kfx_xcalloc(3, len + 1);
    char *to = out;
    /* A segment that is only dots would be taken out by URL normalisation: "." and ".." are escaped too. */
    bool dots = len > 0 && strspn(text, ".") == len;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || c == '~' || (c == '.' && !dots);
        if (plain) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        }
    }
    *to = '\0';
    return out;
}

bool kfx_header_safe(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; c && *c; c++) {
        if (*c < 0x20 || *c > 0x7e)
            return false;
    }
    return true;
}

bool kfx_path_safe(const char *text)
{
    if (!text || text[0] != '/' || text[1] == '/')
        return false;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c <= 0x20 || *c > 0x7e || *c == '#' || *c == '\\')
            return false;
    }
    /* Dot segments would reach another path than the one that was written. */
    size_t path_len = strcspn(text, "?");
    for (size_t i = 0; i < path_len;) {
        size_t seg = strcspn(text + i + 1, "/?");
        if ((seg == 1 && text[i + 1] == '.') || (seg == 2 && strncmp(text + i + 1, "..", 2) == 0))
            return false;
        i += seg + 1;
    }
    return true;
}
