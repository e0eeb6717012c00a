/* tests/kube/driver.c: a program on kube/'s public API that does what its standard input says and prints what it saw,
 * for the cases of tests/kube/cases (run_cases.py).
 *
 *   kube-driver SERVER CA_FILE TOKEN_FILE
 *
 * Commands, one a line (no value has blanks):
 *   watch PATH [labels=…] [fields=…] [meta]      prints [ +name@rv … ] and then + * - as they come, !Code for an ERROR;
 *                                                the second watch and later ones with their number before: 2:+name@rv
 *   stop N                                       stops watch N
 *   call ID VERB PATH [body=JSON] [timeout=MS] [manager=NAME] [once] [no-retry] [urgent] [count=N]
 *                                                prints ID=ok or ID=Code, with /MS behind where the server said when to
 *                                                come again. With count there are N such calls, and one word when all
 * ended gate open|shut                               from now on writes are asked for lease NAME takes part in an
 * election; prints lead:EPOCH and lost release                                      gives it up; prints released At the
 * end of the input all ends; what was reduced and not freed then is an error. */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kube/lease.h"
#include "kube/watch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define WATCHES 16
#define WORDS 16

typedef struct {
    kfx_kube_t *kube;
    kfx_mailbox_t *box;
    zloop_t *loop;
    kfx_lease_t *lease;
    kfx_watch_t *watches[WATCHES];
    size_t count;
    kfx_buf_t input;
    bool failed;
} driver_t;

static atomic_int alive; /* reduced objects that nobody freed yet */
static atomic_bool gate_open;

static void say(const char *format, ...) KFX_PRINTF(1, 2);
static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* ---- watches ---------------------------------------------------------------------------------------------------- */

static size_t numbers[WATCHES];

static void *reduce(void *ctx, const json_t *object)
{
    (void)ctx;
    const char *name = kfx_json_str(object, "metadata", "name"),
               *rv = kfx_json_str(object, "metadata", "resourceVersion");
    if (!name || name[0] == '_')
        return NULL; /* of no interest */
    atomic_fetch_add(&alive, 1);
    return kfx_xasprintf("%s@%s", name, rv ? rv : "");
}

static void free_item(void *item)
{
    atomic_fetch_sub(&alive, 1);
    free(item);
}

static void on_event(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    static const char *const marks[] = {"[", "+", "*", "-", "]", "!"};
    char prefix[8] = "";
    size_t number = *(size_t *)ctx;
    if (number > 0)
        snprintf(prefix, sizeof prefix, "%zu:", number + 1);
    say("%s%s%s", prefix, marks[event], item ? (char *)item : err ? kfx_code_name(err->code) : "");
    if (err)
        fprintf(stderr, "%s\n", err->msg);
    if (item)
        free_item(item);
}

