/* kube/internal.h: what the files of kube/ share; nobody outside includes it.
 *
 * Threads: everything that takes a kfx_io_t runs in the I/O actor (kube/io.c) and nowhere else. Callers reach it with
 * commands (kfx_cmd_t) over PUSH/PULL; it reaches callers with semaphores (kfx_kube_call) and mailboxes. Two things are
 * shared: the mutex around the PUSH end (many callers, one socket) and kfx_mailbox.pending (atomic).
 */
#ifndef KFX_KUBE_INTERNAL_H
#define KFX_KUBE_INTERNAL_H

#include "base/buf.h"
#include "kube/client.h"
#include "kube/watch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define KFX_ANSWER_MAX (64u << 20) /* bytes of one answer, after decompression */
#define KFX_LINE_MAX (4u << 20)    /* bytes of one watch event */
#define KFX_STATUS_MAX (64u << 10) /* bytes of an error answer that are looked at */
#define KFX_INFLIGHT_MAX 32        /* requests in flight; 8 to 32 saturate an API server */
#define KFX_INFLIGHT_NORMAL 30     /* the rest is kept for urgent ones */
#define KFX_HOST_CONNECTIONS 4     /* never 1: after a GOAWAY later requests would wait for ever */
#define KFX_WATCHES_MAX 90         /* an API server allows 100 streams on a connection */
#define KFX_WRITE_LIMIT_MS 2000    /* of one attempt of a write under a gate */
#define KFX_DEFAULT_LIMIT_MS 10000 /* of everything else */
#define KFX_CONNECT_LIMIT_MS 5000
#define KFX_URGENT_PATIENCE_MS 1000 /* then the renewal of a Lease is sent again on a connection of its own */
#define KFX_HEARTBEAT_EVERY_MS 10000
#define KFX_HEARTBEAT_LIMIT_MS 5000
#define KFX_SUSPECT_LIMIT_MS 2000 /* of a heartbeat that something made us send */
#define KFX_TOKEN_EVERY_MS 10000  /* a token file is read again at most this often */
#define KFX_MAILBOX_MAX 65536     /* watch events a slow consumer may leave lying */

typedef struct kfx_io kfx_io_t;

/* ---- timers.c: deadlines of the I/O thread, sorted, driven by one zloop timer -------------------------------------
 */

typedef struct kfx_timer {
    TAILQ_ENTRY(kfx_timer) link;
    int64_t at; /* kfx_now_ms; 0 while not armed */
    void (*fn)(void *arg);
    void *arg;
} kfx_timer_t;

typedef struct {
    TAILQ_HEAD(kfx_timer_head, kfx_timer) list;
} kfx_timers_t;

void kfx_timers_init(kfx_timers_t *self);
/* (Re)arms; fn runs once at or after `at`. */
void kfx_timer_arm(kfx_timers_t *self, kfx_timer_t *timer, int64_t at, void (*fn)(void *arg), void *arg);
void kfx_timer_cancel(kfx_timers_t *self, kfx_timer_t *timer); /* harmless when not armed */
/* Runs what is due, at most `max` of them. Returns the next deadline, or -1 when nothing is armed. */
int64_t kfx_timers_run(kfx_timers_t *self, int64_t now, unsigned max);

/* ---- commands: how callers reach the I/O thread --------------------------------------------------------------------
 */

typedef struct kfx_cmd {
    void (*run)(kfx_io_t *io, struct kfx_cmd *cmd);
    void *arg;
    sem_t *ack; /* posted after run; NULL: the command's memory belongs to run */
} kfx_cmd_t;

/* 0, or -1 when the client is closed (the I/O thread is gone then, not just going). Thread-safe. */
int kfx_kube_post(kfx_kube_t *self, kfx_cmd_t *cmd);
/* Posts and waits until it ran. Thread-safe, not from the I/O thread. */
int kfx_kube_sync(kfx_kube_t *self, void (*run)(kfx_io_t *io, kfx_cmd_t *cmd), void *arg);
bool kfx_kube_closed(kfx_kube_t *self);
/* A connected PUSH/PULL pair without bounds; 0 or -1 with errno. Thread-safe. */
int kfx_pipe_new(zsock_t **pull, zsock_t **push);
void kfx_curl_init(void); /* once for the process, whoever comes first */
kfx_kube_t *kfx_kube_ref(kfx_kube_t *self);
void kfx_kube_unref(kfx_kube_t *self);
void kfx_sem_wait(sem_t *sem);
/* True in a thread that runs an I/O actor: waiting there would be a deadlock. */
bool kfx_in_io_thread(void);

