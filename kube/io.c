/* kube/io.c: the I/O actor. One thread, one zloop, two CURLM: requests, and watches on connections of their own (beside
 * heavy writes the API server ends watches that share the connection).
 *
 * Every zloop handler does its bit and then calls settle (), which runs due timers, collects finished transfers and
 * starts what may start, until there is nothing left to do now.
 */
#include "kube/io.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define SETTLE_ROUNDS 16
#define COMMANDS_A_TURN 256
#define TOKEN_MAX 65536

static _Thread_local bool in_io_thread;

bool kfx_in_io_thread(void)
{
    return in_io_thread;
}

/* ---- easy handles, token ------------------------------------------------------------------------------------------
 */

CURL *kfx_io_easy(kfx_io_t *io)
{
    return io->idle_len > 0 ? io->idle[--io->idle_len] : curl_easy_init();
}

void kfx_io_easy_done(kfx_io_t *io, CURL *easy)
{
    if (io->idle_len == KFX_COUNT(io->idle)) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    io->idle[io->idle_len++] = easy;
}

static void token_drop(kfx_io_t *io)
{
    if (io->token)
        kfx_wipe(io->token, strlen(io->token));
    free(io->token);
    io->token = NULL;
}

const char *kfx_io_token(kfx_io_t *io, bool force)
{
    const kfx_kube_config_t *config = io->transport->config;
    if (!config->token_file)
        return config->token;
    int64_t now = kfx_now_ms();
    if (io->token_at == 0 || force || now - io->token_at >= KFX_TOKEN_EVERY_MS) {
        io->token_at = now;
        kfx_error_t err = KFX_ERROR_INIT;
        char *text = kfx_file_read(config->token_file, TOKEN_MAX, NULL, &err);
        if (text)
            text[strcspn(text, "\r\n")] = '\0';
        if (text && *text && kfx_header_safe(text)) {
            token_drop(io);
            io->token = KFX_STEAL(text);
        } else {
            kfx_log_warn("cannot read the token file again, the old token stays", "file", config->token_file, "error",
                         err.msg[0] ? err.msg : "it is empty or holds control characters", NULL);
        }
        if (text)
            kfx_wipe(text, strlen(text));
        free(text);
    }
    return io->token ? io->token : config->token;
}

/* ---- channels -------------------------------------------------------------------------------------------------------
 */

void kfx_channel_fd_add(kfx_channel_t *self, int fd)
{
    if (self->wires_len == self->wires_cap) {
        self->wires_cap = self->wires_cap ? self->wires_cap * 2 : 8;
        self->wires = kfx_xrealloc(self->wires, self->wires_cap * sizeof *self->wires);
    }
    self->newest_at = kfx_now_ms();
    self->wires[self->wires_len++] = (kfx_wire_t){fd, self->newest_at};
}

void kfx_channel_fd_remove(kfx_channel_t *self, int fd)
{
    for (size_t i = 0; i < self->wires_len; i++) {
        if (self->wires[i].fd == fd) {
            self->wires[i] = self->wires[--self->wires_len];
            return;
        }
    }
}

