/* What a service hears of, and what it does not: echoes of its own writes. */
#include "base/mem.h"
#include "watcher/intern.h"
#include "watcher/merge.h"
#include "watcher/sender.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define RECONCILE 0
#define STORAGE 1
static const char *const services[] = {"reconcile.k8s", "storage"};
static kfx_config_seen_t config = {true, "cfg", "5"};
static uint64_t seq;

static kfx_seen_child_t seen(const char *kind, const char *name, const char *rv, const char *hash)
{
    bool workload = strcmp(kind, "Deployment") == 0;
    kfx_seen_child_t c = {.kind = kind, .fields = 11, .ready = !workload, .rolling = workload};
    kfx_copy(c.plane, sizeof c.plane, "cp1");
    kfx_copy(c.name, sizeof c.name, name);
    snprintf(c.uid, sizeof c.uid, "uid-%.20s", name);
    kfx_copy(c.rv, sizeof c.rv, rv);
    kfx_copy(c.hash, sizeof c.hash, hash);
    kfx_copy(c.owner, sizeof c.owner, "u-1");
    return c;
}

static kfx_planes_t *planes;

static kfx_plane_t *new_plane(void)
{
    seq = 0;
    planes = kfx_planes_new();
    kfx_plane_t *plane = kfx_planes_get(planes, "cp1");
    kfx_seen_plane_t p = {.name = "cp1", .uid = "u-1", .rv = "1", .type = "k8s", .generation = 1, .finalizers = NULL};
    assert_true(kfx_plane_update(plane, &p));
    return plane;
}

static void done_with(void)
{
    kfx_planes_destroy(&planes);
    assert_int_equal(kfx_intern_count(), 0);
}

static kfx_send_t decide(kfx_plane_t *plane, size_t service)
{
    return kfx_sender_decide(plane, service, services[service], &config);
}

static void tell(kfx_plane_t *plane, size_t service)
{
    kfx_sender_sent(plane, service, services[service], &config, ++seq);
}

static void done(kfx_plane_t *plane, size_t service)
{
    plane->views[service].done_seq = plane->views[service].sent_seq;
}

static void wrote(kfx_plane_t *plane, size_t service, const char *kind, const char *name, const char *rv,
                  const char *hash)
{
    kfx_written_t w = {0};
    kfx_copy(w.kind, sizeof w.kind, kind);
    kfx_copy(w.name, sizeof w.name, name);
    snprintf(w.uid, sizeof w.uid, "uid-%.20s", name);
    kfx_copy(w.rv, sizeof w.rv, rv);
    kfx_copy(w.hash, sizeof w.hash, hash);
    kfx_plane_wrote(plane, service, &w);
}

static void show(kfx_plane_t *plane, kfx_seen_child_t c)
{
    kfx_plane_child_update(plane, &c);
}

static void test_first_and_generation(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    p->generation = 2;
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    p->deleting = true;
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    p->views[RECONCILE].gone = true; /* said GONE: what vanishes now is no news */
    p->generation = 3;
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    done_with();
}

static void test_config(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    tell(p, RECONCILE);
    tell(p, STORAGE);
    kfx_copy(config.rv, sizeof config.rv, "6");
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOTHING);
    kfx_digest_t *d = kfx_plane_digest(p, services[RECONCILE], &config);
    assert_string_equal(kfx_digest_child(d, "ConfigMap", KFX_CONFIGMAP)->rv, "6");
    kfx_digest_free(d);
    done_with();
}

/* The agent knows its Secret by the first part of the hash and its password by the second; cut, each of its tasks would
 * write the Secret again, and a new password would roll no pod. */
static void test_hash_of_two_parts(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    show(p, seen("Secret", KFX_SECRET_DSN, "20", "2b1326b6d9beb3d5-428a170e"));
    tell(p, RECONCILE);
    kfx_digest_t *d = kfx_plane_digest(p, services[STORAGE], &config);
    assert_string_equal(kfx_digest_child(d, "Secret", KFX_SECRET_DSN)->hash, "2b1326b6d9beb3d5-428a170e");
    kfx_digest_free(d);
    show(p, seen("Secret", KFX_SECRET_DSN, "21", "2b1326b6d9beb3d5-00000000"));
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    done_with();
}

