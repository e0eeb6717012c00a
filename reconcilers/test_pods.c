/* reconcilers/test_pods.c: what is said about pods that do not become ready. */
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/pods.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A PodList of one pod whose container has this status (JSON without braces). */
static json_t *list_of(const char *list, const char *container)
{
    KFX_FREE char *text = kfx_xasprintf("{'items':[{'metadata':{'name':'kube-apiserver-1','creationTimestamp':"
                                        "'2026-11-25T10:00:00Z'},'status':{'%s':[{%s}]}}]}",
                                        list, container);
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_t *out = json_loads(text, 0, NULL);
    assert_non_null(out);
    return out;
}

static void look(const char *list, const char *container, kfx_trouble_t *out)
{
    KFX_JSON json_t *pods = list_of(list, container);
    kfx_pods_trouble(pods, "cp1-system", "Deployment", "kube-apiserver", out);
}

static void expect(const kfx_trouble_t *trouble, const char *reason, const char *part)
{
    assert_non_null(trouble->reason);
    assert_string_equal(trouble->reason, reason);
    if (!strstr(trouble->message, part))
        fail_msg("\"%s\" does not say \"%s\"", trouble->message, part);
}

static void test_image(void **state)
{
    static const char *const waits[] = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"};
    kfx_trouble_t first = {.reason = NULL}, trouble;
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(waits); i++) {
        KFX_FREE char *status =
            kfx_xasprintf("'name':'kube-apiserver','image':'registry.k8s.io/kube-apiserver:v1.99.0',"
                          "'state':{'waiting':{'reason':'%s','message':'words %zu'}}",
                          waits[i], i);
        look("containerStatuses", status, &trouble);
        expect(&trouble, "ImagePullFailed", "image registry.k8s.io/kube-apiserver:v1.99.0 of container kube-apiserver");
        if (i == 0)
            first = trouble;
        assert_string_equal(trouble.message, first.message); /* one cause, one message */
    }
    look("initContainerStatuses",
         "'name':'kine','image':'rancher/kine:v9','state':{'waiting':{'reason':'ErrImagePull'}}", &trouble);
    expect(&trouble, "ImagePullFailed", "rancher/kine:v9");
}

static void test_failing(void **state)
{
    static const char ended[] = "'lastState':{'terminated':{'reason':'Error','exitCode':2,'message':'secret words'}}";
    kfx_trouble_t waiting, running;
    (void)state;
    KFX_FREE char *back_off = kfx_xasprintf("'name':'kine','ready':false,'restartCount':1,'state':{'waiting':"
                                            "{'reason':'CrashLoopBackOff','message':'back-off 10s'}},%s",
                                            ended);
    KFX_FREE char *again =
        kfx_xasprintf("'name':'kine','ready':false,'restartCount':7,'state':{'running':{}},%s", ended);
    look("initContainerStatuses", back_off, &waiting);
    look("initContainerStatuses", again, &running);
    expect(&waiting, "ContainerFailing", "container kine ends again and again (Error, exit code 2)");
    expect(&waiting, "ContainerFailing", "kubectl logs -n cp1-system deploy/kube-apiserver -c kine --previous");
    assert_string_equal(waiting.message, running.message);
    assert_null(strstr(waiting.message, "secret words")); /* the container's own words may hold anything */
    look("containerStatuses",
         "'name':'kube-apiserver','ready':false,'restartCount':3,'state':{'running':{}},"
         "'lastState':{'terminated':{'reason':'OOMKilled','exitCode':137}}",
         &waiting);
    expect(&waiting, "ContainerFailing", "resourceProfile");
}

static void test_config_error(void **state)
{
    kfx_trouble_t trouble;
    (void)state;
    look("containerStatuses",
         "'name':'kine','state':{'waiting':{'reason':'CreateContainerConfigError','message':'secret not found'}}",
         &trouble);
    expect(&trouble, "ContainerFailing", "CreateContainerConfigError: secret not found");
    look("containerStatuses", "'name':'kine','state':{'waiting':{'reason':'RunContainerError','message':'id 7d'}}",
         &trouble);
    expect(&trouble, "ContainerFailing", "RunContainerError; look");
}

