/* tests/fuzz/watch.c: the stream of a watch in pieces of any size: lines, JSON, and the facts that the watcher keeps.
 */
#include "kube/internal.h"
#include "tests/fuzz/fuzz.h"
#include "watcher/reduce.h"

#include <assert.h>
#include <string.h>

#define LONGEST 4096

static bool on_line(void *ctx, const char *line, size_t len)
{
    static const char *const kinds[] = {"Namespace", "Secret", "Service", "Deployment"};
    (void)ctx;
    assert(len > 0 && len <= LONGEST && !memchr(line, '\n', len));
    json_t *event = json_loadb(line, len, 0, NULL);
    const json_t *object = json_object_get(event, "object");
    if (object) {
        kfx_seen_plane_free(kfx_reduce_plane(object));
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            free(kfx_reduce_child(kinds[i], object));
    }
    json_decref(event);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_input_t in = {data, size};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_lines_t lines;
    kfx_lines_init(&lines, LONGEST);
    size_t piece = kfx_take(&in) * 4 + 1u;
    while (in.left > 0) {
        size_t len = piece < in.left ? piece : in.left;
        if (kfx_lines_feed(&lines, (const char *)in.at, len, on_line, NULL, &err) != 0)
            kfx_lines_reset(&lines);
        in.at += len;
        in.left -= len;
    }
    kfx_lines_free(&lines);
    return 0;
}
