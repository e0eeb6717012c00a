#!/usr/bin/env python3
"""kubeflex-watcher, kubeflex-bus and scripted workers against the API server of KFX_TEST_KUBECONFIG (else skipped).

usage: test_watcher.py WATCHER BUS WORKER
"""
import json
import os
import sys
import time
import traceback

from cluster import PLANES, Fleet, wait, without_status

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/controlplanes.tenancy.kflex.kubestellar.org"
FINALIZER = "kflex.kubestellar.org/finalizer"
LABEL = "kflex.kubestellar.org/controlplane"


def conditions(plane):
    return {c["type"]: c for c in (plane or {}).get("status", {}).get("conditions", [])}


def is_true(fleet, name, kind):
    return conditions(fleet.seen(name)).get(kind, {}).get("status") == "True"


def foreign_plane(fleet, short):
    """A plane as the Go operator leaves it: no label, no annotation, everything by manager/Update. Returns its name and
    {path: object}."""
    name, made = fleet.plane(short, finalizers=[FINALIZER])
    ns = f"{name}-system"
    meta = {"ownerReferences": [{"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane", "name": name,
                                 "uid": made["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}]}
    pods = {"selector": {"matchLabels": {"app": "kube-apiserver"}}, "template": {
        "metadata": {"labels": {"app": "kube-apiserver"}},
        "spec": {"containers": [{"name": "kube-apiserver", "image": "registry.k8s.io/kube-apiserver:v1.29.9"}]}}}
    objects = {}
    for collection, body in (
            ("/api/v1/namespaces", {"metadata": {"name": ns, **meta}}),
            (f"/api/v1/namespaces/{ns}/services",
             {"metadata": {"name": name, **meta}, "spec": {"type": "NodePort", "ports": [{"name": "https", "port": 443}]}}),
            (f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": "k8s-certs", **meta}, "data": {"ca.crt": "QQ=="}}),
            (f"/api/v1/namespaces/{ns}/secrets",
             {"metadata": {"name": "admin-kubeconfig", **meta}, "data": {"kubeconfig": "QQ=="}}),
            (f"/apis/apps/v1/namespaces/{ns}/deployments", {"metadata": {"name": "kube-apiserver", **meta}, "spec": pods})):
        fleet.api.create(f"{collection}?fieldManager=manager", body)
        path = f"{collection}/{body['metadata']['name']}"
        objects[path] = fleet.api.get(path)
    status = {"observedGeneration": 1, "conditions": [
        {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
         "lastUpdateTime": "2026-01-01T00:00:00Z"} for kind, reason in (("Synced", "ReconcileSuccess"), ("Ready", "Available"))],
        "secretRef": {"namespace": ns, "name": "admin-kubeconfig", "key": "kubeconfig", "inClusterKey": "kubeconfig-incluster"}}
    fleet.api.merge(f"{PLANES}/{name}/status?fieldManager=manager", {"status": status})
    return name, objects


class Tests:
    def __init__(self, fleet):
        self.f = fleet
        self.bus = fleet.bus()
        self.reconciler = fleet.worker("reconciler", "reconciler:k8s", "reconcile.k8s")
        self.storage = fleet.worker("storage", "storage", "storage")
        self.foreign = foreign_plane(fleet, "go")
        self.first = fleet.watcher("first")
        wait("first leads", lambda: fleet.leader() == "first")

    def settle(self, name):
        """Until what was written is what the services said."""
        wait(f"{name} Synced and StorageReady",
             lambda: is_true(self.f, name, "Synced") and is_true(self.f, name, "StorageReady"))
        return self.f.seen(name)

    def test_1_create(self):
        f = self.f
        started = time.monotonic()
        name, made = f.plane("a", finalizers=["example.org/other"])
        task = self.reconciler.task(name)
        self.storage.task(name)
        print(f"   create to task: {(task['at'] - started) * 1000:.1f} ms")
        assert task["uid"] == made["metadata"]["uid"] and task["gen"] == "1" and task["type"] == "k8s"
        plane = self.settle(name)
        assert plane["metadata"]["finalizers"] == ["example.org/other", FINALIZER], plane["metadata"]["finalizers"]
        assert [c["type"] for c in plane["status"]["conditions"]] == ["Synced", "StorageReady"]
        assert plane["status"]["observedGeneration"] == 1
        events = wait("Event SyncSuccess", lambda: [
            e for e in f.api.get("/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name=" + name)
            ["items"] if e["reason"] == "SyncSuccess"])
        assert events[0]["reportingController"] == "kubeflex-controlplane-controller"

    def test_2_identical_results_write_nothing(self):
        f, name = self.f, self.f.name("a")
        f.script("reconcile.k8s", name, "outcome OK 100", "cond Synced True ReconcileSuccess",
                 "cond Ready True Available", "version v1.36.3", "secret admin-kubeconfig kubeconfig kubeconfig-incluster")
        f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"a": "b"}}})
        self.reconciler.task(name, gen="2")
        wait("Ready", lambda: is_true(f, name, "Ready"))
        plane = wait("both saw generation 2", lambda: f.seen(name)["status"]["observedGeneration"] == 2 and f.seen(name))
        assert plane["status"]["secretRef"] == {"namespace": f"{name}-system", "name": "admin-kubeconfig",
                                                "key": "kubeconfig", "inClusterKey": "kubeconfig-incluster"}
        assert plane["status"]["kubernetesVersion"] == "v1.36.3"
        before = f.metric("first", "kubeflex_watcher_results_total")
        wait("ten more results", lambda: f.metric("first", "kubeflex_watcher_results_total") >= before + 10)
        after = f.seen(name)
        assert after["metadata"]["resourceVersion"] == plane["metadata"]["resourceVersion"], "an identical status was written"
        f.script("reconcile.k8s", name, "outcome OK", "cond Synced True ReconcileSuccess", "cond Ready True Available")

    def test_3_children(self):
        f, name = self.f, self.f.name("a")
        uid = f.seen(name)["metadata"]["uid"]
        owner = [{"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane", "name": name, "uid": uid,
                  "controller": True, "blockOwnerDeletion": True}]
        meta = {"labels": {LABEL: name}, "ownerReferences": owner}
        f.api.create(f"/api/v1/namespaces?fieldManager=kubeflex-{uid}", {"metadata": {"name": f"{name}-system", **meta}})
        ns = f"Namespace/{name}-system"
        for worker in (self.reconciler, self.storage):
            worker.task(name, where=lambda c: c.get(ns) == "or--")
        path = f"/api/v1/namespaces/{name}-system/configmaps"
        f.api.create(f"{path}?fieldManager=kubeflex-{uid}",
                     {"metadata": {"name": "one", "annotations": {"kflex.kubestellar.org/applied-hash": "aa"}, **meta},
                      "data": {"a": "1", "b": "2"}})
        self.reconciler.task(name, where=lambda c: c.get("ConfigMap/one") == "or--")
        f.api.merge(f"{path}/one?fieldManager=somebody", {"data": {"c": "3"}})  # a field of their own
        f.api.merge(f"{path}/one?fieldManager=somebody", {"data": {"a": "9"}})  # one of ours
        self.reconciler.task(name, where=lambda c: c.get("ConfigMap/one") == "or-d")
        self.storage.forget()
        self.storage.no_task(name, 0.3)
        f.api.delete(f"{path}/one")
        self.reconciler.task(name, where=lambda c: "ConfigMap/one" not in c)
        self.reconciler.forget()
        f.api.create(f"/api/v1/namespaces/default/configmaps", {"metadata": {"name": name, "labels": {LABEL: name}}})
        try:
            self.reconciler.no_task(name, 0.3)  # the label alone does not make it the plane's
        finally:
            f.api.delete(f"/api/v1/namespaces/default/configmaps/{name}")

    def test_3b_awaited_version(self):
        """A worker that waits for its version to be recorded hears of it, once."""
        f = self.f
        name = f.name("d")
        f.script("reconcile.k8s", name, "outcome WAITING", "version v1.36.3", "awaits")
        f.plane("d")
        assert self.reconciler.task(name)["version"] == ""
        assert self.reconciler.task(name)["version"] == "v1.36.3"
        assert f.seen(name)["status"]["kubernetesVersion"] == "v1.36.3"
        self.reconciler.no_task(name, 0.3)
        f.script("reconcile.k8s", name)

    def test_3c_foreign_namespace(self):
        """Every change of a Namespace of the right name is told, whoever's it is and whatever label it has."""
        f = self.f
        name = f.name("e")
        ns = f"Namespace/{name}-system"
        f.api.create("/api/v1/namespaces", {"metadata": {"name": f"{name}-system"}})
        f.plane("e")
        for worker in (self.reconciler, self.storage):
            worker.task(name, where=lambda c: c.get(ns) == "-r-d")
        f.api.delete(f"/api/v1/namespaces/{name}-system")
        for worker in (self.reconciler, self.storage):
            worker.task(name, where=lambda c: ns not in c)
            worker.no_task(name, 0.2)

    def test_3d_takeover_pending(self):
        """Of a plane of the Go operator nothing but the condition Synced is written, and it can be deleted."""
        f = self.f
        name, objects = self.foreign
        synced = wait("TakeoverPending", lambda: (c := conditions(f.seen(name))["Synced"])["reason"] == "TakeoverPending" and c)
        assert synced["status"] == "False" and f"{name}-system" in synced["message"], synced
        plane = f.seen(name)
        assert is_true(f, name, "Ready") and plane["status"]["secretRef"]["name"] == "admin-kubeconfig"
        f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"a": "b"}}})
        wait("generation 2 is observed", lambda: f.seen(name)["status"]["observedGeneration"] == 2)
        for path, before in objects.items():
            assert without_status(f.api.get(path)) == without_status(before), f"{path} was written"
        for worker in (self.reconciler, self.storage):
            worker.no_task(name, 0.2)
        f.api.delete(f"{PLANES}/{name}")
        wait("the plane is gone", lambda: f.seen(name) is None)
        f.planes.remove(name)
        # The rest is the garbage collector's, by the ownerReferences that the Go operator wrote. It looks for new kinds every 30 s,
        # and the ControlPlane's may have been made just now.
        wait("its Namespace is gone", lambda: f.api.get(f"/api/v1/namespaces/{name}-system") is None, 90)
        for worker in (self.reconciler, self.storage):
            worker.no_task(name, 0)

    def test_4_config_runs_all(self):
        f, name = self.f, self.f.name("a")
        f.api.create(f"/api/v1/namespaces/{f.tag}/configmaps",
                     {"metadata": {"name": "kubeflex-config"}, "data": {"domain": "localtest.me"}})
        self.reconciler.task(name, where=lambda c: "ConfigMap/kubeflex-config" in c)
        self.storage.no_task(name, 0.2)

    def test_5_foreign_status_is_repaired(self):
        f, name = self.f, self.f.name("a")
        plane = f.seen(name)
        for c in plane["status"]["conditions"]:
            c["status"], c["reason"] = "False", "Forged"
        f.api.merge(f"{PLANES}/{name}/status", {"status": plane["status"]})
        self.settle(name)
        wait("Ready again", lambda: is_true(f, name, "Ready"))

    def test_5b_conflicts(self):
        """Somebody else writes the object all the time: nothing of theirs is lost, and the last word lands."""
        f, name = self.f, self.f.name("a")
        for i in range(30):
            f.script("reconcile.k8s", name, "outcome OK 10", f"cond Synced True ReconcileSuccess round {i}",
                     "cond Ready True Available")
            for j in range(4):
                f.api.merge(f"{PLANES}/{name}", {"metadata": {"annotations": {"count": f"{i}.{j}"},
                                                             "labels": {f"l{i}": "x"}}})
            if i == 0:  # a spec change starts the series
                f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"a": "c"}}})
        f.script("reconcile.k8s", name, "outcome OK", "cond Synced True ReconcileSuccess the end",
                 "cond Ready True Available")
        wait("the last word", lambda: conditions(f.seen(name))["Synced"]["message"] == "the end")
        plane = f.seen(name)
        assert plane["metadata"]["annotations"]["count"] == "29.3"
        assert all(f"l{i}" in plane["metadata"]["labels"] for i in range(30))
        print(f"   conflicts met: {f.metric('first', 'kubeflex_watcher_conflicts_total'):.0f}")

    def test_5c_child_to_status(self):
        """From a child's change to the changed condition, through watch, bus, worker and status write."""
        f, name = self.f, self.f.name("a")
        path = f"/api/v1/namespaces/{name}-system/secrets"
        uid = f.seen(name)["metadata"]["uid"]
        f.api.create(path, {"metadata": {"name": "s", "labels": {LABEL: name}, "ownerReferences": [
            {"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane", "name": name, "uid": uid,
             "controller": True}]}})
        took = []
        for i in range(20):
            want = "False" if i % 2 == 0 else "True"
            f.script("reconcile.k8s", name, "outcome OK", "cond Synced True ReconcileSuccess",
                     f"cond Ready {want} {'Available' if want == 'True' else 'Unavailable'}")
            f.api.merge(f"{path}/s", {"data": {"k": "AAAA"[i % 2:] + "=" * (i % 2)}})
            at = time.monotonic()
            while conditions(f.seen(name))["Ready"]["status"] != want:
                assert time.monotonic() - at < 5, "no change of Ready"
            took.append((time.monotonic() - at) * 1000)
        print(f"   child to status: median {sorted(took)[10]:.0f} ms, worst {max(took):.0f} ms (polling included)")

    def serve(self, schema):
        crd = self.f.api.get(CRD)
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
        self.f.api.call("PUT", CRD, crd)

    def test_6_not_supported(self):
        """The definition of a later release has a type that this watcher does not know."""
        f = self.f
        ours = f.api.get(CRD)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        later = json.loads(json.dumps(ours))
        later["properties"]["spec"]["properties"]["type"]["enum"].append("martian")
        self.serve(later)
        try:
            wait("it is in force, some time after it is stored", lambda: f.takes("v", "martian"))
            name, _ = f.plane("v", "martian")
            synced = wait("Synced=False", lambda: conditions(f.seen(name)).get("Synced"))
            assert synced["status"] == "False" and synced["reason"] == "NotSupported" and "k8s" in synced["message"], synced
            assert not f.seen(name)["metadata"].get("finalizers")
            f.api.delete(f"{PLANES}/{name}")
            wait("gone", lambda: f.seen(name) is None)
        finally:
            self.serve(ours)
        wait("our own is in force again", lambda: not f.takes("v", "martian"))

    def test_7_failover(self):
        f, name = self.f, self.f.name("a")
        second = f.watcher("second")
        wait("second stands by, ready", lambda: "caches filled" in open(second.log).read())
        assert f.leader() == "first"
        rv = f.seen(name)["metadata"]["resourceVersion"]
        self.reconciler.forget()
        started = time.monotonic()
        assert self.first.stop() == 0
        wait("second leads", lambda: f.leader() == "second", 5)
        print(f"   takeover after a clean stop: {time.monotonic() - started:.2f} s")
        self.reconciler.task(name)  # the snapshot
        other, _ = f.plane("b")
        self.reconciler.task(other)
        self.settle(other)
        assert f.seen(name)["metadata"]["resourceVersion"] == rv, "a restart wrote an unchanged status"
        third = f.watcher("third")
        wait("third stands by", lambda: "caches filled" in open(third.log).read())
        self.reconciler.forget()
        started = time.monotonic()
        second.stop(9)
        wait("third leads", lambda: f.leader() == "third", 12)
        print(f"   takeover after kill -9: {time.monotonic() - started:.2f} s")
        self.reconciler.task(other)
        annotation = f.api.get(f"/api/v1/namespaces/{f.tag}/configmaps/kubeflex-leader")["metadata"]["annotations"]
        assert int(annotation["kflex.kubestellar.org/epoch"]) >= 3, annotation
        assert f.seen(name)["metadata"]["resourceVersion"] == rv
        self.leading = "third"

    def test_8_bus_restart(self):
        f, name = self.f, self.f.name("a")
        rv = f.seen(name)["metadata"]["resourceVersion"]
        self.reconciler.forget()
        self.storage.forget()
        self.bus.stop(9)
        self.bus = f.bus()
        self.reconciler.task(name, 20)
        self.storage.task(name, 20)
        c, _ = f.plane("c")
        self.reconciler.task(c)
        self.settle(c)
        assert f.seen(name)["metadata"]["resourceVersion"] == rv

    def test_9_rest_is_silent(self):
        f = self.f
        counters = ("kubeflex_watcher_events_total", "kubeflex_watcher_writes_total", "kubeflex_watcher_results_total")

        def sample():
            return [f.metric(self.leading, c) for c in counters]
        last = [None]

        def calm():
            now = sample()
            same, last[0] = now == last[0], now
            time.sleep(0.2)
            return same
        wait("calm", calm)
        time.sleep(2)
        assert sample() == last[0], f"{last[0]} became {sample()}"

    def test_9b_outdated_definition(self):
        """The Go operator's definition is served: metric, Event and condition say so, nothing is written over and over, and
        all goes on when ours is there again."""
        f = self.f
        name = f.name("f")
        crd = f.api.get(CRD)
        ours = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        older = json.loads(json.dumps(ours))
        for schema in (older, older["properties"]["spec"]["properties"]["type"]):
            del schema["x-kubernetes-validations"]
        for part in ("spec", "status"):
            del older["properties"][part]["properties"]["kubernetesVersion"]
        assert f.metric(self.leading, "kubeflex_watcher_crd_current") == 1
        self.serve(older)
        try:
            wait("it is in force, some time after it is stored", lambda: f.takes("kube"))
            wait("the metric", lambda: f.metric(self.leading, "kubeflex_watcher_crd_current") == 0)
            f.script("reconcile.k8s", name, "outcome WAITING", "version v1.36.3", "awaits")
            f.plane("f")
            self.reconciler.task(name)
            synced = wait("SchemaOutdated", lambda: (c := conditions(f.seen(name)).get("Synced", {})).get("reason") ==
                          "SchemaOutdated" and c)
            assert "status.kubernetesVersion" in synced["message"] and "deploy/crds" in synced["message"], synced
            wait("the Event", lambda: [
                e for e in f.api.get("/apis/events.k8s.io/v1/namespaces/default/events")["items"]
                if e["reason"] == "SchemaOutdated" and e["regarding"]["name"] == crd["metadata"]["name"]])
            wait("StorageReady", lambda: is_true(f, name, "StorageReady"))
            rv = f.seen(name)["metadata"]["resourceVersion"]
            writes = f.metric(self.leading, "kubeflex_watcher_writes_total")
            f.api.merge(f"{PLANES}/{name}", {"metadata": {"labels": {"poke": "1"}}})  # makes it think again
            wait("the label is seen", lambda: f.seen(name)["metadata"]["resourceVersion"] != rv)
            self.reconciler.no_task(name, 0.5)
            assert f.metric(self.leading, "kubeflex_watcher_writes_total") <= writes + 1, "a status is written over and over"
        finally:
            self.serve(ours)
        assert self.reconciler.task(name, version="v1.36.3")
        assert f.metric(self.leading, "kubeflex_watcher_crd_current") == 1
        assert f.metric(self.leading, "kubeflex_watcher_writes_total") <= writes + 10, "it took too many writes to heal"
        f.script("reconcile.k8s", name)

    def test_a_delete(self):
        f, name = self.f, self.f.name("a")
        f.script("storage", name, "outcome WAITING 100", "cond StorageReady False Deleting ending backends")
        f.api.delete(f"{PLANES}/{name}")
        assert self.reconciler.task(name, deleting="1")["deleting"] == "1"
        f.script("reconcile.k8s", name)
        f.api.merge(f"{PLANES}/{name}", {"metadata": {"annotations": {"poke": "1"}}})
        wait("StorageReady says Deleting",
             lambda: conditions(f.seen(name)).get("StorageReady", {}).get("reason") == "Deleting")
        assert FINALIZER in f.seen(name)["metadata"]["finalizers"]
        f.script("storage", name)
        f.script("reconcile.k8s", name, "outcome GONE")
        f.api.delete(f"/api/v1/namespaces/{name}-system")  # news for the reconciler, which answers GONE
        wait("only the foreign finalizer is left",
             lambda: f.seen(name)["metadata"].get("finalizers") == ["example.org/other"])
        f.api.merge(f"{PLANES}/{name}", {"metadata": {"finalizers": None}})
        wait("gone", lambda: f.seen(name) is None)
        other = f.name("b")
        started = time.monotonic()
        f.api.delete(f"{PLANES}/{other}")
        wait("gone", lambda: f.seen(other) is None)
        print(f"   delete of a plane: {(time.monotonic() - started) * 1000:.0f} ms")

    def test_b_same_name_again(self):
        f = self.f
        f.planes.remove(f.name("b"))
        name, made = f.plane("b")
        task = self.reconciler.task(name, uid=made["metadata"]["uid"])
        assert task["deleting"] == "0"
        self.settle(name)


def main():
    kubeconfig = os.environ.get("KFX_TEST_KUBECONFIG")
    if not kubeconfig:
        print("skipped: KFX_TEST_KUBECONFIG names no cluster")
        return 77
    fleet = Fleet(dict(zip(("watcher", "bus", "worker"), sys.argv[1:4])), kubeconfig)
    failed = True
    try:
        tests = Tests(fleet)
        for name in sorted(n for n in dir(tests) if n.startswith("test_")):
            print(name, flush=True)
            getattr(tests, name)()
        failed = False
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stdout)
    finally:
        fleet.close(failed)
    return 1 if failed else 0


sys.exit(main())
