/* bus/signals.c: see signals.h. A pipe, because signals may be delivered to any thread. */
#include "bus/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

static int wake[2] = {-1, -1};
static int (*stop_handler)(void *ctx, int signal_number);
static void *stop_ctx;

static void on_signal(int number)
{
    int saved = errno;
    char byte = (char)number;
    ssize_t n = write(wake[1], &byte, 1);
    (void)n; /* a full pipe has woken the loop already */
    errno = saved;
}

static int on_wake(zloop_t *loop, zmq_pollitem_t *item, void *arg)
{
    (void)loop;
    (void)arg;
    char byte;
    int rc = 0;
    while (read(item->fd, &byte, 1) == 1)
        if (stop_handler(stop_ctx, byte) != 0)
            rc = -1;
    return rc;
}

int kfx_signals_catch(zloop_t *loop, int (*on_stop)(void *ctx, int signal_number), void *ctx, kfx_error_t *err)
{
    zsys_init();
    zsys_handler_set(NULL);
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "cannot make a pipe: %s", strerror(errno));
    stop_handler = on_stop;
    stop_ctx = ctx;
    zmq_pollitem_t item = {.fd = wake[0], .events = ZMQ_POLLIN};
    zloop_poller(loop, &item, on_wake, NULL);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}; /* what is being written stays whole */
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    return 0;
}

void kfx_signals_release(zloop_t *loop)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    zmq_pollitem_t item = {.fd = wake[0], .events = ZMQ_POLLIN};
    zloop_poller_end(loop, &item);
    for (size_t i = 0; i < 2; i++) {
        if (wake[i] >= 0)
            close(wake[i]);
        wake[i] = -1;
    }
}

void kfx_loop_run(zloop_t *loop, const bool *stopped)
{
    while (!*stopped)
        if (zloop_start(loop) == -1)
            return; /* a handler asked for it */
}