/* ---- transport.c: what every easy handle has in common
 * ---------------------------------------------------------------- */

typedef struct {
    kfx_kube_config_t *config; /* owned */
    char *user_agent;
    char *base;        /* "https://name:port/prefix": name is the TLS server name where there is one */
    char *host_header; /* "Host: …" where base does not name the server's host, else NULL */
    char *connect_to;  /* "::host:port", same condition */
    bool tls;
} kfx_transport_t;

int kfx_transport_init(kfx_transport_t *self, kfx_kube_config_t *config, const char *user_agent, kfx_error_t *err);
void kfx_transport_free(kfx_transport_t *self);
void kfx_transport_tls(const kfx_transport_t *self, CURL *easy); /* self must outlive the handle */

/* Constant while the client lives. */
const kfx_transport_t *kfx_kube_transport(const kfx_kube_t *self);

/* A connection of ours. */
typedef struct {
    int fd;
    int64_t good_at; /* it was made, or an answer came over it */
} kfx_wire_t;

/* One of the two connections' worth of traffic. */
typedef struct {
    kfx_io_t *io;
    const char *name; /* "requests", "watches" */
    CURLM *multi;
    kfx_timer_t timer; /* curl's own */
    kfx_wire_t *wires; /* connections of this CURLM */
    size_t wires_len, wires_cap;
    int64_t newest_at;      /* when the last of them was made */
    bool http1;             /* the last answer came over HTTP/1: no multiplexing, more connections */
    int64_t last_answer_at; /* for the heartbeat */
    struct kfx_xfer *heartbeat;
    kfx_timer_t heartbeat_timer;
    int64_t beat_at; /* when the last heartbeat was sent */
    bool beating;    /* a heartbeat is on its way; the timer is its limit */
} kfx_channel_t;

/* One HTTP exchange. */
typedef struct kfx_xfer {
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    kfx_channel_t *channel;                                               /* NULL while not added */
    bool (*on_data)(struct kfx_xfer *xfer, const char *data, size_t len); /* false aborts the transfer */
    void (*on_done)(struct kfx_xfer *xfer, CURLcode rc);                  /* removed from the CURLM already */
    void *owner;
    bool stream; /* its handle has a small buffer */
    char errbuf[CURL_ERROR_SIZE];
    kfx_error_t refused; /* why no connection was made to an address, where that was our own will */
} kfx_xfer_t;

typedef struct {
    const char *method; /* "GET" … */
    const char *target; /* path with query */
    const char *accept;
    const char *content_type; /* NULL without a body */
    const char *body;         /* stays valid until the exchange is over */
    size_t body_len;
    const char *impersonate;
    bool stream; /* a watch: small buffer, no compression */
    bool fresh;  /* a connection of its own: libcurl repeats by itself what failed on a used one */
} kfx_call_t;

/* Fills xfer->easy. -1 with err (INVALID) where something cannot be sent as it is. */
int kfx_xfer_prepare(kfx_io_t *io, kfx_xfer_t *xfer, const kfx_call_t *call, kfx_error_t *err);
int kfx_xfer_start(kfx_xfer_t *xfer, kfx_channel_t *channel, kfx_error_t *err);
/* Takes it out of the CURLM if it is in, hands the easy handle back. Idempotent. */
void kfx_xfer_end(kfx_io_t *io, kfx_xfer_t *xfer);
int kfx_xfer_status(const kfx_xfer_t *xfer); /* HTTP status, 0 when none came */
/* What curl's failure means, for people and for retrying. */
kfx_code_t kfx_curl_code(CURLcode rc);
bool kfx_curl_unsent(CURLcode rc); /* true: the server surely did not see the request */

/* ---- io.c: the actor ------------------------------------------------------------------------------------------------
 */

TAILQ_HEAD(kfx_job_list, kfx_job);
TAILQ_HEAD(kfx_watch_list, kfx_watch);

struct kfx_io {
    kfx_kube_t *kube;
    const kfx_transport_t *transport;
    zloop_t *loop;
    zsock_t *commands;
    kfx_timers_t timers;
    int loop_timer;        /* zloop's id, -1 when not armed */
    int64_t loop_timer_at; /* what it is armed for */
    kfx_channel_t requests, watches;
    CURL *idle[KFX_INFLIGHT_MAX]; /* easy handles to use again */
    size_t idle_len;

    char *token; /* what token_file held */
    int64_t token_at;

    bool (*gate)(void *arg);
    void *gate_arg;