/* The watch shows what the running task writes, before and after its DONE. */
static void test_echo(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    tell(p, RECONCILE);
    tell(p, STORAGE);
    show(p, seen("Namespace", "cp1-system", "20", "aa"));
    show(p, seen("Service", "cp1", "21", "bb"));
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_LATER); /* its DONE will tell */
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOW);     /* it waits for the Namespace */
    wrote(p, RECONCILE, "Namespace", "cp1-system", "20", "aa");
    wrote(p, RECONCILE, "Service", "cp1", "21", "bb");
    wrote(p, RECONCILE, "Deployment", "kube-apiserver", "22", "cc"); /* the watch is late */
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    show(p, seen("Deployment", "kube-apiserver", "22", "cc"));
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);

    kfx_seen_child_t d = seen("Deployment", "kube-apiserver", "23", "cc"); /* status moved, still not ready */
    show(p, d);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    d = seen("Deployment", "kube-apiserver", "24", "cc");
    d.ready = true;
    d.rolling = false;
    show(p, d);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW); /* ready is news, running task or not */
    tell(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    assert_false(p->views[RECONCILE].lag);
    done_with();
}

static void test_others_writes(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    tell(p, RECONCILE);
    show(p, seen("Secret", KFX_SECRET_DSN, "30", "dd")); /* the storage agent's */
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    done(p, RECONCILE);
    show(p, seen("Secret", "k8s-certs", "31", "ee")); /* nobody said he wrote it */
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    kfx_plane_child_remove(p, "Secret", "k8s-certs", "another-uid");
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    kfx_plane_child_remove(p, "Secret", "k8s-certs", "uid-k8s-certs");
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOW); /* never told */
    tell(p, STORAGE);
    show(p, seen("Secret", "k8s-certs", "33", "ee"));
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOTHING); /* not of interest to it */
    done_with();
}

static void test_unready_during_a_write(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    kfx_seen_child_t d = seen("Deployment", "kube-apiserver", "40", "aa");
    d.ready = true;
    d.rolling = false;
    show(p, d);
    tell(p, RECONCILE);
    show(p, seen("Deployment", "kube-apiserver", "42", "aa")); /* the pod died */
    wrote(p, RECONCILE, "Deployment", "kube-apiserver", "41", "aa");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    done_with();
}

/* Harmed, put right, and harmed again before DONE tells of the write: what the service was told reads the same. */
static void test_harmed_twice(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    show(p, seen("Secret", "admin-kubeconfig", "20", "aa"));
    tell(p, RECONCILE);
    kfx_seen_child_t harmed = seen("Secret", "admin-kubeconfig", "21", "aa");
    harmed.fields = 12;
    show(p, harmed);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    show(p, seen("Secret", "admin-kubeconfig", "22", "aa"));
    kfx_copy(harmed.rv, sizeof harmed.rv, "23");
    show(p, harmed);
    wrote(p, RECONCILE, "Secret", "admin-kubeconfig", "22", "aa");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    show(p, seen("Secret", "admin-kubeconfig", "24", "aa"));
    wrote(p, RECONCILE, "Secret", "admin-kubeconfig", "24", "aa");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    done_with();
}

/* Made by a task, shown, and deleted again before DONE: the service was never told of it. */
static void test_deleted_before_done(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    tell(p, RECONCILE);
    kfx_seen_child_t made = seen("RoleBinding", "vc-vcluster", "20", "aa");
    show(p, made);
    kfx_plane_child_remove(p, made.kind, made.name, made.uid);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW); /* the bus runs it after the task that goes on */
    tell(p, RECONCILE);
    wrote(p, RECONCILE, "RoleBinding", "vc-vcluster", "20", "aa");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    done_with();
}

