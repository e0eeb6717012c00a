/* cli/tap_replay.c: a recording of the tap, shown, or played into a bus for tests.
 *
 * What is played is the load, not the bytes: leases and numbers of dispatches are the new bus's own. One watcher sends
 * the recorded EVENTs and SYNCs at their times; one worker for each service answers each TASK with the next result that
 * was recorded for its key, after as long as that took. */
#include "base/clock.h"
#include "base/mem.h"
#include "bus/publisher.h"
#include "bus/session.h"
#include "bus/signals.h"
#include "cli/tap.h"

#include <errno.h>
#include <string.h>

#define QUIET_MS 3000    /* nothing happened for this long after the last event: the bus has no more work */
#define CONNECT_MS 10000 /* for the bus's WELCOMEs */
#define MESSAGES_MAX 2000000
#define CREDIT 1024

typedef struct {
    int64_t at_us;
    kfx_kind_t kind; /* EVENT or SYNC of a watcher; DONE of a worker */
    kfx_envelope_t env;
    zframe_t *payload;
    uint32_t ran_ms;
} step_t;

typedef struct replay replay_t;

typedef struct {
    replay_t *replay;
    char service[KFX_SERVICE_SIZE], role[KFX_SERVICE_SIZE];
    kfx_session_t *session;
    bool up;
} player_t;

/* A TASK that waits for its recorded time to pass. */
typedef struct {
    player_t *player;
    kfx_envelope_t env;
    const step_t *result; /* NULL: none was recorded */
} answer_t;

struct replay {
    kfx_cli_t *cli;
    const kfx_tap_filter_t *filter;
    double speed;      /* 0: no pauses */
    zlistx_t *steps;   /* step_t, EVENT and SYNC, in order */
    zhashx_t *results; /* "service key" -> zlistx_t of step_t, in order */
    size_t events, result_count;

    zloop_t *loop;
    kfx_publisher_t *publisher;
    player_t players[KFX_TAP_SERVICES_MAX];
    size_t player_count;
    zlistx_t *answers; /* answer_t under way */
    bool connected, stopped, started;
    size_t pending, sent, answered, landed;
    uint64_t seq;
    int64_t began_at, first_us, busy_at;
    kfx_error_t why;
};

static void step_free(void **item)
{
    step_t *step = *item;
    zframe_destroy(&step->payload);
    free(step);
    *item = NULL;
}

static void answer_free(void **item)
{
    free(*item);
    *item = NULL;
}

