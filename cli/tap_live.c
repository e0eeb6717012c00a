/* cli/tap_live.c: the tap of a bus, reached directly or through the hosting cluster's API server. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "bus/keys.h"
#include "bus/signals.h"
#include "cli/hosting.h"
#include "cli/tap.h"
#include "kube/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define PATIENCE_MS 10000 /* for the first connection */
#define TICK_MS 250
#define REKEY_MS 2000 /* the Secret is read again at most this often */
#define BATCH 256
#define BUS_SELECTOR "app.kubernetes.io/name=kubeflex-bus"
#define TAP_PORT 5571
#define QUEUE_MAX 100000 /* messages that wait for a slow terminal; beyond, they are missed */

typedef struct {
    kfx_cli_t *cli;
    const kfx_tap_filter_t *filter;
    zloop_t *loop;
    kfx_hosting_t hosting; /* kube NULL: a bus that is reached directly */
    kfx_forward_t *forward;
    char *endpoint;
    kfx_bus_keys_t keys;
    zsock_t *sub;
    zactor_t *monitor;
    int64_t started_at, rekeyed_at;
    bool ever, up, stopped, renew;
    kfx_error_t why; /* the last reason why it is not up */
    bool fatal;      /* … which time does not heal */
    FILE *record;
    uint64_t recorded, left_out;
    kfx_tap_board_t board;
    int64_t board_at; /* when a round of figures began to arrive; 0: shown */
} live_t;

/* ---- keys and the way to the bus -------------------------------------------------------------------------------- */

static int read_keys(live_t *self, kfx_error_t *err)
{
    if (!self->hosting.kube) {
        const char *dir = self->cli->opts.tap.keys_dir;
        return dir ? kfx_bus_keys_from_dir(dir, "tap", &self->keys, err) : 0;
    }
    char name[128];
    kfx_bus_role_secret("tap", name);
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/secrets/%s", KFX_SYSTEM_NAMESPACE, name);
    kfx_error_t why = KFX_ERROR_INIT;
    KFX_JSON json_t *secret = kfx_hosting_get(self->hosting.kube, path, &why);
    if (secret)
        return kfx_bus_keys_from_secret(secret, &self->keys, err);
    if (why.code == KFX_E_NOT_FOUND)
        return kfx_error_set(
            err, why.code,
            "Secret %s is not in namespace %s of context '%s': is KubeFlex running there? The bus makes "
            "the Secret when it starts",
            name, KFX_SYSTEM_NAMESPACE, self->hosting.context);
    *err = why;
    return kfx_hosting_explain(&self->hosting, err);
}

static void disconnect(live_t *self)
{
    if (self->monitor)
        zloop_reader_end(self->loop, zactor_sock(self->monitor));
    zactor_destroy(&self->monitor);
    if (self->sub)
        zloop_reader_end(self->loop, self->sub);
    zsock_destroy(&self->sub);
    self->up = false;
}

static void subscribe(const live_t *self)
{
    if (self->cli->opts.tap.stats) {
        zsock_set_subscribe(self->sub, KFX_TAP_STATS " ");
        return;
    }
    /* PING last: whoever sees one of these knows that the bus has all subscriptions. */
    for (int kind = KFX_KIND_LAST; kind >= 0; kind--) {
        KFX_FREE char *topic = kfx_xasprintf("%s ", kfx_kind_name((kfx_kind_t)kind));
        if (self->filter->kinds & 1u << kind)
            zsock_set_subscribe(self->sub, topic);
    }
}

static int on_message(zloop_t *loop, zsock_t *reader, void *arg);
static int on_monitor(zloop_t *loop, zsock_t *reader, void *arg);