    struct kfx_job_list urgent, normal; /* wait for their turn */
    struct kfx_job_list sleeping;       /* wait for their next attempt */
    struct kfx_job_list running;
    unsigned inflight;
    struct kfx_watch_list watch_list;
    unsigned streams; /* watches that are open */
    bool stopping;
};

CURL *kfx_io_easy(kfx_io_t *io);                 /* from the pool, reset; NULL when memory is out */
void kfx_io_easy_done(kfx_io_t *io, CURL *easy); /* back to the pool */
/* The bearer token to send, or NULL. Borrowed until the next call. force: read the file again now. */
const char *kfx_io_token(kfx_io_t *io, bool force);
/* An answer (of any status) came over this channel. */
void kfx_channel_answered(kfx_channel_t *self, const kfx_xfer_t *xfer);
/* A request got no answer: asks the connection now whether it lives, and cuts it when that is not answered in time. */
void kfx_channel_suspect(kfx_channel_t *self, int64_t limit_ms);
void kfx_channel_fd_add(kfx_channel_t *self, int fd);
void kfx_channel_fd_remove(kfx_channel_t *self, int fd);

/* ---- jobs.c: requests in the I/O thread
 * ------------------------------------------------------------------------------ */

typedef struct kfx_job {
    kfx_cmd_t cmd; /* first: how it travels to the I/O thread */
    TAILQ_ENTRY(kfx_job) link;
    struct kfx_job_list *list; /* where it hangs, or NULL */
    kfx_request_t *req;
    kfx_xfer_t xfer;
    kfx_timer_t deadline, limit; /* of the whole, of this attempt or pause */
    int64_t submitted_at;
    int64_t deadline_at;
    char *body;
    size_t body_len;
    char *target;
    kfx_buf_t answer;
    unsigned attempts;
    bool reauthorized;
    bool fresh;         /* on a connection of its own: the one in use may be dead */
    int64_t started_at; /* of this attempt */

    void (*done)(kfx_io_t *io, struct kfx_job *job); /* I/O thread; owns the job from then on */
    void *owner;
    void (*on_done)(void *ctx, kfx_request_t *req); /* mailbox */
    void *ctx;
} kfx_job_t;

/* Serialises the body in the caller's thread. Never NULL; a request that cannot be sent carries its error. */
kfx_job_t *kfx_job_new(kfx_request_t *req, void (*done)(kfx_io_t *io, kfx_job_t *job), void *owner);
/* After done: parses the answer into the request. In the thread that takes the answer. */
void kfx_job_finish(kfx_job_t *job);
void kfx_job_free(kfx_job_t *job); /* not the request; NULL-safe */

void kfx_jobs_init(kfx_io_t *io);
void kfx_jobs_submit(kfx_io_t *io, kfx_job_t *job);
void kfx_jobs_pump(kfx_io_t *io);                   /* starts what may start */
void kfx_jobs_cancel(kfx_io_t *io, kfx_job_t *job); /* takes it out; done is not called */
void kfx_jobs_stop(kfx_io_t *io);                   /* ends all with CANCELED */

bool kfx_verb_writes(kfx_verb_t verb);
/* True where the request may be sent again though nobody knows whether the first one had an effect. */
bool kfx_request_repeatable(const kfx_request_t *req);
/* "/api/v1/pods" and "/apis/apps/v1/namespaces/x/deployments": true; objects and subresources: false. */
bool kfx_path_is_collection(const char *path);
/* Path and query as sent. fresh string. gated: adds timeout=2s. */
char *kfx_request_target(const kfx_request_t *req, bool gated);

/* ---- status.c: HTTP answers as errors -------------------------------------------------------------------------------
 */

/* status: metav1.Status or NULL. Returns -1, as kfx_error_set does. */
int kfx_status_error(kfx_error_t *err, const char *verb, const char *path, const char *server, int http_status,
                     const json_t *status);
/* The longer of the header's seconds (0: none) and details.retryAfterSeconds, in ms, at most 60 s. */
int kfx_retry_after_ms(int64_t header_seconds, const json_t *status);
const char *kfx_verb_name(kfx_verb_t verb); /* "get", "apply" …: metrics and messages */

/* count.c: one more request in kubeflex_api_requests_total. verb: as kfx_verb_name says it, or "watch"; status 0: no
 * answer. Thread-safe. */
void kfx_count_request(const char *verb, int status);

/* ---- escape.c
 * -------------------------------------------------------------------------------------------------------- */

bool kfx_header_safe(const char *text); /* printable ASCII without line ends; NULL is safe */
bool kfx_path_safe(const char *text);   /* begins with '/', no blanks, controls or '#' */

/* ---- lines.c: JSON lines of a watch
 * ------------------------------------------------------------------------------------ */