static void list_free(void **item)
{
    zlistx_t *list = *item;
    zlistx_destroy(&list);
    *item = NULL;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static zlistx_t *results_of(replay_t *self, const char *service, const char *key, bool make)
{
    KFX_FREE char *id = kfx_xasprintf("%s %s", service, key);
    zlistx_t *list = zhashx_lookup(self->results, id);
    if (!list && make) {
        list = zlistx_new();
        zlistx_set_destructor(list, step_free);
        zhashx_insert(self->results, id, list);
    }
    return list;
}

/* Only what clients sent, and of that what makes the bus work. */
static void keep(replay_t *self, kfx_tap_seen_t *seen)
{
    const kfx_envelope_t *env = &seen->msg.env;
    kfx_kind_t kind = seen->msg.kind;
    bool watcher = strcmp(seen->meta.role, "watcher") == 0;
    if (seen->meta.out || !(kind == KFX_DONE ? !watcher : watcher && (kind == KFX_EVENT || kind == KFX_SYNC)))
        return;
    step_t *step = kfx_xcalloc(1, sizeof *step);
    step->at_us = seen->meta.time_us;
    step->kind = kind;
    step->env = *env;
    step->payload = KFX_STEAL(seen->msg.payload);
    step->ran_ms = seen->meta.latency_ms;
    if (kind == KFX_DONE) {
        zlistx_add_end(results_of(self, env->service, env->key, true), step);
        self->result_count++;
    } else {
        zlistx_add_end(self->steps, step);
        self->events += kind == KFX_EVENT;
    }
}

static void pause_until(const replay_t *self, int64_t at_us)
{
    if (self->speed <= 0)
        return;
    int64_t due = self->began_at + (int64_t)((double)(at_us - self->first_us) / 1000 / self->speed);
    int64_t left = due - kfx_now_ms();
    if (left > 0)
        zclock_sleep((int)(left < INT32_MAX ? left : INT32_MAX));
}

/* show: prints each message at its time; else keeps what is to be played. */
static int read_all(replay_t *self, FILE *file, bool show, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    zframe_t *record;
    size_t count = 0;
    if (kfx_record_open(file, err) != 0)
        return -1;
    while ((record = kfx_record_read(file, &why)) && count++ < MESSAGES_MAX) {
        kfx_tap_seen_t seen;
        int rc = kfx_tap_decode(record, &seen, &why);
        zframe_destroy(&record);
        if (rc != 0)
            break;
        if (count == 1)
            self->first_us = seen.meta.time_us;
        if (kfx_tap_filter_match(self->filter, &seen)) {
            if (show) {
                pause_until(self, seen.meta.time_us);
                kfx_tap_print(self->cli, &seen);
            } else {
                keep(self, &seen);
            }
        }
        kfx_msg_release(&seen.msg);
        if (show && self->speed > 0 && fflush(stdout) != 0)
            break;
    }
    zframe_destroy(&record);
    if (why.code == KFX_OK && count > MESSAGES_MAX)
        kfx_error_set(&why, KFX_E_INVALID, "it has more than %d messages", MESSAGES_MAX);
    if (why.code != KFX_OK) {
        *err = why;
        return kfx_error_wrap(err, "after %zu messages", count);
    }
    return 0;
}

/* ---- the watcher's part ----------------------------------------------------------------------------------------- */

static void busy(replay_t *self)
{
    self->busy_at = kfx_now_ms();
}

static void send_step(replay_t *self, const step_t *step)
{
    busy(self);
    if (step->kind == KFX_SYNC) {
        if (step->env.state == KFX_SYNC_BEGIN)
            kfx_publisher_sync_begin(self->publisher);
        else
            kfx_publisher_sync_end(self->publisher);
        return;
    }
    kfx_envelope_t env = step->env;
    env.seq = ++self->seq;
    kfx_digest_t *digest = kfx_digest_decode(step->payload, NULL);
    kfx_publisher_event(self->publisher, env.service, &env, digest);
    kfx_digest_free(digest);
    self->sent++;
}

static void on_done(void *ctx, const kfx_envelope_t *env, const kfx_result_t *result)
{
    (void)result;
    replay_t *self = ctx;
    busy(self);
    self->landed++;
    kfx_publisher_ack(self->publisher, env);
}

static void on_connected(void *ctx)
{
    replay_t *self = ctx;
    self->connected = true;
}

static void on_stale(void *ctx, uint64_t epoch)
{
    replay_t *self = ctx;
    kfx_error_set(&self->why, KFX_E_CONFLICT,
                  "that bus has a watcher of epoch %llu: play into a bus of its own, for tests",
                  (unsigned long long)epoch);
    self->stopped = true;
}

/* ---- the workers' part ------------------------------------------------------------------------------------------ */

static void on_up(void *ctx, const kfx_envelope_t *welcome)
{
    (void)welcome;
    player_t *player = ctx;
    player->up = true;
    kfx_session_send(player->session, KFX_SYNC, &(kfx_envelope_t){.state = KFX_SYNC_END}, NULL);
}

static void on_fill(void *ctx, kfx_envelope_t *env)
{
    const player_t *player = ctx;
    kfx_copy(env->service, sizeof env->service, player->service);
    env->credit = CREDIT;
    env->state = KFX_STATE_UP;
}

static int on_answer(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    answer_t *answer = arg;
    replay_t *self = answer->player->replay;
    kfx_envelope_t env = answer->env;
    const step_t *result = answer->result;
    env.outcome = result ? result->env.outcome : KFX_OUTCOME_WAITING;
    env.retry_after_ms = result ? result->env.retry_after_ms : 0;
    if (env.retry_after_ms && self->speed > 0)
        env.retry_after_ms = (uint32_t)((double)env.retry_after_ms / self->speed) + 1;
    kfx_session_send(answer->player->session, KFX_DONE, &env, result ? result->payload : NULL);
    self->answered++;
    self->pending--;
    busy(self);
    zlistx_delete(self->answers, zlistx_find(self->answers, answer));
    return 0;
}

/* The next result of the key; the last one stays, for runs that the recording does not have. */
static const step_t *next_result(replay_t *self, const char *service, const char *key)
{
    zlistx_t *list = results_of(self, service, key, false);
    if (!list)
        return NULL;
    const step_t *at = zlistx_cursor(list) ? zlistx_next(list) : zlistx_first(list);
    return at ? at : zlistx_last(list);
}

static void on_message(void *ctx, kfx_msg_t *msg)
{
    player_t *player = ctx;
    replay_t *self = player->replay;
    if (msg->kind != KFX_TASK)
        return;
    busy(self);
    answer_t *answer = kfx_xcalloc(1, sizeof *answer);
    answer->player = player;
    answer->env = msg->env;
    answer->result = next_result(self, player->service, msg->env.key);
    zlistx_add_end(self->answers, answer);
    self->pending++;
    double ran = answer->result && self->speed > 0 ? answer->result->ran_ms / self->speed : 0;
    zloop_timer(self->loop, ran < 1 ? 1 : (size_t)ran, 1, on_answer, answer);
}

static int add_player(replay_t *self, const char *service, kfx_error_t *err)
{
    for (size_t i = 0; i < self->player_count; i++)
        if (strcmp(self->players[i].service, service) == 0)
            return 0;
    const kfx_type_info_t *type = NULL;
    for (size_t i = 0; (type = kfx_type_at(i)) && strcmp(type->service, service) != 0;)
        i++;
    if ((!type && strcmp(service, KFX_SERVICE_STORAGE) != 0) || self->player_count == KFX_TAP_SERVICES_MAX)
        return kfx_error_set(err, KFX_E_INVALID, "the recording speaks of a service %s that there is not", service);
    player_t *player = &self->players[self->player_count];
    player->replay = self;
    kfx_copy(player->service, sizeof player->service, service);
    snprintf(player->role, sizeof player->role, "%s%s", type ? "reconciler:" : KFX_SERVICE_STORAGE,
             type ? type->name : "");
    kfx_bus_keys_t keys = {"", "", ""};
    const char *dir = self->cli->opts.tap.keys_dir;
    if (dir && kfx_bus_keys_from_dir(dir, player->role, &keys, err) != 0)
        return -1;
    kfx_session_opts_t opts = {.endpoint = self->cli->opts.tap.bus,
                               .keys = &keys,
                               .role = player->role,
                               .service = player->service,
                               .instance = "replay",
                               .on_up = on_up,
                               .on_message = on_message,
                               .on_fill = on_fill,
                               .ctx = player};
    player->session = kfx_session_new(self->loop, &opts, err);
    kfx_wipe(&keys, sizeof keys);
    self->player_count += player->session != NULL;
    return player->session ? 0 : -1;
}

/* ---- the clock -------------------------------------------------------------------------------------------------- */

static bool all_up(const replay_t *self)
{
    bool up = self->connected;
    for (size_t i = 0; i < self->player_count; i++)
        up = up && self->players[i].up;
    return up;
}

static int on_tick(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    replay_t *self = arg;
    int64_t now = kfx_now_ms();
    if (!self->started && all_up(self)) {
        self->started = true;
        self->began_at = now;
    }
    if (!self->started) {
        if (now - self->began_at > CONNECT_MS) {
            kfx_error_set(&self->why, KFX_E_TIMEOUT, "no bus answers at %s", self->cli->opts.tap.bus);
            self->stopped = true;
        }
        return self->stopped ? -1 : 0;
    }
    int64_t until_us = self->first_us + (int64_t)((double)(now - self->began_at) * 1000 * self->speed);
    step_t *step;
    while ((step = zlistx_first(self->steps)) && (self->speed <= 0 || step->at_us <= until_us)) {
        send_step(self, step);
        zlistx_delete(self->steps, zlistx_cursor(self->steps));
    }
    bool quiet = now - self->busy_at > QUIET_MS;
    if (!step && self->pending == 0 && (quiet || self->answered >= self->result_count))
        self->stopped = self->landed >= self->answered || quiet;
    return self->stopped ? -1 : 0;
}

static int on_stop(void *ctx, int number)
{
    (void)number;
    replay_t *self = ctx;
    self->stopped = true;
    return -1;
}

static int connect_all(replay_t *self, kfx_error_t *err)
{
    kfx_publisher_opts_t opts = {.endpoint = self->cli->opts.tap.bus,
                                 .instance = "replay",
                                 .epoch = 1,
                                 .on_connected = on_connected,
                                 .on_done = on_done,
                                 .on_stale = on_stale,
                                 .ctx = self};
    const char *dir = self->cli->opts.tap.keys_dir;
    if (dir && kfx_bus_keys_from_dir(dir, "watcher", &opts.keys, err) != 0)
        return -1;
    self->publisher = kfx_publisher_new(self->loop, &opts, err);
    kfx_wipe(&opts.keys, sizeof opts.keys);
    if (!self->publisher)
        return -1;
    for (step_t *step = zlistx_first(self->steps); step; step = zlistx_next(self->steps))
        if (step->kind == KFX_EVENT && add_player(self, step->env.service, err) != 0)
            return -1;
    return 0;
}

static int play(replay_t *self, kfx_error_t *err)
{
    if (self->events == 0)
        return kfx_error_set(err, KFX_E_INVALID, "there is nothing to play: the recording has no EVENT of a watcher");
    self->loop = zloop_new();
    int rc = kfx_signals_catch(self->loop, on_stop, self, err);
    if (rc == 0)
        rc = connect_all(self, err);
    if (rc == 0) {
        self->began_at = self->busy_at = kfx_now_ms();
        zloop_timer(self->loop, 5, 0, on_tick, self);
        kfx_loop_run(self->loop, &self->stopped);
        if (self->why.code != KFX_OK) {
            *err = self->why;
            rc = -1;
        }
    }
    if (rc == 0)
        kfx_out_line(&self->cli->out, "Played %zu of %zu events; %zu tasks were answered (%zu results were recorded)",
                     self->sent, self->events, self->answered, self->result_count);
    kfx_publisher_destroy(&self->publisher);
    for (size_t i = 0; i < self->player_count; i++)
        kfx_session_destroy(&self->players[i].session, true);
    kfx_signals_release(self->loop);
    zloop_destroy(&self->loop);
    return rc;
}

static int parse_speed(const kfx_opts_t *opts, double *speed, kfx_error_t *err)
{
    const char *text = opts->tap.speed;
    *speed = opts->tap.bus ? 1 : 0;
    if (!text)
        return 0;
    if (strcmp(text, "max") == 0) {
        *speed = 0;
        return 0;
    }
    char *end = NULL;
    *speed = strtod(text, &end);
    if (end == text || *end || !(*speed >= 0.001 && *speed <= 1000))
        return kfx_error_set(err, KFX_E_INVALID, "--speed %s: must be a number from 0.001 to 1000, or max", text);
    return 0;
}

int kfx_tap_replay(kfx_cli_t *cli, const kfx_tap_filter_t *filter, kfx_error_t *err)
{
    replay_t *self = kfx_xcalloc(1, sizeof *self);
    self->cli = cli;
    self->filter = filter;
    self->began_at = kfx_now_ms();
    self->steps = zlistx_new();
    zlistx_set_destructor(self->steps, step_free);
    self->results = zhashx_new();
    zhashx_set_destructor(self->results, list_free);
    self->answers = zlistx_new();
    zlistx_set_destructor(self->answers, answer_free);
    FILE *file = NULL;
    int rc = parse_speed(&cli->opts, &self->speed, err);
    bool usage = rc != 0;
    if (rc == 0 && !(file = fopen(cli->opts.tap.replay, "re")))
        rc = kfx_error_set(err, KFX_E_NOT_FOUND, "cannot read: %s", strerror(errno));
    if (rc == 0)
        rc = read_all(self, file, !cli->opts.tap.bus, err);
    if (rc == 0 && cli->opts.tap.bus)
        rc = play(self, err);
    if (rc != 0 && !usage)
        kfx_error_wrap(err, "%s", cli->opts.tap.replay);
    if (file)
        fclose(file);
    zlistx_destroy(&self->answers);
    zlistx_destroy(&self->steps);
    zhashx_destroy(&self->results);
    free(self);
    return rc;
}
