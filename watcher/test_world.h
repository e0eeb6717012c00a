/* watcher/test_world.h: a watcher in a world of its own, for tests: step.c and bus.c are compiled in (test_world.c),
 * their clock and timers replaced; of the API server there is one ControlPlane, of the publisher what was given to it.
 */
#ifndef KFX_WATCHER_TEST_WORLD_H
#define KFX_WATCHER_TEST_WORLD_H

#include "base/json.h"
#include "base/mem.h"
#include "watcher/merge.h"
#include "watcher/watcher.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The last timer that was set. */
typedef struct {
    zloop_timer_fn *fn;
    int64_t due;
} timer_seen_t;

/* What the publisher got: how many, and the last ones. */
typedef struct {
    unsigned events, acks, syncs;
    char service[48], version[32];
    kfx_envelope_t event, ack;
    size_t children;
    bool place;
    unsigned hook_news; /* how often the status of hooks was to be looked at */
    unsigned forced;    /* planes let go without a service's word, and the last such service */
    char forced_without[48];
    char awaited[96];
} sent_t;

/* The write that is on its way; patch is NULL where there is none. */
typedef struct {
    kfx_plane_t *plane;
    kfx_op_t op;
    json_t *patch;
    unsigned count;
} written_t;

extern int64_t now, later; /* later: of the last kfx_writer_later */
extern kfx_watcher_t w;
extern kfx_publisher_opts_t bus;
extern timer_seen_t timer;
extern sent_t sent;
extern written_t written;
extern json_t *object; /* the ControlPlane */

int setup(void **state);
int teardown(void **state);

kfx_plane_t *create(const char *name, const char *type);
void change(const char *key, json_t *value); /* of its metadata; a new generation too */
void bump(void);                             /* a new resourceVersion */
void show(void);                             /* the watch shows the object as it is */
void land(void);                             /* the write that is on its way succeeds */
void fire(void);                             /* the timer's time has come */

/* A result of that service about the object as it is. */
void done_with(const char *service, kfx_outcome_t outcome, kfx_result_t *result);
void done(const char *service, kfx_outcome_t outcome, const char *type, bool status, const char *reason);
void done_version(const char *version, bool awaits);

const char *reason_of(const char *type); /* of that condition of the plane last written; "" if none */

#endif
