/* cli/backup_file.c: see backup_file.h. */
#include "cli/backup_file.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "KubeFlex backup 1\n"
#define MAGIC_BEGIN "KubeFlex backup "
#define HEADER_MAX 65536
#define SUM_SIZE 32

typedef struct __attribute__((packed)) {
    uint32_t key_len, value_len;
    uint64_t created, changed, ttl;
} head_t;

typedef struct __attribute__((packed)) {
    uint64_t records, bytes;
} tail_t;

struct kfx_backup_writer {
    FILE *file;
    char *path, *part;
    EVP_MD_CTX *digest;
    kfx_backup_sum_t sum;
    char last[KFX_BACKUP_KEY_MAX + 1];
};

struct kfx_backup_reader {
    FILE *file;
    json_t *header;
    int64_t revision;
    EVP_MD_CTX *digest;
    kfx_backup_sum_t sum;
    uint32_t left; /* of the value */
    bool ended;
    char last[KFX_BACKUP_KEY_MAX + 1];
    char skipped[KFX_BACKUP_PIECE];
};

static EVP_MD_CTX *digest_new(kfx_error_t *err)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1)
        return digest;
    EVP_MD_CTX_free(digest);
    kfx_error_set(err, KFX_E_INTERNAL, "OpenSSL has no SHA-256");
    return NULL;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static int put(kfx_backup_writer_t *self, const void *data, size_t len, kfx_error_t *err)
{
    if (len > 0 && EVP_DigestUpdate(self->digest, data, len) != 1)
        return kfx_error_set(err, KFX_E_INTERNAL, "OpenSSL computes no checksum");
    if (len > 0 && fwrite(data, 1, len, self->file) != len)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot write %s: %s", self->part, strerror(errno));
    return 0;
}

static int begin(kfx_backup_writer_t *self, const json_t *header, kfx_error_t *err)
{
    self->digest = digest_new(err);
    if (!self->digest)
        return -1;
    int fd = open(self->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST) {
        kfx_error_set(err, KFX_E_EXISTS, "%s is there: another backup writes it, or one was killed; then remove it",
                      self->part);
        free(KFX_STEAL(self->part)); /* not ours to remove */
        return -1;
    }
    self->file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!self->file) {
        kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot write %s: %s", self->part, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    KFX_FREE char *text = kfx_json_text(header);
    if (!text || strlen(text) >= HEADER_MAX)
        return kfx_error_set(err, KFX_E_INVALID, "what is to be said of the plane does not fit into a backup");
    if (put(self, MAGIC, strlen(MAGIC), err) != 0 || put(self, text, strlen(text), err) != 0)
        return -1;
    return put(self, "\n", 1, err);
}

kfx_backup_writer_t *kfx_backup_create(const char *path, const json_t *header, kfx_error_t *err)
{
    kfx_backup_writer_t *self = kfx_xcalloc(1, sizeof *self);
    self->path = kfx_xstrdup(path);
    self->part = kfx_xasprintf("%s.part", path);
    if (begin(self, header, err) != 0)
        kfx_backup_abort(&self);
    return self;
}

int kfx_backup_write(kfx_backup_writer_t *self, const kfx_backup_record_t *record, const void *value, kfx_error_t *err)
{
    if (record->key_len == 0 || record->key_len > KFX_BACKUP_KEY_MAX || strlen(record->key) != record->key_len)
        return kfx_error_set(err, KFX_E_INVALID, "a key of %u bytes cannot be kept in a backup", record->key_len);
    if (record->value_len > KFX_BACKUP_VALUE_MAX)
        return kfx_error_set(err, KFX_E_INVALID, "the value of %s is too large for a backup", record->key);
    if (strcmp(self->last, record->key) >= 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "keys do not ascend at %s", record->key);
    memcpy(self->last, record->key, record->key_len + 1);
    head_t head = {htobe32(record->key_len), htobe32(record->value_len), htobe64((uint64_t)record->created),
                   htobe64((uint64_t)record->changed), htobe64((uint64_t)record->ttl)};
    if (put(self, &head, sizeof head, err) != 0 || put(self, record->key, record->key_len, err) != 0 ||
        put(self, value, record->value_len, err) != 0)
        return -1;
    self->sum.records++;
    self->sum.bytes += record->key_len + record->value_len;
    return 0;
}

