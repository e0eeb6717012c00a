#include "cli/events.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/print.h"
#include "proto/proto.h"

#include <string.h>
#include <time.h>

#define EVENTS_MAX 500 /* of one namespace: the API server keeps them for an hour */

int64_t kfx_event_time(const json_t *event)
{
    const char *texts[] = {kfx_json_str(event, "series", "lastObservedTime"), kfx_json_str(event, "lastTimestamp"),
                           kfx_json_str(event, "eventTime"), kfx_json_str(event, "metadata", "creationTimestamp")};
    for (size_t i = 0; i < KFX_COUNT(texts); i++)
        if (texts[i] && *texts[i])
            return (int64_t)kfx_rfc3339_parse(texts[i]);
    return -1;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = kfx_event_time(*(json_t *const *)a), y = kfx_event_time(*(json_t *const *)b);
    return (x > y) - (x < y);
}

static int add(json_t *all, kfx_kube_t *kube, const char *path, const char *uid, kfx_error_t *err)
{
    KFX_JSON json_t *list = kfx_hosting_get(kube, path, err);
    if (!list)
        return -1;
    size_t i;
    json_t *event;
    json_array_foreach (json_object_get(list, "items"), i, event) {
        const char *about = kfx_json_str(event, "involvedObject", "uid");
        const char *kind = kfx_json_str(event, "involvedObject", "kind");
        bool plane = kind && strcmp(kind, "ControlPlane") == 0;
        if (!plane || !uid || (about && strcmp(about, uid) == 0))
            json_array_append(all, event);
    }
    return 0;
}

json_t *kfx_events_fetch(kfx_kube_t *kube, const char *plane, const char *uid, kfx_error_t *err)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    KFX_FREE char *name = kfx_kube_escape(plane);
    KFX_FREE char *space = kfx_kube_escape(ns);
    /* Events about what has no namespace lie in "default". */
    KFX_FREE char *own = kfx_xasprintf("/api/v1/namespaces/default/events?limit=%d&fieldSelector=involvedObject.kind%%"
                                       "3DControlPlane%%2CinvolvedObject.name%%3D%s",
                                       EVENTS_MAX, name);
    KFX_FREE char *inside = kfx_xasprintf("/api/v1/namespaces/%s/events?limit=%d", space, EVENTS_MAX);
    KFX_JSON json_t *all = json_array();
    if (add(all, kube, own, uid, err) < 0 || add(all, kube, inside, uid, err) < 0)
        return NULL;
    size_t count = json_array_size(all);
    json_t *sorted = json_array();
    KFX_FREE json_t **event = kfx_xcalloc(count + 1, sizeof(json_t *));
    for (size_t i = 0; i < count; i++)
        event[i] = json_array_get(all, i);
    qsort(event, count, sizeof(json_t *), by_time);
    for (size_t i = 0; i < count; i++)
        json_array_append(sorted, event[i]);
    return sorted;
}

static char *object_of(const json_t *event)
{
    const char *kind = kfx_json_str(event, "involvedObject", "kind");
    const char *name = kfx_json_str(event, "involvedObject", "name");
    return kfx_xasprintf("%s/%s", kind ? kind : "?", name ? name : "?");
}

void kfx_events_print(kfx_out_t *out, const json_t *events, size_t most)
{
    static const kfx_column_t columns[] = {{"LAST SEEN", 10}, {"TYPE", 8},     {"REASON", 10},
                                           {"OBJECT", 10},    {"MESSAGE", 10}, {0}};
    kfx_table_t table;
    kfx_table_init(&table, columns);
    size_t count = json_array_size(events);
    for (size_t i = count > most ? count - most : 0; i < count; i++) {
        const json_t *event = json_array_get(events, i);
        int64_t at = kfx_event_time(event);
        char age[KFX_AGE_SIZE] = "Unknown";
        if (at >= 0)
            kfx_age(age, (int64_t)time(NULL) - at);
        KFX_FREE char *object = object_of(event);
        const char *cells[] = {age, kfx_json_str(event, "type"), kfx_json_str(event, "reason"), object,
                               kfx_json_str(event, "message")};
        kfx_table_add(&table, cells);
    }
    kfx_table_print_head(&table, out);
    kfx_table_print_rows(&table, out);
    kfx_table_release(&table);
}

void kfx_events_note_warnings(kfx_out_t *out, const json_t *events, size_t most)
{
    size_t count = json_array_size(events), first = count, found = 0;
    while (first > 0 && found < most) {
        const char *type = kfx_json_str(json_array_get(events, --first), "type");
        found += type && strcmp(type, "Warning") == 0;
    }
    for (size_t i = first; i < count; i++) {
        const json_t *event = json_array_get(events, i);
        const char *type = kfx_json_str(event, "type"), *reason = kfx_json_str(event, "reason");
        const char *message = kfx_json_str(event, "message");
        if (!type || strcmp(type, "Warning") != 0)
            continue;
        KFX_FREE char *object = object_of(event);
        kfx_out_note(out, "Event: %s %s: %s", object, reason ? reason : "", message ? message : "");
    }
}