static int connect_bus(live_t *self, kfx_error_t *err)
{
    disconnect(self);
    self->sub = zsock_new(ZMQ_SUB);
    if (!self->sub)
        return kfx_error_set(err, KFX_E_INTERNAL, "cannot make a socket: %s", zmq_strerror(zmq_errno()));
    zsock_set_linger(self->sub, 0);
    zsock_set_rcvhwm(self->sub, QUEUE_MAX);
    zsock_set_maxmsgsize(self->sub, KFX_TAP_RECORD_MAX);
    zsock_set_reconnect_ivl(self->sub, 200);
    zsock_set_reconnect_ivl_max(self->sub, 2000);
    zsock_set_handshake_ivl(self->sub, 8000);
    zsock_set_heartbeat_ivl(self->sub, 2000);
    zsock_set_heartbeat_timeout(self->sub, 8000);
    if (self->keys.public_key[0]) {
        zsock_set_curve_serverkey(self->sub, self->keys.server_key);
        zsock_set_curve_publickey(self->sub, self->keys.public_key);
        zsock_set_curve_secretkey(self->sub, self->keys.secret_key);
    }
    subscribe(self);
    self->monitor = zactor_new(zmonitor, self->sub);
    zstr_sendx(self->monitor, "LISTEN", "HANDSHAKE_SUCCEEDED", "HANDSHAKE_FAILED_NO_DETAIL", "HANDSHAKE_FAILED_AUTH",
               "HANDSHAKE_FAILED_PROTOCOL", "DISCONNECTED", NULL);
    zstr_sendx(self->monitor, "START", NULL);
    zsock_wait(self->monitor);
    zloop_reader(self->loop, zactor_sock(self->monitor), on_monitor, self);
    zloop_reader_set_tolerant(self->loop, zactor_sock(self->monitor));
    zloop_reader(self->loop, self->sub, on_message, self);
    zloop_reader_set_tolerant(self->loop, self->sub);
    if (zsock_connect(self->sub, "%s", self->endpoint) != 0)
        return kfx_error_set(err, KFX_E_INVALID, "cannot connect to %s: %s", self->endpoint, zmq_strerror(zmq_errno()));
    return 0;
}

static void lost(live_t *self, const char *why)
{
    if (self->up)
        kfx_out_note(&self->cli->out, "The bus is away (%s); trying again", why);
    self->up = false;
}

static int on_monitor(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    live_t *self = arg;
    zmsg_t *msg = zmsg_recv(reader);
    char *event = msg ? zmsg_popstr(msg) : NULL;
    if (event && strcmp(event, "HANDSHAKE_SUCCEEDED") == 0) {
        kfx_out_note(&self->cli->out, self->ever ? "Listening again; what passed meanwhile was missed"
                                                 : "Listening to the bus, Ctrl-C ends it");
        self->ever = self->up = true;
        self->why = (kfx_error_t)KFX_ERROR_INIT;
    } else if (event && strcmp(event, "HANDSHAKE_FAILED_AUTH") == 0) {
        kfx_error_set(&self->why, KFX_E_UNAUTHORIZED, "the bus does not accept the key of role tap");
        lost(self, "it does not accept the key");
        self->renew = true; /* not here: the socket that this is about is in use */
    } else if (event && strncmp(event, "HANDSHAKE_FAILED", strlen("HANDSHAKE_FAILED")) == 0) {
        self->renew = true; /* the connection ended, or the bus has another key of its own */
        if (self->why.code == KFX_OK)
            kfx_error_set(&self->why, KFX_E_UNAVAILABLE, "the connection ended before the bus said who it is");
        lost(self, self->why.msg);
    } else if (event) {
        lost(self, self->why.msg[0] ? self->why.msg : "the connection ended");
    }
    zstr_free(&event);
    zmsg_destroy(&msg);
    return 0;
}

static int on_forward(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    (void)reader;
    live_t *self = arg;
    kfx_error_t news;
    while (kfx_forward_news(self->forward, &news)) {
        if (news.code == KFX_OK)
            continue;
        self->why = news;
        bool hopeless = news.code == KFX_E_FORBIDDEN || news.code == KFX_E_UNAUTHORIZED || news.code == KFX_E_INVALID;
        if (!self->ever && hopeless) {
            kfx_hosting_explain(&self->hosting, &self->why);
            self->fatal = true;
            return -1;
        }
    }
    return 0;
}