static void on_curl_timer(void *arg)
{
    kfx_channel_t *self = arg;
    int running;
    curl_multi_socket_action(self->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

/* curl must not be called from here: the timer does it later, in this turn of the loop or in another. */
static int on_curl_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    kfx_channel_t *self = arg;
    if (timeout_ms < 0)
        kfx_timer_cancel(&self->io->timers, &self->timer);
    else
        kfx_timer_arm(&self->io->timers, &self->timer, kfx_now_ms() + timeout_ms, on_curl_timer, self);
    return 0;
}

static void settle(kfx_io_t *io);

static int on_socket(zloop_t *loop, zmq_pollitem_t *item, void *arg)
{
    (void)loop;
    kfx_channel_t *self = arg;
    int events = (item->revents & ZMQ_POLLIN ? CURL_CSELECT_IN : 0) |
                 (item->revents & ZMQ_POLLOUT ? CURL_CSELECT_OUT : 0) |
                 (item->revents & ZMQ_POLLERR ? CURL_CSELECT_ERR : 0);
    int running;
    curl_multi_socket_action(self->multi, item->fd, events, &running);
    settle(self->io);
    return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    (void)socket_arg;
    kfx_channel_t *self = arg;
    zmq_pollitem_t item = {.fd = fd};
    zloop_poller_end(self->io->loop, &item);
    if (what == CURL_POLL_REMOVE)
        return 0;
    item.events = (short)((what & CURL_POLL_IN ? ZMQ_POLLIN : 0) | (what & CURL_POLL_OUT ? ZMQ_POLLOUT : 0));
    if (zloop_poller(self->io->loop, &item, on_socket, self) != 0)
        return -1;
    /* Errors reach curl too; without this zloop would drop the socket after the first. */
    zloop_poller_set_tolerant(self->io->loop, &item);
    return 0;
}

static bool collect(kfx_channel_t *self)
{
    bool any = false;
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(self->multi, &left))) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        CURLcode rc = msg->data.result; /* msg dies with remove_handle */
        CURL *easy = msg->easy_handle;
        kfx_xfer_t *xfer = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&xfer);
        if (kfx_xfer_status(xfer) > 0)
            kfx_channel_answered(self, xfer);
        curl_multi_remove_handle(self->multi, easy);
        xfer->channel = NULL;
        xfer->on_done(xfer, rc);
        any = true;
    }
    return any;
}

/* ---- heartbeat
 * ------------------------------------------------------------------------------------------------------- */

/* A peer that froze while its kernel still acknowledges is noticed by nothing else: HTTP/2 PING is not to be had from
 * libcurl, keepalive and TCP_USER_TIMEOUT are content, and later requests would go to the dead connection. */
static void on_heartbeat_timer(void *arg);

static void heartbeat_later(kfx_channel_t *self)
{
    int64_t pause = kfx_random_between(KFX_HEARTBEAT_EVERY_MS * 9 / 10, KFX_HEARTBEAT_EVERY_MS);
    self->beating = false;
    kfx_timer_arm(&self->io->timers, &self->heartbeat_timer, kfx_now_ms() + pause, on_heartbeat_timer, self);
}

static void on_heartbeat_limit(void *arg)
{
    kfx_channel_t *self = arg;
    kfx_io_t *io = self->io;
    kfx_log_warn("API server connection does not answer: cutting it", "connection", self->name, "server",
                 io->transport->config->server, NULL);
    kfx_xfer_end(io, self->heartbeat);
    /* Every transfer on them fails at once. A newer connection may be the one on which the Lease is being renewed. */
    for (size_t i = 0; i < self->wires_len; i++)
        if (self->wires[i].good_at <= self->beat_at)
            shutdown(self->wires[i].fd, SHUT_RDWR);
    heartbeat_later(self);
    if (self == &io->requests)
        kfx_channel_suspect(&io->watches, KFX_SUSPECT_LIMIT_MS); /* the same way to the same server */
}

static bool on_heartbeat_data(kfx_xfer_t *xfer, const char *data, size_t len)
{
    (void)xfer;
    (void)data;
    (void)len;
    return true;
}

static void on_heartbeat_done(kfx_xfer_t *xfer, CURLcode rc)
{
    kfx_channel_t *self = xfer->owner;
    kfx_xfer_end(self->io, xfer);
    heartbeat_later(self);
    /* After a GOAWAY watches stay on the old connection, where no heartbeat goes: nobody would notice its death. They
     * move to the one that has just answered. A failure took its transfers with it: they know. */
    if (rc == CURLE_OK && self == &self->io->watches && self->wires_len > 1 && self->beat_at >= self->newest_at)
        kfx_watch_io_move(self->io, self->newest_at);
}