/* The exchange of running pods: the write itself is no news, a pod that ends or comes meanwhile is, and so is the end.
 */
static void test_exchange(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    kfx_seen_child_t d = seen("Deployment", "kube-apiserver", "40", "aa");
    d.ready = true;
    d.rolling = false;
    show(p, d);
    tell(p, RECONCILE);
    d = seen("Deployment", "kube-apiserver", "41", "bb");
    d.ready = true;
    show(p, d);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_LATER);
    wrote(p, RECONCILE, "Deployment", "kube-apiserver", "41", "bb");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    d = seen("Deployment", "kube-apiserver", "42", "bb"); /* the old pod died */
    show(p, d);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    d = seen("Deployment", "kube-apiserver", "43", "bb"); /* came back while a task runs */
    d.ready = true;
    show(p, d);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    done(p, RECONCILE);
    d = seen("Deployment", "kube-apiserver", "44", "bb");
    d.ready = d.stuck = true;
    show(p, d);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    d = seen("Deployment", "kube-apiserver", "45", "bb");
    d.ready = true;
    d.rolling = false;
    show(p, d);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    done_with();
}

static void test_drift(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    show(p, seen("Service", "cp1", "50", "aa"));
    tell(p, RECONCILE);
    done(p, RECONCILE);
    kfx_seen_child_t s = seen("Service", "cp1", "51", "aa");
    s.fields = 10; /* somebody took a field from us */
    show(p, s);
    assert_true(kfx_plane_child(p, "Service", "cp1")->drifted);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    show(p, seen("Service", "cp1", "52", "aa")); /* repaired */
    assert_false(kfx_plane_child(p, "Service", "cp1")->drifted);
    wrote(p, RECONCILE, "Service", "cp1", "52", "aa");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);

    s = seen("Service", "cp1", "53", "aa");
    s.fields = 0; /* our entry was removed */
    show(p, s);
    assert_true(kfx_plane_child(p, "Service", "cp1")->drifted);
    s = seen("Service", "cp1", "54", "bb"); /* another manifest owns other fields */
    s.fields = 99;
    show(p, s);
    assert_false(kfx_plane_child(p, "Service", "cp1")->drifted);
    done_with();
}

/* After a restart nothing is known of our last write; later fields of somebody else make us look once. */
static void test_suspicion(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    kfx_seen_child_t s = seen("Service", "cp1", "60", "aa");
    s.touched = true;
    show(p, s);
    kfx_tracked_t *c = kfx_plane_child(p, "Service", "cp1");
    assert_true(c->drifted);
    tell(p, RECONCILE);
    wrote(p, RECONCILE, "Service", "cp1", "60", "aa"); /* the apply changed nothing */
    done(p, RECONCILE);
    assert_false(c->drifted);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    done_with();
}

/* A Secret without applied-hash is one that somebody else fills in: each version of it is news, also one that comes
 * before the DONE of the task that wrote it. */
static void test_filled_in_by_others(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    tell(p, RECONCILE);
    show(p, seen("Secret", "cp1", "65", ""));
    show(p, seen("Secret", "cp1", "66", ""));
    wrote(p, RECONCILE, "Secret", "cp1", "65", "");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    wrote(p, RECONCILE, "Secret", "cp1", "67", "");
    show(p, seen("Secret", "cp1", "67", ""));
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING); /* our own write is none */
    show(p, seen("Secret", "cp1", "68", ""));
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    done_with();
}

/* The bus runs a task again by its clock with the digest it has: that is sent anew once it shows all that the service
 * wrote, and not before. Half of it would make the service write the other half a second time. */
