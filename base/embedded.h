/* base/embedded.h: text files compiled into a program by base/embed.py. Constant data: thread-safe. */
#ifndef KFX_EMBEDDED_H
#define KFX_EMBEDDED_H

#include <stddef.h>

/* A list of them is ended by an entry without a name. */
typedef struct {
    const char *name; /* file name without ".yaml" */
    const char *text;
} kfx_embedded_t;

#endif