static void heartbeat(kfx_channel_t *self, int64_t limit_ms)
{
    kfx_io_t *io = self->io;
    kfx_call_t call = {.method = "GET", .target = "/livez", .accept = "*/*"};
    self->heartbeat->on_data = on_heartbeat_data;
    self->heartbeat->on_done = on_heartbeat_done;
    self->heartbeat->owner = self;
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_xfer_prepare(io, self->heartbeat, &call, &err) != 0 || kfx_xfer_start(self->heartbeat, self, &err) != 0) {
        kfx_log_warn("cannot send a heartbeat", "error", err.msg, NULL);
        kfx_xfer_end(io, self->heartbeat);
        heartbeat_later(self);
        return;
    }
    self->beating = true;
    self->beat_at = kfx_now_ms();
    kfx_timer_arm(&io->timers, &self->heartbeat_timer, kfx_now_ms() + limit_ms, on_heartbeat_limit, self);
}

static void on_heartbeat_timer(void *arg)
{
    kfx_channel_t *self = arg;
    /* Over HTTP/1 each exchange has its own connection: a heartbeat says nothing about the others. An answered request
     * is as good as a heartbeat; an open watch is not, it may be on an older connection. */
    bool proven = self == &self->io->requests && kfx_now_ms() - self->last_answer_at < KFX_HEARTBEAT_EVERY_MS / 2;
    if (self->http1 || self->wires_len == 0 || proven)
        heartbeat_later(self);
    else
        heartbeat(self, KFX_HEARTBEAT_LIMIT_MS);
}

void kfx_channel_suspect(kfx_channel_t *self, int64_t limit_ms)
{
    int64_t due = kfx_now_ms() + limit_ms;
    if (self->http1 || self->wires_len == 0)
        return;
    if (!self->beating)
        heartbeat(self, limit_ms);
    else if (self->heartbeat_timer.at > due)
        kfx_timer_arm(&self->io->timers, &self->heartbeat_timer, due, on_heartbeat_limit, self);
}

void kfx_channel_answered(kfx_channel_t *self, const kfx_xfer_t *xfer)
{
    long version = 0;
    curl_easy_getinfo(xfer->easy, CURLINFO_HTTP_VERSION, &version);
    bool http1 = version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1;
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_easy_getinfo(xfer->easy, CURLINFO_ACTIVESOCKET, &fd);
    self->last_answer_at = kfx_now_ms();
    for (size_t i = 0; i < self->wires_len; i++)
        if (self->wires[i].fd == fd)
            self->wires[i].good_at = self->last_answer_at;
    if (http1 != self->http1) {
        /* Both channels talk to the same server; without multiplexing each watch needs a connection. */
        self->io->requests.http1 = self->io->watches.http1 = http1;
        curl_multi_setopt(self->io->watches.multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                          (long)(http1 ? KFX_WATCHES_MAX : KFX_HOST_CONNECTIONS));
    }
}

