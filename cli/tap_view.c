/* cli/tap_view.c: one message as a line. */
#include "cli/tap.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>
#include <time.h>

#define DETAIL_MAX 4096
#define COLUMNS "%-12s  %-24s %-24s %-8s %-16s %-20s %3s %8s %8s  %s"

char *kfx_tap_short(const char *role, const char *instance)
{
    const char *dash = instance ? strrchr(instance, '-') : NULL;
    const char *tail = dash && dash[1] ? dash + 1 : instance;
    if (!role || !role[0])
        return kfx_xstrdup(instance && instance[0] ? instance : "-");
    if (!tail || !tail[0] || strcmp(role, instance) == 0)
        return kfx_xstrdup(role);
    return kfx_xasprintf("%s/%s", role, tail);
}

char *kfx_tap_heading(void)
{
    return kfx_xasprintf(COLUMNS, "TIME", "FROM", "TO", "KIND", "SERVICE", "KEY", "ATT", "LATENCY", "SIZE", "DETAIL");
}

static void say_time(char *out, size_t size, int64_t us)
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm parts;
    char text[16] = "?";
    if (localtime_r(&seconds, &parts))
        strftime(text, sizeof text, "%H:%M:%S", &parts);
    snprintf(out, size, "%s.%03d", text, (int)((us % 1000000 + 1000000) % 1000000 / 1000));
}

static void say_digest(kfx_buf_t *out, const kfx_msg_t *msg)
{
    kfx_digest_t *digest = kfx_digest_decode(msg->payload, NULL);
    if (!digest) {
        kfx_buf_adds(out, " (unreadable digest)");
        return;
    }
    size_t ready = 0, drifted = 0;
    for (size_t i = 0; i < digest->count; i++) {
        ready += digest->children[i].ready;
        drifted += digest->children[i].drifted;
    }
    if (digest->type[0])
        kfx_buf_addf(out, " type=%s children=%zu ready=%zu", digest->type, digest->count, ready);
    if (drifted)
        kfx_buf_addf(out, " drifted=%zu", drifted);
    kfx_digest_free(digest);
}

static void say_result(kfx_buf_t *out, const kfx_msg_t *msg)
{
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);
    if (kfx_result_decode(msg->payload, result, NULL) != 0)
        kfx_buf_adds(out, " (unreadable result)");
    for (size_t i = 0; i < result->condition_count; i++) {
        const kfx_condition_t *c = &result->conditions[i];
        kfx_buf_addf(out, " %s=%s%s%s", c->type, c->status, c->reason[0] ? "/" : "", c->reason);
    }
    if (result->written_count)
        kfx_buf_addf(out, " wrote=%zu", result->written_count);
    free(result);
}

static char *say_detail(const kfx_msg_t *msg)
{
    const kfx_envelope_t *env = &msg->env;
    kfx_buf_t out = KFX_BUF_INIT(DETAIL_MAX);
    kfx_buf_adds(&out, kfx_outcome_name(env->outcome));
    if (env->state)
        kfx_buf_adds(&out, kfx_state_name(env->state));
    if (msg->kind == KFX_ERROR)
        kfx_buf_adds(&out, kfx_code_name((kfx_code_t)env->code));
    if (env->text[0])
        kfx_buf_addf(&out, "%s%s", out.len ? ": " : "", env->text);
    if (env->deleting)
        kfx_buf_adds(&out, " deleting");
    if (env->running)
        kfx_buf_adds(&out, " running");
    if (env->generation)
        kfx_buf_addf(&out, " gen=%lld", (long long)env->generation);
    if (env->seq)
        kfx_buf_addf(&out, " seq=%llu", (unsigned long long)env->seq);
    if (env->credit || msg->kind == KFX_PING)
        kfx_buf_addf(&out, " credit=%u", env->credit);
    if (msg->kind == KFX_HELLO && env->epoch)
        kfx_buf_addf(&out, " epoch=%llu", (unsigned long long)env->epoch);
    if (env->retry_after_ms)
        kfx_buf_addf(&out, " again=%ums", env->retry_after_ms);
    if (msg->kind == KFX_EVENT || msg->kind == KFX_TASK)
        say_digest(&out, msg);
    else if (msg->kind == KFX_DONE)
        say_result(&out, msg);
    return kfx_buf_steal(&out, NULL);
}

char *kfx_tap_line(const kfx_tap_seen_t *seen)
{
    const kfx_tap_meta_t *meta = &seen->meta;
    const kfx_envelope_t *env = &seen->msg.env;
    char time[32], attempt[16] = "", latency[16] = "", size[16] = "";
    say_time(time, sizeof time, meta->time_us);
    if (env->attempt || seen->msg.kind == KFX_TASK)
        snprintf(attempt, sizeof attempt, "%u", env->attempt);
    if (meta->timed)
        snprintf(latency, sizeof latency, "%ums", meta->latency_ms);
    if (seen->msg.payload)
        snprintf(size, sizeof size, "%zuB", zframe_size(seen->msg.payload));
    KFX_FREE char *peer = kfx_tap_short(meta->role, meta->out ? meta->peer : kfx_tap_sender(seen));
    KFX_FREE char *detail = say_detail(&seen->msg);
    const char *text = detail[0] == ' ' ? detail + 1 : detail;
    KFX_FREE char *raw =
        kfx_xasprintf(COLUMNS, time, meta->out ? "bus" : peer, meta->out ? peer : "bus", kfx_kind_name(seen->msg.kind),
                      env->service[0] ? env->service : "-", env->key[0] ? env->key : "-", attempt, latency, size, text);
    return kfx_clean(raw);
}

void kfx_tap_print(kfx_cli_t *cli, const kfx_tap_seen_t *seen)
{
    KFX_FREE char *text = NULL;
    if (cli->opts.tap.json) {
        KFX_JSON json_t *json = kfx_tap_json(seen);
        text = kfx_json_text(json);
    } else {
        text = kfx_tap_line(seen);
    }
    fprintf(cli->out.out, "%s\n", text ? text : "");
}
