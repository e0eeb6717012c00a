/* tests/fuzz/seeds.c: writes the corpora that fuzzing starts from, made by the encoders: DIR/<target>/<name>. What is
 * text stands in tests/fuzz/corpus. */
#include "base/mem.h"
#include "cli/backup_file.h"
#include "proto/tap.h"

#include <czmq.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *dir;

static FILE *open_seed(const char *target, const char *name)
{
    KFX_FREE char *folder = kfx_xasprintf("%s/%s", dir, target);
    KFX_FREE char *path = kfx_xasprintf("%s/%s", folder, name);
    mkdir(folder, 0755);
    FILE *file = fopen(path, "wb");
    if (!file) {
        fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return file;
}

static void put_part(FILE *file, const void *data, size_t len)
{
    fputc((int)(len & 255), file);
    fputc((int)(len >> 8), file);
    fwrite(data, 1, len, file);
}

static void put_frames(FILE *file, zmsg_t *msg)
{
    fputc((int)zmsg_size(msg), file);
    for (zframe_t *frame = zmsg_first(msg); frame; frame = zmsg_next(msg))
        put_part(file, zframe_data(frame), zframe_size(frame));
}

static kfx_envelope_t sample(void)
{
    return (kfx_envelope_t){.service = "reconcile.k8s",
                            .key = "cp1",
                            .uid = "4f0c8a52-0000-4000-8000-0123456789ab",
                            .sender = "pod-1",
                            .role = "reconciler:k8s",
                            .text = "why",
                            .generation = 3,
                            .epoch = 2,
                            .seq = 700,
                            .lease = UINT64_MAX,
                            .task = 99,
                            .attempt = 1,
                            .retry_after_ms = 500,
                            .credit = 8,
                            .version_min = 1,
                            .version_max = 1,
                            .outcome = KFX_OUTCOME_OK,
                            .state = KFX_STATE_UP,
                            .deleting = true,
                            .running = true};
}

static void put_body(const char *name, char what, zframe_t *frame)
{
    FILE *file = open_seed("bodies", name);
    fputc(what, file);
    fwrite(zframe_data(frame), 1, zframe_size(frame), file);
    fclose(file);
}

static void put_messages(zframe_t *payload)
{
    kfx_envelope_t env = sample();
    FILE *record = open_seed("record", "all");
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_record_begin(record, &err);
    for (int kind = KFX_HELLO; kind <= KFX_KIND_LAST; kind++) {
        zmsg_t *msg = kfx_msg_encode((kfx_kind_t)kind, &env, kind == KFX_TASK ? payload : NULL);
        FILE *file = open_seed("frames", kfx_kind_name((kfx_kind_t)kind));
        put_frames(file, msg);
        fclose(file);
        zmsg_first(msg);
        zmsg_next(msg);
        put_body(kfx_kind_name((kfx_kind_t)kind), (char)kind, zmsg_next(msg));
        kfx_tap_meta_t meta = {.time_us = 1, .peer = "pod-1", .role = "storage", .identity = "00ff", .timed = true};
        zframe_t *one = kfx_tap_encode(&meta, msg);
        kfx_record_write(record, one, &err);
        zframe_destroy(&one);
        zmsg_destroy(&msg);
    }
    kfx_tap_stats_t stats = {.service = "storage", .workers = 1, .tasks = 5};
    zmsg_t *figures = kfx_tap_stats_encode(&stats);
    FILE *file = open_seed("record", "stats");
    zframe_t *body = zmsg_last(figures);
    fwrite(zframe_data(body), 1, zframe_size(body), file);
    fclose(file);
    fclose(record);
    zmsg_destroy(&figures);
}

static void put_zap(void)
{
    uint8_t key[32];
    zmq_z85_decode(key, "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID");
    static const char *const domains[] = {"work", "tap"};
    for (size_t i = 0; i < 2; i++) {
        zmsg_t *msg = zmsg_new();
        const char *const parts[] = {"1.0", "1", domains[i], "127.0.0.1", "\1", "CURVE"};
        for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++)
            zmsg_addstr(msg, parts[p]);
        zmsg_addmem(msg, key, sizeof(key));
        FILE *file = open_seed("zap", domains[i]);
        put_frames(file, msg);
        fclose(file);
        zmsg_destroy(&msg);
    }
}

static void put_dsn(void)
{
    static const char dsn[] =
        "postgres://cp1_4f0c8a520000400080000123456789ab_a:secret%21@pg:5432/"
        "cp1_4f0c8a520000400080000123456789ab?sslmode=verify-full&sslrootcert=/etc/kine/tls/ca.crt";
    FILE *file = open_seed("dsn", "ours");
    put_part(file, dsn, sizeof(dsn) - 1);
    put_part(file, "p@ss/w:rd%", 10);
    put_part(file, "pg.svc", 6);
    fclose(file);
}

/* Two keys, one without a value. */
static void put_backup(void)
{
    KFX_FREE char *folder = kfx_xasprintf("%s/backup", dir);
    KFX_FREE char *path = kfx_xasprintf("%s/two", folder);
    KFX_JSON json_t *header = json_pack("{s:s, s:i}", "plane", "cp1", "revision", 9);
    kfx_backup_sum_t sum;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_backup_record_t a = {.key = "/registry/a", .key_len = 11, .value_len = 5, .created = 2, .changed = 9},
                        b = {.key = "/registry/bc", .key_len = 12, .created = 3, .changed = 3, .ttl = 60};
    mkdir(folder, 0755);
    kfx_backup_writer_t *writer = kfx_backup_create(path, header, &err);
    if (!writer || kfx_backup_write(writer, &a, "value", &err) != 0 || kfx_backup_write(writer, &b, "", &err) != 0 ||
        kfx_backup_finish(&writer, &sum, &err) != 0) {
        fprintf(stderr, "cannot write %s: %s\n", path, err.msg);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: fuzz-seeds DIR\n", stderr);
        return 2;
    }
    dir = argv[1];
    kfx_child_t children[] = {
        {.kind = "Namespace", .name = "cp1-system", .uid = "n1", .rv = "7", .owned = true},
        {.kind = "Secret", .name = "kine-dsn", .hash = "0011223344556677-512eabcde12345", .ready = true}};
    kfx_digest_t digest = {.type = "k8s", .count = KFX_COUNT(children), .children = children};
    zframe_t *payload = kfx_digest_encode(&digest);
    kfx_result_t *result = kfx_xcalloc(1, sizeof(*result));
    kfx_result_condition(result, "Synced", true, "ReconcileSuccess", "all %s", "well");
    kfx_result_wrote(result, "Secret", "kine-dsn", "s1", "9", "0011223344556677");
    zframe_t *body = kfx_result_encode(result);
    put_body("digest", 'D', payload);
    put_body("result", 'R', body);
    put_messages(payload);
    put_zap();
    put_dsn();
    put_backup();
    zframe_destroy(&payload);
    zframe_destroy(&body);
    free(result);
    return 0;
}