static void test_refresh(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    kfx_view_t *view = &p->views[RECONCILE];
    kfx_result_t again = {.outcome = KFX_OUTCOME_WAITING, .retry_after_ms = 5000}, wait = {.outcome = KFX_OUTCOME_OK};
    tell(p, RECONCILE);
    done(p, RECONCILE);
    kfx_sender_done(view, &again);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING); /* nothing was written */
    show(p, seen("Deployment", "kube-apiserver", "70", "aa"));
    wrote(p, RECONCILE, "Deployment", "kube-apiserver", "70", "aa");
    wrote(p, RECONCILE, "Deployment", "kube-controller-manager", "71", "bb");
    wrote(p, STORAGE, "Secret", KFX_SECRET_DSN, "90", "cc"); /* what another one wrote is not waited for */
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    kfx_sender_done(view, &wait);
    show(p, seen("Deployment", "kube-controller-manager", "71", "bb"));
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING); /* nobody runs it */
    kfx_sender_done(view, &again);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    done(p, RECONCILE);
    kfx_sender_done(view, &again);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING); /* it has that digest */
    done_with();
}

/* A service that looks for its Namespace itself may have met one that it was never told of. */
static void test_namespace_unseen(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    tell(p, RECONCILE);
    done(p, RECONCILE);
    kfx_seen_child_t ns = seen("Namespace", "cp1-system", "20", "");
    ns.owner[0] = '\0';
    show(p, ns);
    kfx_plane_child_remove(p, "Namespace", "cp1-system", ns.uid); /* came and went before anybody was told */
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    done(p, RECONCILE);
    show(p, seen("Secret", "x", "21", ""));
    kfx_plane_child_remove(p, "Secret", "x", "uid-x");
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    kfx_plane_unsettle(p);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    done_with();
}

/* Others write the address of a Service into it; what we wrote ourselves is still no news. */
static void test_addresses(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    tell(p, RECONCILE);
    show(p, seen("Service", "cp1", "80", "aa"));
    wrote(p, RECONCILE, "Service", "cp1", "80", "aa");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    show(p, seen("Service", "cp1", "81", "aa")); /* the load balancer's address */
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    tell(p, RECONCILE);
    show(p, seen("Service", "cp1", "83", "aa")); /* another one, right after a write of ours */
    wrote(p, RECONCILE, "Service", "cp1", "82", "aa");
    done(p, RECONCILE);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    done_with();
}

static void test_order_of_versions(void **state)
{
    (void)state;
    assert_int_equal(kfx_rv_compare("9", "10"), -1);
    assert_int_equal(kfx_rv_compare("100", "99"), 1);
    assert_int_equal(kfx_rv_compare("7", "7"), 0);
    assert_int_equal(kfx_rv_compare("007", "7"), 0);
    assert_int_equal(kfx_rv_compare("abc", "99"), 1);
    kfx_plane_t *p = new_plane();
    kfx_seen_plane_t old = {.name = "cp1", .uid = "u-1", .rv = "0", .type = "k8s", .generation = 9};
    assert_false(kfx_plane_update(p, &old)); /* a late event */
    assert_int_equal(p->generation, 1);
    kfx_seen_plane_t answer = {.name = "cp1", .uid = "u-1", .rv = "3", .type = "k8s", .generation = 1};
    assert_true(kfx_plane_update(p, &answer));
    answer.status = kfx_status_dup(&(kfx_status_t){.version = "v1"});
    assert_false(kfx_plane_update(p, &answer)); /* the same resourceVersion is no news … */
    assert_null(p->status);
    p->finalizer = true;
    kfx_plane_answered(p, &answer); /* … but what our own write was answered with stands */
    assert_string_equal(p->status->version, "v1");
    assert_false(p->finalizer); /* gone, and not to be removed a second time */
    assert_false(p->fresh);     /* only the watch says what a list has shown */
    kfx_seen_plane_t again = {.name = "cp1", .uid = "u-2", .rv = "8", .type = "k8s", .generation = 1};
    p->views[0].gone = true;
    assert_true(kfx_plane_update(p, &again)); /* made anew under the same name */
    assert_false(p->views[0].gone);
    show(p, seen("Namespace", "cp1-system", "4", "aa")); /* of the old one */
    kfx_digest_t *d = kfx_plane_digest(p, services[STORAGE], &config);
    assert_int_equal(d->count, 1);
    assert_false(d->children[0].owned);
    kfx_digest_free(d);
    done_with();
}