static void test_ordinary_start_is_no_trouble(void **state)
{
    static const char *const ordinary[] = {
        "'name':'a','state':{'waiting':{'reason':'ContainerCreating'}}",
        "'name':'a','state':{'waiting':{'reason':'PodInitializing'}}",
        "'name':'a','ready':false,'state':{'running':{}}",
        "'name':'a','ready':false,'restartCount':1,'state':{'running':{}},'lastState':{'terminated':{'exitCode':1}}",
        "'name':'a','ready':true,'restartCount':9,'state':{'running':{}},'lastState':{'terminated':{'exitCode':1}}",
    };
    kfx_trouble_t trouble;
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(ordinary); i++) {
        look("containerStatuses", ordinary[i], &trouble);
        assert_null(trouble.reason);
    }
    kfx_pods_trouble(NULL, "cp1-system", "Deployment", "kube-apiserver", &trouble);
    assert_null(trouble.reason);
}

static json_t *pod(const char *name, const char *created, const char *image)
{
    return json_pack("{s:{s:s, s:s}, s:{s:[{s:s, s:s, s:{s:{s:s}}}]}}", "metadata", "name", name, "creationTimestamp",
                     created, "status", "containerStatuses", "name", "c", "image", image, "state", "waiting", "reason",
                     "ErrImagePull");
}

static void test_newest_pod_of_the_workload_counts(void **state)
{
    kfx_trouble_t trouble;
    (void)state;
    json_t *leaving = pod("kube-apiserver-3", "2026-11-25T13:00:00Z", "image:leaving");
    kfx_json_put(leaving, json_string("2026-11-25T14:00:00Z"), "metadata", "deletionTimestamp");
    KFX_JSON json_t *list =
        json_pack("{s:[o,o,o,o]}", "items", pod("kube-apiserver-1", "2026-11-25T10:00:00Z", "image:old"),
                  pod("kube-apiserver-2", "2026-11-25T11:00:00Z", "image:new"), leaving,
                  pod("kube-controller-manager-1", "2026-11-25T12:00:00Z", "image:other"));
    kfx_pods_trouble(list, "cp1-system", "Deployment", "kube-apiserver", &trouble);
    expect(&trouble, "ImagePullFailed", "image:new");
}

static void test_unschedulable_and_refused(void **state)
{
    kfx_trouble_t trouble;
    (void)state;
    KFX_JSON json_t *list = json_pack("{s:[{s:{s:s}, s:{s:[{s:s, s:s, s:s, s:s}]}}]}", "items", "metadata", "name",
                                      "kube-apiserver-1", "status", "conditions", "type", "PodScheduled", "status",
                                      "False", "reason", "Unschedulable", "message", "0/1 nodes are available");
    kfx_pods_trouble(list, "cp1-system", "Deployment", "kube-apiserver", &trouble);
    expect(&trouble, "Unschedulable", "0/1 nodes are available; make room, or add a node");
    KFX_JSON json_t *deployment =
        json_pack("{s:{s:s}, s:{s:[{s:s, s:s}, {s:s, s:s, s:s}]}}", "metadata", "name", "kube-apiserver", "status",
                  "conditions", "type", "Available", "status", "False", "type", "ReplicaFailure", "status", "True",
                  "message", "exceeded quota: q");
    kfx_deployment_trouble(deployment, &trouble);
    expect(&trouble, "PodsRefused", "exceeded quota: q");
    kfx_deployment_trouble(NULL, &trouble);
    assert_null(trouble.reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_failing),
        cmocka_unit_test(test_config_error),
        cmocka_unit_test(test_ordinary_start_is_no_trouble),
        cmocka_unit_test(test_newest_pod_of_the_workload_counts),
        cmocka_unit_test(test_unschedulable_and_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