static void start_watch(driver_t *self, char **words, size_t count)
{
    kfx_watch_spec_t spec = {.path = words[1], .reduce = reduce, .on_event = on_event, .free_item = free_item};
    for (size_t i = 2; i < count; i++) {
        if (strncmp(words[i], "labels=", 7) == 0)
            spec.label_selector = words[i] + 7;
        else if (strncmp(words[i], "fields=", 7) == 0)
            spec.field_selector = words[i] + 7;
        else if (strcmp(words[i], "meta") == 0)
            spec.metadata_only = true;
    }
    numbers[self->count] = self->count;
    spec.ctx = &numbers[self->count];
    self->watches[self->count++] = kfx_watch_start(self->box, &spec);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

typedef struct {
    char id[32];
    int left; /* calls under way */
    const char *code;
    int retry_after_ms;
} calls_t;

static void on_answer(void *ctx, kfx_request_t *req)
{
    calls_t *calls = ctx;
    if (req->error.code != KFX_OK) {
        calls->code = kfx_code_name(req->error.code);
        calls->retry_after_ms = req->retry_after_ms;
        fprintf(stderr, "%s\n", req->error.msg);
    }
    kfx_request_free(req);
    if (--calls->left > 0)
        return;
    if (calls->retry_after_ms > 0)
        say("%s=%s/%d", calls->id, calls->code, calls->retry_after_ms);
    else
        say("%s=%s", calls->id, calls->code);
    free(calls);
}

static kfx_verb_t verb_of(const char *word)
{
    static const char *const words[] = {"GET", "POST", "PUT", "APPLY", "MERGE", "JSON", "DELETE"};
    for (size_t i = 0; i < KFX_COUNT(words); i++)
        if (strcmp(word, words[i]) == 0)
            return (kfx_verb_t)i;
    fprintf(stderr, "no verb: %s\n", word);
    exit(2);
}

static kfx_request_t *build_request(char **words, size_t count)
{
    kfx_request_t *req = kfx_request_new(verb_of(words[2]), NULL, "%s", words[3]);
    for (size_t i = 4; i < count; i++) {
        if (strncmp(words[i], "body=", 5) == 0)
            req->body = json_loads(words[i] + 5, 0, NULL);
        else if (strncmp(words[i], "timeout=", 8) == 0)
            req->timeout_ms = atoi(words[i] + 8);
        else if (strncmp(words[i], "manager=", 8) == 0)
            req->field_manager = kfx_xstrdup(words[i] + 8);
        else if (strcmp(words[i], "once") == 0)
            req->once = true;
        else if (strcmp(words[i], "no-retry") == 0)
            req->no_retry = true;
        else if (strcmp(words[i], "urgent") == 0)
            req->urgent = true;
    }
    return req;
}

static void call(driver_t *self, char **words, size_t count)
{
    calls_t *calls = kfx_xcalloc(1, sizeof *calls);
    kfx_copy(calls->id, sizeof calls->id, words[1]);
    calls->code = "ok";
    calls->left = 1;
    for (size_t i = 4; i < count; i++)
        if (strncmp(words[i], "count=", 6) == 0)
            calls->left = atoi(words[i] + 6);
    for (int i = calls->left; i > 0; i--)
        kfx_kube_submit(self->box, build_request(words, count), on_answer, calls);
}

/* ---- gate and Lease --------------------------------------------------------------------------------------------- */

static bool gate(void *arg)
{
    (void)arg;
    return atomic_load(&gate_open);
}

static void on_lead(void *ctx, uint64_t epoch)
{
    (void)ctx;
    say("lead:%llu", (unsigned long long)epoch);
}

static void on_lost(void *ctx)
{
    (void)ctx;
    say("lost");
}

static void release(driver_t *self)
{
    bool had = self->lease != NULL;
    kfx_lease_release(&self->lease);
    if (had)
        say("released");
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void run_command(driver_t *self, char *line)
{
    char *words[WORDS], *save = NULL;
    size_t count = 0;
    for (char *word = strtok_r(line, " ", &save); word && count < WORDS; word = strtok_r(NULL, " ", &save))
        words[count++] = word;
    if (count >= 2 && strcmp(words[0], "watch") == 0 && self->count < WATCHES) {
        start_watch(self, words, count);
    } else if (count == 2 && strcmp(words[0], "stop") == 0) {
        kfx_watch_stop(&self->watches[atoi(words[1]) - 1]);
    } else if (count >= 4 && strcmp(words[0], "call") == 0) {
        call(self, words, count);
    } else if (count == 2 && strcmp(words[0], "gate") == 0) {
        atomic_store(&gate_open, strcmp(words[1], "open") == 0);
        kfx_kube_set_gate(self->kube, gate, NULL);
    } else if (count == 2 && strcmp(words[0], "lease") == 0) {
        kfx_lease_opts_t opts = {.ns = "test",
                                 .name = words[1],
                                 .configmap = "leader",
                                 .identity = "me",
                                 .on_lead = on_lead,
                                 .on_lost = on_lost};
        self->lease = kfx_lease_start(self->loop, self->box, &opts);
    } else if (count == 1 && strcmp(words[0], "release") == 0) {
        release(self);
    } else {
        fprintf(stderr, "no command: %s\n", count ? words[0] : "");
        self->failed = true;
    }
}

static int on_input(zloop_t *loop, zmq_pollitem_t *item, void *arg)
{
    (void)loop;
    driver_t *self = arg;
    char chunk[4096];
    ssize_t n = read(item->fd, chunk, sizeof chunk);
    if (n <= 0)
        return -1;
    kfx_buf_add(&self->input, chunk, (size_t)n);
    char *end;
    while ((end = memchr(self->input.data, '\n', self->input.len))) {
        KFX_FREE char *line = strndup(self->input.data, (size_t)(end - self->input.data));
        kfx_buf_drop(&self->input, (size_t)(end - self->input.data) + 1);
        run_command(self, line);
    }
    return self->failed ? -1 : 0;
}

static int on_mail(zloop_t *loop, zsock_t *sock, void *arg)
{
    (void)loop;
    (void)sock;
    driver_t *self = arg;
    kfx_mailbox_dispatch(self->box);
    return 0;
}

static int serve(driver_t *self)
{
    zmq_pollitem_t input = {.fd = STDIN_FILENO, .events = ZMQ_POLLIN};
    self->input = (kfx_buf_t)KFX_BUF_INIT(1 << 16);
    self->loop = zloop_new();
    self->box = kfx_mailbox_new(self->kube);
    zloop_poller(self->loop, &input, on_input, self);
    zloop_reader(self->loop, kfx_mailbox_sock(self->box), on_mail, self);
    zloop_start(self->loop);
    release(self);
    for (size_t i = 0; i < self->count; i++)
        kfx_watch_stop(&self->watches[i]);
    kfx_mailbox_destroy(&self->box);
    kfx_kube_destroy(&self->kube);
    zloop_destroy(&self->loop);
    kfx_buf_free(&self->input);
    if (atomic_load(&alive) != 0) {
        fprintf(stderr, "%d objects were not freed\n", atomic_load(&alive));
        self->failed = true;
    }
    return self->failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: kube-driver SERVER CA_FILE TOKEN_FILE\n", stderr);
        return 2;
    }
    kfx_log_init("kube-driver");
    zsys_handler_set(NULL);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_config_t *config = kfx_xcalloc(1, sizeof *config);
    config->server = kfx_xstrdup(argv[1]);
    config->ca_pem = kfx_file_read(argv[2], 1 << 20, NULL, &err);
    config->token_file = kfx_xstrdup(argv[3]);
    driver_t self = {.kube = kfx_kube_new(config, "kube-driver/1", &err)};
    if (!self.kube) {
        fprintf(stderr, "%s\n", err.msg);
        return 2;
    }
    return serve(&self);
}
