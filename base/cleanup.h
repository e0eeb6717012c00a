/* base/cleanup.h: scope-bound release of resources, so that every path out of a function is leak-free.
 *
 *   KFX_FREE char *text = strdup ("x");      freed when text leaves its scope
 *   return KFX_STEAL (text);                 hands it to the caller instead
 */
#ifndef KFX_CLEANUP_H
#define KFX_CLEANUP_H

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

static inline void kfx_cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void kfx_cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void kfx_cleanup_json(json_t **j)
{
    json_decref(*j);
}

#define KFX_FREE __attribute__((cleanup(kfx_cleanup_free)))
#define KFX_CLOSE __attribute__((cleanup(kfx_cleanup_close)))
#define KFX_JSON __attribute__((cleanup(kfx_cleanup_json)))
#define KFX_CLEANUP(fn) __attribute__((cleanup(fn)))

#define KFX_STEAL(p)                                                                                                   \
    __extension__({                                                                                                    \
        __typeof__(p) kfx_steal_ = (p);                                                                                \
        (p) = NULL;                                                                                                    \
        kfx_steal_;                                                                                                    \
    })

#define KFX_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KFX_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

#endif
