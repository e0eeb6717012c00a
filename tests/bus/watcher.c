/* tests/bus/watcher.c: the publisher on a leash, for the integration tests: commands on stdin, facts on stdout.
 *
 *   event SERVICE KEY UID GENERATION SEQ DELETING(0|1) | begin | end | acks on|off | quit
 *   CONNECTED, DISCONNECTED, DONE service key uid seq outcome children, SERVICE name state, PROGRESS key text, STALE
 * epoch */
#include "base/log.h"
#include "base/mem.h"
#include "bus/publisher.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    kfx_publisher_t *publisher;
    bool acks;
    const char *keys_dir;
    char line[4096];
    size_t len;
} state_t;

static void on_connected(void *ctx)
{
    (void)ctx;
    puts("CONNECTED");
}

static void on_disconnected(void *ctx)
{
    (void)ctx;
    puts("DISCONNECTED");
}

static void on_done(void *ctx, const kfx_envelope_t *env, const kfx_result_t *result)
{
    state_t *state = ctx;
    printf("DONE %s %s %s %llu %s %s\n", env->service, env->key, env->uid, (unsigned long long)env->seq,
           kfx_outcome_name(result->outcome), result->condition_count ? result->conditions[0].message : "-");
    if (state->acks)
        kfx_publisher_ack(state->publisher, env);
}

static void on_progress(void *ctx, const kfx_envelope_t *env)
{
    (void)ctx;
    printf("PROGRESS %s %s\n", env->key, env->text);
}

static void on_service(void *ctx, const char *service, kfx_state_t state, const char *why)
{
    (void)ctx;
    printf("SERVICE %s %s %s\n", service, kfx_state_name(state), why);
}

static void on_stale(void *ctx, uint64_t epoch)
{
    (void)ctx;
    printf("STALE %llu\n", (unsigned long long)epoch);
}

static int refresh_keys(void *ctx, kfx_bus_keys_t *keys)
{
    const state_t *state = ctx;
    return kfx_bus_keys_from_dir(state->keys_dir, "watcher", keys, NULL);
}

static int command(state_t *state, char *line)
{
    char service[64], key[256], uid[64];
    long long generation, seq;
    int deleting;
    if (sscanf(line, "event %63s %255s %63s %lld %lld %d", service, key, uid, &generation, &seq, &deleting) == 6) {
        kfx_envelope_t env = {.generation = generation, .seq = (uint64_t)seq, .deleting = deleting != 0};
        kfx_copy(env.key, sizeof(env.key), key);
        kfx_copy(env.uid, sizeof(env.uid), uid);
        kfx_child_t child = {.kind = "Namespace", .ready = true};
        kfx_digest_t digest = {.type = "k8s", .deleting = env.deleting, .count = 1, .children = &child};
        kfx_publisher_event(state->publisher, service, &env, &digest);
    } else if (strcmp(line, "begin") == 0) {
        kfx_publisher_sync_begin(state->publisher);
    } else if (strcmp(line, "end") == 0) {
        kfx_publisher_sync_end(state->publisher);
    } else if (strncmp(line, "acks ", 5) == 0) {
        state->acks = strcmp(line + 5, "on") == 0;
    } else if (strcmp(line, "quit") == 0) {
        return -1;
    }
    return 0;
}

static int on_stdin(zloop_t *loop, zmq_pollitem_t *item, void *arg)
{
    (void)loop;
    state_t *state = arg;
    ssize_t n = read(item->fd, state->line + state->len, sizeof(state->line) - 1 - state->len);
    if (n == 0)
        return -1;
    state->len += n > 0 ? (size_t)n : 0;
    state->line[state->len] = '\0';
    char *at = state->line, *eol;
    int rc = 0;
    while (rc == 0 && (eol = strchr(at, '\n'))) {
        *eol = '\0';
        rc = command(state, at);
        at = eol + 1;
    }
    state->len = strlen(at);
    memmove(state->line, at, state->len + 1);
    return rc;
}

/* endpoint keys-dir ("" for none) instance epoch */
int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    kfx_log_init("test-watcher");
    if (argc != 5)
        return 2;
    kfx_error_t err = KFX_ERROR_INIT;
    state_t state = {.acks = true, .keys_dir = argv[2]};
    kfx_publisher_opts_t opts = {.endpoint = argv[1],
                                 .instance = argv[3],
                                 .epoch = strtoull(argv[4], NULL, 10),
                                 .on_connected = on_connected,
                                 .on_disconnected = on_disconnected,
                                 .on_done = on_done,
                                 .on_progress = on_progress,
                                 .on_service = on_service,
                                 .on_stale = on_stale,
                                 .refresh_keys = argv[2][0] ? refresh_keys : NULL,
                                 .ctx = &state};
    if (argv[2][0] && kfx_bus_keys_from_dir(argv[2], "watcher", &opts.keys, &err) != 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    zloop_t *loop = zloop_new();
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    zmq_pollitem_t item = {.fd = STDIN_FILENO, .events = ZMQ_POLLIN};
    zloop_poller(loop, &item, on_stdin, &state);
    state.publisher = kfx_publisher_new(loop, &opts, &err);
    if (!state.publisher) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    zloop_start(loop);
    kfx_publisher_destroy(&state.publisher);
    zloop_destroy(&loop);
    return 0;
}