static void set_server(kfx_plane_t *plane, const char *server)
{
    free(plane->status);
    plane->status = kfx_status_dup(&(kfx_status_t){.server = server});
}

/* The storage agent chose a server and waits until the choice is recorded; a new password is asked for by annotation.
 * Neither is the reconciler's business. */
static void test_storage_words(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);
    kfx_envelope_t env = {.outcome = KFX_OUTCOME_WAITING};
    tell(p, RECONCILE);
    tell(p, STORAGE);
    kfx_copy(result->postgres_server, sizeof result->postgres_server, "east");
    p->views[STORAGE].verdict = kfx_verdict_new(&env, result);
    p->views[STORAGE].awaits = true;
    done(p, STORAGE);
    assert_true(kfx_sender_unrecorded(p, STORAGE));
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOTHING);
    set_server(p, "west"); /* another choice was recorded before: it is told of that one */
    assert_false(kfx_sender_unrecorded(p, STORAGE));
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOW);
    kfx_digest_t *d = kfx_plane_digest(p, services[STORAGE], &config);
    assert_string_equal(d->postgres_server, "west");
    kfx_digest_free(d);
    tell(p, STORAGE);
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOTHING);

    kfx_seen_plane_t asked = {.name = "cp1", .uid = "u-1", .rv = "2", .type = "k8s", .generation = 1, .rotate = "aa"};
    asked.status = kfx_status_dup(p->status);
    assert_true(kfx_plane_update(p, &asked));
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOW);
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOTHING);
    d = kfx_plane_digest(p, services[STORAGE], &config);
    assert_string_equal(d->rotate, "aa");
    kfx_digest_free(d);
    tell(p, STORAGE);
    assert_int_equal(decide(p, STORAGE), KFX_SEND_NOTHING);
    free(result);
    done_with();
}

static void test_sweep_and_purge(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane();
    show(p, seen("Secret", "a", "1", ""));
    show(p, seen("Secret", "b", "2", ""));
    show(p, seen("Service", "c", "3", ""));
    tell(p, RECONCILE);
    kfx_plane_child(p, "Secret", "a")->fresh = kfx_plane_child(p, "Service", "c")->fresh = false;
    assert_int_equal(kfx_plane_sweep(p, "Secret"), 1);
    assert_null(kfx_plane_child(p, "Secret", "a"));
    assert_non_null(kfx_plane_child(p, "Service", "c"));
    assert_int_equal(decide(p, RECONCILE), KFX_SEND_NOW);
    assert_false(kfx_planes_purge(planes, p));
    kfx_plane_forget(p);
    assert_false(kfx_planes_purge(planes, p)); /* its children are still there */
    kfx_plane_child_remove(p, "Secret", "b", "uid-b");
    kfx_plane_child_remove(p, "Service", "c", "uid-c");
    assert_true(kfx_planes_purge(planes, p));
    assert_int_equal(kfx_planes_count(planes), 0);
    kfx_seen_child_t ns = seen("Namespace", "kube-system", "1", "");
    kfx_plane_child_update(kfx_planes_get(planes, "kube"), &ns); /* might be a plane's, but is none's */
    assert_int_equal(kfx_planes_count(planes), 1);
    assert_int_equal(kfx_planes_present(planes), 0);
    done_with();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_and_generation),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_hash_of_two_parts),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_others_writes),
        cmocka_unit_test(test_unready_during_a_write),
        cmocka_unit_test(test_harmed_twice),
        cmocka_unit_test(test_deleted_before_done),
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_suspicion),
        cmocka_unit_test(test_filled_in_by_others),
        cmocka_unit_test(test_refresh),
        cmocka_unit_test(test_namespace_unseen),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_order_of_versions),
        cmocka_unit_test(test_storage_words),
        cmocka_unit_test(test_sweep_and_purge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