/* ---- what comes ------------------------------------------------------------------------------------------------- */

static int take_record(live_t *self, zframe_t *record, kfx_error_t *err)
{
    kfx_tap_seen_t seen;
    kfx_error_t why = KFX_ERROR_INIT;
    int rc = 0;
    if (kfx_tap_decode(record, &seen, &why) != 0) {
        kfx_out_warn(&self->cli->out, "a message that this kflex does not understand: %s", why.msg);
    } else if (kfx_tap_filter_match(self->filter, &seen)) {
        kfx_tap_print(self->cli, &seen);
        if (self->record) {
            rc = kfx_record_write(self->record, record, err);
            self->recorded += rc == 0;
        }
    }
    self->left_out += seen.meta.left_out;
    kfx_msg_release(&seen.msg);
    return rc;
}

static void take_figures(live_t *self, zmsg_t *msg)
{
    kfx_tap_stats_t stats;
    if (kfx_tap_stats_decode(msg, &stats, NULL) != 0)
        return;
    kfx_tap_board_take(&self->board, &stats);
    if (!self->board_at)
        self->board_at = kfx_now_ms();
}

static int on_message(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    live_t *self = arg;
    int rc = 0;
    for (int i = 0; rc == 0 && i < BATCH && (zsock_events(reader) & ZMQ_POLLIN); i++) {
        zmsg_t *msg = zmsg_recv(reader);
        if (!msg)
            break;
        if (self->cli->opts.tap.stats)
            take_figures(self, msg);
        else
            rc = take_record(self, zmsg_last(msg), &self->why);
        zmsg_destroy(&msg);
    }
    if (rc != 0)
        self->fatal = true;
    if (fflush(stdout) != 0) { /* `kflex tap | head`: nobody reads any more */
        self->stopped = true;
        return -1;
    }
    if (self->record)
        fflush(self->record);
    return rc;
}

static void show_board(live_t *self)
{
    self->board_at = 0;
    FILE *out = self->cli->out.out;
    if (self->cli->opts.tap.json) {
        for (size_t i = 0; i < self->board.count; i++) {
            KFX_JSON json_t *json = kfx_tap_board_json(&self->board, i);
            KFX_FREE char *text = kfx_json_text(json);
            fprintf(out, "%s\n", text);
        }
    } else {
        char time[KFX_RFC3339_SIZE];
        KFX_FREE char *table = kfx_tap_board_text(&self->board);
        bool terminal = isatty(STDOUT_FILENO);
        fprintf(out, "%s%s  %s\n%s%s", terminal ? "\033[H\033[2J" : "", kfx_rfc3339_now(time), self->endpoint, table,
                terminal ? "" : "\n");
    }
    if (fflush(out) != 0)
        self->stopped = true;
}

/* The key was replaced, or is no good: once more from the Secret. */
static void renew_keys(live_t *self, int64_t now)
{
    kfx_bus_keys_t old = self->keys;
    kfx_error_t err = KFX_ERROR_INIT;
    self->renew = false;
    self->rekeyed_at = now;
    if (read_keys(self, &err) != 0)
        self->why = err;
    else if (memcmp(&old, &self->keys, sizeof old) != 0 && connect_bus(self, &err) != 0)
        self->why = err;
    kfx_wipe(&old, sizeof old);
}