static int finish(kfx_backup_writer_t *self, kfx_error_t *err)
{
    const uint32_t none = 0;
    tail_t tail = {htobe64(self->sum.records), htobe64(self->sum.bytes)};
    unsigned char sum[SUM_SIZE];
    if (put(self, &none, sizeof none, err) != 0 || put(self, &tail, sizeof tail, err) != 0)
        return -1;
    if (EVP_DigestFinal_ex(self->digest, sum, NULL) != 1)
        return kfx_error_set(err, KFX_E_INTERNAL, "OpenSSL computes no checksum");
    bool written = fwrite(sum, 1, sizeof sum, self->file) == sizeof sum && fflush(self->file) == 0 &&
                   fsync(fileno(self->file)) == 0;
    if (!written)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot write %s: %s", self->part, strerror(errno));
    if (kfx_file_put_in_place(self->part, self->path) != 0)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot write %s: %s", self->path, strerror(errno));
    free(KFX_STEAL(self->part));
    return 0;
}

int kfx_backup_finish(kfx_backup_writer_t **self_p, kfx_backup_sum_t *sum, kfx_error_t *err)
{
    int rc = finish(*self_p, err);
    *sum = (*self_p)->sum;
    kfx_backup_abort(self_p);
    return rc;
}

void kfx_backup_abort(kfx_backup_writer_t **self_p)
{
    kfx_backup_writer_t *self = *self_p;
    if (!self)
        return;
    if (self->file)
        fclose(self->file);
    if (self->part)
        unlink(self->part);
    EVP_MD_CTX_free(self->digest);
    free(self->path);
    free(self->part);
    free(self);
    *self_p = NULL;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static int get(kfx_backup_reader_t *self, void *data, size_t len, kfx_error_t *err)
{
    if (fread(data, 1, len, self->file) != len)
        return ferror(self->file) ? kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot be read: %s", strerror(errno))
                                  : kfx_error_set(err, KFX_E_INVALID, "is cut short: make another backup");
    if (EVP_DigestUpdate(self->digest, data, len) != 1)
        return kfx_error_set(err, KFX_E_INTERNAL, "OpenSSL computes no checksum");
    return 0;
}

static int read_header(kfx_backup_reader_t *self, kfx_error_t *err)
{
    char magic[sizeof MAGIC - 1];
    if (get(self, magic, sizeof magic, NULL) != 0 || memcmp(magic, MAGIC_BEGIN, strlen(MAGIC_BEGIN)) != 0)
        return kfx_error_set(err, KFX_E_INVALID, "is no backup of a control plane");
    if (memcmp(magic, MAGIC, sizeof magic) != 0)
        return kfx_error_set(err, KFX_E_INVALID,
                             "is a backup of a form that this kflex does not know: use a newer one");
    KFX_FREE char *line = kfx_xcalloc(1, HEADER_MAX + 1);
    size_t len = 0;
    int c;
    while (len < HEADER_MAX && (c = getc(self->file)) != EOF && c != '\n')
        line[len++] = (char)c;
    line[len] = '\n';
    if (EVP_DigestUpdate(self->digest, line, len + 1) != 1)
        return kfx_error_set(err, KFX_E_INTERNAL, "OpenSSL computes no checksum");
    self->header = kfx_json_parse(line, len, NULL);
    self->revision = json_is_object(self->header) ? kfx_json_int(self->header, 0, "revision") : 0;
    if (self->revision < 1)
        return kfx_error_set(err, KFX_E_INVALID, "is damaged: its second line does not say what it holds");
    return 0;
}

kfx_backup_reader_t *kfx_backup_open(FILE *file, kfx_error_t *err)
{
    kfx_backup_reader_t *self = kfx_xcalloc(1, sizeof *self);
    self->file = file;
    self->digest = digest_new(err);
    if (!self->digest || read_header(self, err) != 0)
        kfx_backup_close(&self);
    return self;
}

void kfx_backup_close(kfx_backup_reader_t **self_p)
{
    kfx_backup_reader_t *self = *self_p;
    if (!self)
        return;
    json_decref(self->header);
    EVP_MD_CTX_free(self->digest);
    free(self);
    *self_p = NULL;
}

const json_t *kfx_backup_header(const kfx_backup_reader_t *self)
{
    return self->header;
}

int64_t kfx_backup_revision(const kfx_backup_reader_t *self)
{
    return self->revision;
}

const kfx_backup_sum_t *kfx_backup_sum(const kfx_backup_reader_t *self)
{
    return &self->sum;
}

static int damaged(kfx_error_t *err, const char *what)
{
    return kfx_error_set(err, KFX_E_INVALID, "is damaged (%s): make another backup", what);
}

static int read_end(kfx_backup_reader_t *self, kfx_error_t *err)
{
    tail_t tail;
    unsigned char sum[SUM_SIZE], own[SUM_SIZE];
    if (get(self, &tail, sizeof tail, err) != 0)
        return -1;
    if (EVP_DigestFinal_ex(self->digest, own, NULL) != 1)
        return kfx_error_set(err, KFX_E_INTERNAL, "OpenSSL computes no checksum");
    if (fread(sum, 1, sizeof sum, self->file) != sizeof sum)
        return kfx_error_set(err, KFX_E_INVALID, "is cut short: make another backup");
    if (memcmp(sum, own, sizeof sum) != 0)
        return damaged(err, "its checksum is wrong");
    if (be64toh(tail.records) != self->sum.records || be64toh(tail.bytes) != self->sum.bytes)
        return damaged(err, "it holds another number of keys than it says");
    if (getc(self->file) != EOF)
        return damaged(err, "it goes on after its end");
    self->ended = true;
    return 0;
}

/* The head of a record; 0 at the end. What a checksum would find later must not be acted on before: so each number is
 * looked at. */
static int read_record(kfx_backup_reader_t *self, kfx_backup_record_t *record, kfx_error_t *err)
{
    head_t head;
    if (get(self, &head.key_len, sizeof head.key_len, err) != 0)
        return -1;
    record->key_len = be32toh(head.key_len);
    if (record->key_len == 0)
        return read_end(self, err);
    if (record->key_len > KFX_BACKUP_KEY_MAX)
        return damaged(err, "a key is too long");
    if (get(self, (char *)&head + sizeof head.key_len, sizeof head - sizeof head.key_len, err) != 0 ||
        get(self, record->key, record->key_len, err) != 0)
        return -1;
    record->key[record->key_len] = '\0';
    record->value_len = be32toh(head.value_len);
    uint64_t created = be64toh(head.created), changed = be64toh(head.changed), ttl = be64toh(head.ttl);
    if (record->value_len > KFX_BACKUP_VALUE_MAX)
        return damaged(err, "a value is too long");
    if (created < 1 || created > changed || changed > (uint64_t)self->revision || ttl > INT32_MAX)
        return damaged(err, "a revision is out of range");
    if (strlen(record->key) != record->key_len || strcmp(self->last, record->key) >= 0)
        return damaged(err, "keys are not in order");
    record->created = (int64_t)created;
    record->changed = (int64_t)changed;
    record->ttl = (int64_t)ttl;
    memcpy(self->last, record->key, record->key_len + 1);
    return 1;
}

int kfx_backup_next(kfx_backup_reader_t *self, kfx_backup_record_t *record, kfx_error_t *err)
{
    int rc = 0;
    while (self->left > 0)
        if (kfx_backup_piece(self, self->skipped, err) < 0)
            return -1;
    if (!self->ended)
        rc = read_record(self, record, err);
    if (rc == 1) {
        self->left = record->value_len;
        self->sum.records++;
        self->sum.bytes += record->key_len + record->value_len;
    }
    return rc;
}

int kfx_backup_piece(kfx_backup_reader_t *self, char buf[KFX_BACKUP_PIECE], kfx_error_t *err)
{
    uint32_t want = self->left < KFX_BACKUP_PIECE ? self->left : KFX_BACKUP_PIECE;
    if (want == 0)
        return 0;
    if (get(self, buf, want, err) != 0)
        return -1;
    self->left -= want;
    return (int)want;
}
