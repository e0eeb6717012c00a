/* cli/tap_filter.c: which messages kflex tap shows. */
#include "cli/tap.h"

#include "base/mem.h"

#include <fnmatch.h>
#include <string.h>
#include <strings.h>

#define BIT(kind) (1u << (kind))
#define ALL_KINDS (BIT(KFX_KIND_LAST + 1) - 1)

static int parse_kinds(const char *text, unsigned *kinds, kfx_error_t *err)
{
    KFX_FREE char *copy = kfx_xstrdup(text);
    char *rest = copy, *word;
    *kinds = 0;
    while ((word = strsep(&rest, ","))) {
        int kind = KFX_HELLO;
        while (kind <= KFX_KIND_LAST && strcasecmp(kfx_kind_name((kfx_kind_t)kind), word) != 0)
            kind++;
        if (kind > KFX_KIND_LAST)
            return kfx_error_set(
                err, KFX_E_INVALID,
                "there is no kind of message \"%s\". Choose from: HELLO, WELCOME, PING, PONG, SYNC, EVENT, "
                "TASK, CANCEL, DONE, STATUS, ACK, BYE, ERROR",
                word);
        *kinds |= BIT(kind);
    }
    return 0;
}

int kfx_tap_filter_init(kfx_tap_filter_t *self, const kfx_opts_t *opts, kfx_error_t *err)
{
    *self = (kfx_tap_filter_t){.key = opts->tap.key,
                               .type = opts->tap.type,
                               .from = opts->tap.from,
                               .kinds = ALL_KINDS & ~(BIT(KFX_PING) | BIT(KFX_PONG))};
    if (self->type && strcmp(self->type, KFX_SERVICE_STORAGE) != 0 && !kfx_type_find(self->type))
        return kfx_error_set(err, KFX_E_INVALID,
                             "there is no type \"%s\". Choose one of: k8s, vcluster, k3s, host, external, ocm, storage",
                             self->type);
    return opts->tap.kind ? parse_kinds(opts->tap.kind, &self->kinds, err) : 0;
}

/* By its service, by the role of whom it is from or for, or by what the digest of the plane says. */
static bool of_type(const char *type, const kfx_tap_seen_t *seen)
{
    const kfx_type_info_t *info = kfx_type_find(type);
    const char *service = info ? info->service : KFX_SERVICE_STORAGE;
    if (seen->msg.env.service[0] && strcmp(seen->msg.env.service, service) == 0)
        return true;
    const char *role = strchr(seen->meta.role, ':');
    if (strcmp(role ? role + 1 : seen->meta.role, type) == 0)
        return true;
    if (seen->msg.kind != KFX_EVENT && seen->msg.kind != KFX_TASK)
        return false;
    kfx_digest_t *digest = kfx_digest_decode(seen->msg.payload, NULL);
    bool same = digest && strcmp(digest->type, type) == 0;
    kfx_digest_free(digest);
    return same;
}

static bool from(const char *pattern, const kfx_tap_seen_t *seen)
{
    const char *role = seen->meta.out ? "bus" : seen->meta.role;
    KFX_FREE char *both = kfx_tap_short(role, kfx_tap_sender(seen));
    return fnmatch(pattern, role, 0) == 0 || fnmatch(pattern, kfx_tap_sender(seen), 0) == 0 ||
           fnmatch(pattern, both, 0) == 0;
}

bool kfx_tap_filter_match(const kfx_tap_filter_t *self, const kfx_tap_seen_t *seen)
{
    unsigned kind = (unsigned)seen->msg.kind <= KFX_KIND_LAST ? (unsigned)seen->msg.kind : 0;
    return self->kinds & BIT(kind) && (!self->key || fnmatch(self->key, seen->msg.env.key, 0) == 0) &&
           (!self->from || from(self->from, seen)) && (!self->type || of_type(self->type, seen));
}