typedef struct {
    kfx_buf_t rest; /* an unfinished line */
} kfx_lines_t;

void kfx_lines_init(kfx_lines_t *self, size_t max);
void kfx_lines_free(kfx_lines_t *self);
void kfx_lines_reset(kfx_lines_t *self);
/* Calls on_line for each complete, non-empty line (not terminated, without the line end). Stops and returns -1 when
 * on_line says false (err untouched) or a line is longer than max (PROTOCOL). */
int kfx_lines_feed(kfx_lines_t *self, const char *data, size_t len,
                   bool (*on_line)(void *ctx, const char *line, size_t len), void *ctx, kfx_error_t *err);

/* ---- mailbox.c
 * -------------------------------------------------------------------------------------------------------- */

/* One thing that waits in a mailbox. */
typedef struct {
    enum { KFX_ITEM_REQUEST, KFX_ITEM_WATCH, KFX_ITEM_WATCH_END } kind;
    kfx_job_t *job;
    kfx_watch_t *watch;
    kfx_watch_event_t event;
    void *item;
    kfx_error_t *err; /* owned, only with ERROR */
} kfx_item_t;

struct kfx_mailbox {
    kfx_kube_t *kube;              /* a reference */
    zsock_t *pull;                 /* the owner's end */
    zsock_t *push;                 /* the I/O thread's end; the owner's once the client is closed */
    atomic_uint pending;           /* items on their way: written by both, read by the I/O thread */
    bool closing;                  /* I/O thread: what still ends is freed, not delivered */
    unsigned jobs;                 /* I/O thread: not ended yet */
    struct kfx_watch_list watches; /* owner's */
};

/* From the thread that holds the PUSH end. Never blocks. */
void kfx_mailbox_push(kfx_mailbox_t *self, const kfx_item_t *item);
bool kfx_mailbox_full(const kfx_mailbox_t *self);

/* ---- watch.c
 * -------------------------------------------------------------------------------------------------------------- */

struct kfx_watch {
    kfx_cmd_t cmd;
    /* the owner's */
    TAILQ_ENTRY(kfx_watch) owner_link;
    bool stopped;
    /* read by both, constant */
    kfx_mailbox_t *mailbox;
    kfx_watch_spec_t spec; /* own copies of the strings */
    char *base;            /* path with selectors; ends in '?' or '&' */
    /* the I/O thread's */
    TAILQ_ENTRY(kfx_watch) io_link;
    bool linked;
    kfx_io_t *io;
    kfx_timer_t timer; /* pause before the next try, or the stream's deadline */
    kfx_job_t *list_job;
    kfx_xfer_t xfer;
    bool open;
    kfx_lines_t lines;
    kfx_buf_t error_body;
    void **items; /* of the list under way */
    size_t items_len, items_cap;
    char *rv;          /* resume here; NULL: list first */
    char *newest;      /* the highest resourceVersion seen, or NULL */
    unsigned stale;    /* lists in a row that were older than that */
    char *next;        /* continue token */
    unsigned failures; /* in a row, for the backoff */
    int64_t opened_at;
    int64_t heard_at;
    uint64_t events;     /* of this stream */
    bool relist;         /* the stream must not be resumed */
    bool slow;           /* the consumer lags: resume later */
    kfx_error_t problem; /* why the stream was given up, or KFX_OK */
};

void kfx_watch_io_start(kfx_io_t *io, kfx_watch_t *watch);
void kfx_watch_io_stop(kfx_io_t *io, kfx_watch_t *watch); /* idempotent */
/* Opens those again that were opened before that instant (kfx_now_ms). */
void kfx_watch_io_move(kfx_io_t *io, int64_t opened_before);
void kfx_watch_free(kfx_watch_t *watch); /* nothing refers to it any more */

/* ---- config
 * ------------------------------------------------------------------------------------------------------------------ */

/* The service account's folder is a parameter for tests. */
kfx_kube_config_t *kfx_kube_config_in_cluster_at(const char *dir, kfx_error_t *err);
/* Checks that hold for every source: PEM shapes, pairs, the URL. */
int kfx_kube_config_check(const kfx_kube_config_t *config, kfx_error_t *err);

/* exec.c: runs a client-go credential plugin and takes token or certificate from its answer. spec: users[].user.exec;
 * cluster: clusters[].cluster, for provideClusterInfo; dir: where a relative command starts, or NULL. */
int kfx_exec_credential(kfx_kube_config_t *config, const json_t *spec, const json_t *cluster, const char *dir,
                        int timeout_ms, kfx_error_t *err);

#endif
