/* watcher/main.c: kubeflex-watcher: options, API server, keys of the bus, loop. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/signals.h"
#include "watcher/hooks.h"
#include "watcher/options.h"
#include "watcher/watcher.h"

#include <stdio.h>

#define KEYS_STEP_MS 5000
#define BEAT_MS 2000

static kfx_kube_t *connect_api(const kfx_options_t *o, kfx_error_t *err)
{
    kfx_kube_config_t *config =
        o->kubeconfig ? kfx_kube_config_load(o->kubeconfig, NULL, err) : kfx_kube_config_in_cluster(err);
    return config ? kfx_kube_new(config, "kubeflex-watcher/" KFX_VERSION, err) : NULL;
}

/* The bus makes the Secret at its first start: until then there is nothing to lead. A signal ends the process. */
static int load_keys(kfx_kube_t *kube, const kfx_options_t *o, kfx_bus_keys_t *keys, kfx_error_t *err)
{
    memset(keys, 0, sizeof *keys);
    if (o->no_curve)
        return 0;
    if (o->keys_dir)
        return kfx_bus_keys_from_dir(o->keys_dir, "watcher", keys, err);
    char name[128];
    kfx_bus_role_secret("watcher", name);
    KFX_FREE char *collection = kfx_xasprintf("/api/v1/namespaces/%s/secrets", o->ns);
    for (bool said = false;; said = true) {
        kfx_error_t why = KFX_ERROR_INIT;
        kfx_health_beat();
        json_t *secret = kfx_kube_wait_object(kube, collection, name, "server.key", kfx_now_ms() + KEYS_STEP_MS, &why);
        if (secret) {
            int rc = kfx_bus_keys_from_secret(secret, keys, err);
            json_decref(secret);
            return rc;
        }
        if (!said)
            kfx_log_info("waiting for the keys of the bus", "secret", name, "error", why.msg, NULL);
    }
}

static int on_beat(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    (void)arg;
    kfx_health_beat();
    return 0;
}

static int on_mail(zloop_t *loop, zsock_t *sock, void *arg)
{
    (void)loop;
    (void)sock;
    kfx_watcher_t *self = arg;
    kfx_mailbox_dispatch(self->mailbox);
    kfx_watcher_flush(self);
    return self->stop ? -1 : 0;
}

static int on_stop(void *ctx, int number)
{
    kfx_watcher_t *self = ctx;
    kfx_log_info("stopping", "signal", kfx_log_num(number), NULL);
    self->stop = true;
    return -1;
}

static int serve(kfx_watcher_t *self, kfx_error_t *err)
{
    self->loop = zloop_new();
    if (kfx_signals_catch(self->loop, on_stop, self, err) != 0) {
        zloop_destroy(&self->loop);
        return -1;
    }
    self->mailbox = kfx_mailbox_new(self->kube);
    self->planes = kfx_planes_new();
    self->events = kfx_events_new(self->mailbox, KFX_CONTROLLER, self->opts.instance);
    self->stats = kfx_stats_new();
    self->retry_timer = self->sweep_timer = self->tidy_timer = self->hooks_timer = -1;
    self->hooks = kfx_hook_table_new();
    zloop_reader(self->loop, kfx_mailbox_sock(self->mailbox), on_mail, self);
    zloop_timer(self->loop, BEAT_MS, 0, on_beat, self);
    kfx_watcher_ready(self);
    self->awaited = kfx_awaited_new(self);
    kfx_watches_start(self);
    kfx_leader_start(self);

    kfx_loop_run(self->loop, &self->stop);

    self->stop = true;
    kfx_leader_stop(self);
    kfx_watches_stop(&self->watches);
    kfx_awaited_destroy(&self->awaited);
    kfx_events_destroy(&self->events);
    zloop_reader_end(self->loop, kfx_mailbox_sock(self->mailbox));
    kfx_mailbox_destroy(&self->mailbox);
    kfx_signals_release(self->loop);
    zloop_destroy(&self->loop);
    kfx_kube_destroy(&self->kube);
    kfx_planes_destroy(&self->planes);
    kfx_hook_table_destroy(&self->hooks);
    free(self->stats);
    return self->exit_code;
}

static int run(const kfx_options_t *o, kfx_error_t *err)
{
    kfx_watcher_t self = {.opts = {.bus = o->bus,
                                   .ns = o->ns,
                                   .lease = o->lease,
                                   .instance = o->instance,
                                   .selector = o->selector,
                                   .keys_dir = o->keys_dir,
                                   .outage_ms = KFX_OUTAGE_MS}};
    if (o->health[0] && kfx_health_start(o->health, err) != 0)
        return -1;
    kfx_health_set_ready(false, "waiting for the keys of the bus");
    self.kube = connect_api(o, err);
    if (!self.kube)
        return -1;
    kfx_log_info("starting", "version", KFX_VERSION, "server", kfx_kube_server(self.kube), "bus", o->bus, NULL);
    if (load_keys(self.kube, o, &self.opts.keys, err) != 0) {
        kfx_kube_destroy(&self.kube);
        return -1;
    }
    int rc = serve(&self, err);
    kfx_wipe(&self.opts.keys, sizeof self.opts.keys);
    return rc;
}

int main(int argc, char **argv)
{
    kfx_options_t options;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_log_init("watcher");
    int code = kfx_options_parse(&options, argc, argv);
    if (code >= 0)
        return code;
    zsys_handler_set(NULL); /* until the loop turns a signal simply ends the process */
    code = run(&options, &err);
    if (code < 0)
        kfx_log_error("cannot start", "error", err.msg, NULL);
    kfx_health_stop();
    return code < 0 ? 1 : code;
}