static int on_tick(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    live_t *self = arg;
    int64_t now = kfx_now_ms();
    if (self->renew && now - self->rekeyed_at >= REKEY_MS)
        renew_keys(self, now);
    if (self->board_at && now - self->board_at >= TICK_MS / 2)
        show_board(self);
    if (self->left_out) {
        kfx_out_warn(&self->cli->out, "%" PRIu64 " messages were not shown: more passed than watching may cost",
                     self->left_out);
        self->left_out = 0;
    }
    if (!self->ever && now - self->started_at >= PATIENCE_MS) {
        kfx_error_t was = self->why;
        kfx_error_set(&self->why, KFX_E_TIMEOUT, "the bus does not answer at %s: %.600s", self->endpoint,
                      was.msg[0] ? was.msg : "no connection");
        self->fatal = true;
    }
    return self->fatal || self->stopped ? -1 : 0;
}

static int on_stop(void *ctx, int number)
{
    (void)number;
    live_t *self = ctx;
    self->stopped = true;
    return -1;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static int find_bus(live_t *self, kfx_error_t *err)
{
    if (self->cli->opts.tap.bus) {
        self->endpoint = kfx_xstrdup(self->cli->opts.tap.bus);
        return read_keys(self, err);
    }
    if (kfx_hosting_open(self->cli, &self->hosting, err) < 0 || read_keys(self, err) != 0)
        return -1;
    self->forward = kfx_forward_new(self->hosting.kube, KFX_SYSTEM_NAMESPACE, BUS_SELECTOR, TAP_PORT, err);
    if (!self->forward)
        return -1;
    self->endpoint = kfx_xstrdup(kfx_forward_endpoint(self->forward));
    zloop_reader(self->loop, kfx_forward_sock(self->forward), on_forward, self);
    zloop_reader_set_tolerant(self->loop, kfx_forward_sock(self->forward));
    return 0;
}

static int open_record(live_t *self, const char *path, kfx_error_t *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    self->record = fd < 0 ? NULL : fdopen(fd, "w");
    if (!self->record) {
        if (fd >= 0)
            close(fd);
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot write %s: %s", path, strerror(errno));
    }
    return kfx_record_begin(self->record, err);
}

static int serve(live_t *self, kfx_error_t *err)
{
    const char *record = self->cli->opts.tap.record;
    if (find_bus(self, err) != 0 || (record && open_record(self, record, err) != 0) || connect_bus(self, err) != 0)
        return -1;
    if (!self->cli->opts.tap.json && !self->cli->opts.tap.stats) {
        KFX_FREE char *heading = kfx_tap_heading();
        kfx_out_line(&self->cli->out, "%s", heading);
    }
    self->started_at = kfx_now_ms();
    zloop_timer(self->loop, TICK_MS, 0, on_tick, self);
    while (!self->stopped && !self->fatal)
        if (zloop_start(self->loop) == -1)
            break;
    if (self->fatal) {
        *err = self->why;
        return -1;
    }
    return 0;
}

static void close_all(live_t *self)
{
    disconnect(self);
    if (self->forward)
        zloop_reader_end(self->loop, kfx_forward_sock(self->forward));
    kfx_forward_destroy(&self->forward);
    kfx_hosting_close(&self->hosting);
    kfx_wipe(&self->keys, sizeof self->keys);
    free(self->endpoint);
}

int kfx_tap_live(kfx_cli_t *cli, const kfx_tap_filter_t *filter, kfx_error_t *err)
{
    live_t *self = kfx_xcalloc(1, sizeof *self);
    self->cli = cli;
    self->filter = filter;
    self->loop = zloop_new();
    int rc = kfx_signals_catch(self->loop, on_stop, self, err);
    if (rc == 0)
        rc = serve(self, err);
    if (self->record && (fclose(self->record) != 0) && rc == 0)
        rc = kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot write %s: %s", cli->opts.tap.record, strerror(errno));
    if (rc == 0 && cli->opts.tap.record)
        kfx_out_note(&cli->out, "%llu messages are in %s", (unsigned long long)self->recorded, cli->opts.tap.record);
    close_all(self);
    kfx_signals_release(self->loop);
    zloop_destroy(&self->loop);
    free(self);
    return rc;
}