static int channel_init(kfx_channel_t *self, kfx_io_t *io, const char *name)
{
    self->io = io;
    self->name = name;
    self->multi = curl_multi_init();
    self->heartbeat = kfx_xcalloc(1, sizeof *self->heartbeat);
    if (!self->multi)
        return -1;
    curl_multi_setopt(self->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(self->multi, CURLMOPT_SOCKETDATA, self);
    curl_multi_setopt(self->multi, CURLMOPT_TIMERFUNCTION, on_curl_timeout);
    curl_multi_setopt(self->multi, CURLMOPT_TIMERDATA, self);
    curl_multi_setopt(self->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl_multi_setopt(self->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)KFX_HOST_CONNECTIONS);
    heartbeat_later(self);
    return 0;
}

static void channel_free(kfx_channel_t *self)
{
    kfx_xfer_end(self->io, self->heartbeat);
    free(self->heartbeat);
    curl_multi_cleanup(self->multi); /* closes the connections: the callbacks still run */
    kfx_timer_cancel(&self->io->timers, &self->timer);
    kfx_timer_cancel(&self->io->timers, &self->heartbeat_timer);
    free(self->wires);
}

/* ---- the loop
 * ---------------------------------------------------------------------------------------------------------- */

static int on_loop_timer(zloop_t *loop, int id, void *arg)
{
    (void)loop;
    (void)id;
    kfx_io_t *io = arg;
    io->loop_timer = -1;
    settle(io);
    return 0;
}

static void arm_loop(kfx_io_t *io, int64_t next)
{
    if (next < 0 || (io->loop_timer != -1 && io->loop_timer_at <= next))
        return; /* an earlier wake-up looks again */
    if (io->loop_timer != -1)
        zloop_timer_end(io->loop, io->loop_timer);
    int64_t pause = next - kfx_now_ms();
    io->loop_timer = zloop_timer(io->loop, pause > 1 ? (size_t)pause : 1, 1, on_loop_timer, io);
    io->loop_timer_at = next;
}

static void settle(kfx_io_t *io)
{
    int64_t next = -1;
    bool again = true;
    for (int i = 0; i < SETTLE_ROUNDS && again; i++) {
        next = kfx_timers_run(&io->timers, kfx_now_ms(), 256);
        again = collect(&io->requests);
        again = collect(&io->watches) || again;
        kfx_jobs_pump(io);
        const kfx_timer_t *first = TAILQ_FIRST(&io->timers.list);
        next = first ? first->at : -1;
        again = again || (next >= 0 && next <= kfx_now_ms());
    }
    arm_loop(io, next);
}

static int on_commands(zloop_t *loop, zsock_t *sock, void *arg)
{
    (void)loop;
    kfx_io_t *io = arg;
    for (int i = 0; i < COMMANDS_A_TURN && !io->stopping; i++) {
        kfx_cmd_t *cmd;
        int rc = zmq_recv(zsock_resolve(sock), &cmd, sizeof cmd, ZMQ_DONTWAIT);
        if (rc != (int)sizeof cmd)
            break;
        sem_t *ack = cmd->ack; /* without one the command may be gone after run */
        cmd->run(io, cmd);
        if (ack)
            sem_post(ack);
    }
    if (io->stopping)
        return -1;
    settle(io);
    return 0;
}

void kfx_io_stop(kfx_io_t *io, kfx_cmd_t *cmd)
{
    (void)cmd;
    io->stopping = true;
}

static int on_pipe(zloop_t *loop, zsock_t *sock, void *arg)
{
    (void)loop;
    (void)arg;
    /* $TERM, the only message there is. The command to stop was posted before it and ends the loop in its turn, after
     * all commands that were posted earlier. */
    free(zstr_recv(sock));
    return 0;
}

static void io_end(kfx_io_t *io)
{
    kfx_watch_t *watch;
    while ((watch = TAILQ_FIRST(&io->watch_list)))
        kfx_watch_io_stop(io, watch);
    kfx_jobs_stop(io);
    channel_free(&io->requests);
    channel_free(&io->watches);
    while (io->idle_len > 0)
        curl_easy_cleanup(io->idle[--io->idle_len]);
    token_drop(io);
    zloop_destroy(&io->loop);
}

void kfx_io_actor(zsock_t *pipe, void *arg)
{
    const kfx_io_args_t *args = arg;
    kfx_io_t io = {.kube = args->kube, .transport = args->transport, .commands = args->commands, .loop_timer = -1};
    in_io_thread = true;

    /* Signals are the main thread's; a write to a closed TLS connection must not raise SIGPIPE here. */
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);

    io.loop = zloop_new();
    kfx_timers_init(&io.timers);
    kfx_jobs_init(&io);
    TAILQ_INIT(&io.watch_list);
    if (!io.loop || channel_init(&io.requests, &io, "requests") != 0 || channel_init(&io.watches, &io, "watches") != 0)
        abort();                      /* out of memory at start */
    zloop_set_nonstop(io.loop, true); /* SIGTERM must not end it: leases are given up through it */
    zloop_reader(io.loop, pipe, on_pipe, &io);
    zloop_reader(io.loop, io.commands, on_commands, &io);
    zloop_reader_set_tolerant(io.loop, io.commands);
    arm_loop(&io, kfx_timers_run(&io.timers, kfx_now_ms(), 0));
    zsock_signal(pipe, 0);
    zloop_start(io.loop);
    io_end(&io);
}
