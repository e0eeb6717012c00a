#!/usr/bin/env python3
"""What is not a plane's is left alone, and what it waits for is an event: kubeflex-watcher, kubeflex-bus and
kubeflex-reconciler, with a scripted storage worker, against the API server of KFX_TEST_KUBECONFIG (else skipped).

usage: test_ownership.py WATCHER BUS WORKER RECONCILER
"""
import os
import sys
import traceback

from cluster import PLANES, Api, Fleet, system_make, system_remove, wait

LABEL = "kflex.kubestellar.org/controlplane"
HASH = "kflex.kubestellar.org/applied-hash"


def condition(plane, kind):
    return {c["type"]: c for c in (plane or {}).get("status", {}).get("conditions", [])}.get(kind, {})


class Tests:
    def __init__(self, fleet):
        self.f = fleet
        fleet.bus()
        fleet.worker("storage", "storage", "storage")
        self.reconciler = fleet.spawn("reconciler", fleet.programs["reconciler"], "--type", "k8s", "--bus", fleet.endpoint,
                                      "--no-curve", "--kubeconfig", fleet.kubeconfig, "--instance", "reconciler", "--health", "")
        fleet.watcher("watcher")
        wait("the watcher leads", lambda: fleet.leader() == "watcher")

    def await_reason(self, name, reason, seconds=10):
        return wait(f"{name}: {reason}",
                    lambda: (c := condition(self.f.seen(name), "Synced")).get("reason") == reason and c, seconds)

    def path(self, name, collection, object_name):
        root = "/apis/apps/v1" if collection == "deployments" else "/api/v1"
        return f"{root}/namespaces/{name}-system/{collection}/{object_name}"

    def write_dsn(self, name, uid):
        """What the storage agent would write."""
        self.f.api.create(f"/api/v1/namespaces/{name}-system/secrets?fieldManager=kubeflex-{uid}", {
            "metadata": {"name": "kine-dsn", "labels": {LABEL: name}, "annotations": {HASH: "0123456789abcdef-00000000"},
                         "ownerReferences": [{"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane",
                                              "name": name, "uid": uid, "controller": True, "blockOwnerDeletion": True}]},
            "stringData": {"endpoint": "postgres://x", "ca.crt": "x"}})

    def test_1_create(self):
        """All objects, by events alone; the version is in the status before the workload is there."""
        f = self.f
        name, made = f.plane("a")
        self.await_reason(name, "WaitingForStorage")
        assert f.seen(name)["status"]["kubernetesVersion"].startswith("v1.")
        assert f.api.get(self.path(name, "deployments", "kube-apiserver")) is None
        self.write_dsn(name, made["metadata"]["uid"])
        self.await_reason(name, "ReconcileSuccess")
        for deployment in ("kube-apiserver", "kube-controller-manager"):
            assert f.api.get(self.path(name, "deployments", deployment))["metadata"]["annotations"][HASH]

    def test_2_name_conflict(self):
        """Think of a plane istio beside an istio-system."""
        f = self.f
        name = f.name("istio")
        f.api.create("/api/v1/namespaces", {"metadata": {"name": f"{name}-system", "labels": {"app": "istio"}}})
        f.api.create(f"/api/v1/namespaces/{name}-system/services",
                     {"metadata": {"name": name}, "spec": {"ports": [{"port": 443}]}})
        f.api.create(f"/api/v1/namespaces/{name}-system/secrets", {"metadata": {"name": "k8s-certs"}, "stringData": {"a": "b"}})
        paths = [f"/api/v1/namespaces/{name}-system", self.path(name, "services", name), self.path(name, "secrets", "k8s-certs")]
        before = [f.api.get(path) for path in paths]
        f.plane("istio")
        synced = self.await_reason(name, "NameConflict")
        assert synced["status"] == "False" and f"{name}-system" in synced["message"], synced
        f.api.delete(f"{PLANES}/{name}")
        wait("the plane is gone", lambda: f.seen(name) is None)
        assert [f.api.get(path) for path in paths] == before, "something foreign was changed"
        secrets = f.api.get(f"/api/v1/namespaces/{name}-system/secrets")["items"]
        assert [s["metadata"]["name"] for s in secrets] == ["k8s-certs"], "something was added"

    def test_3_conflict_ends(self):
        """The plane goes on when the foreign Namespace has ended, at once and without a timer."""
        f = self.f
        name = f.name("istio")
        f.planes.remove(name)
        _, made = f.plane("istio")
        self.await_reason(name, "NameConflict")
        holder = self.path(name, "secrets", "k8s-certs")
        f.api.merge(holder, {"metadata": {"finalizers": ["example.org/hold"]}})
        f.api.delete(f"/api/v1/namespaces/{name}-system")
        self.await_reason(name, "NamespaceTerminating")
        f.api.merge(holder, {"metadata": {"finalizers": None}})
        self.await_reason(name, "WaitingForStorage", 30)
        space = f.api.get(f"/api/v1/namespaces/{name}-system")["metadata"]
        assert space["ownerReferences"][0]["uid"] == made["metadata"]["uid"] and space["labels"][LABEL] == name

    def test_4_same_name_again(self):
        """The new plane waits for the old one's Namespace, touches nothing in it, and goes on when it has ended."""
        f = self.f
        name = f.name("istio")
        old = f.api.get(f"/api/v1/namespaces/{name}-system")["metadata"]["uid"]
        holder = self.path(name, "secrets", "k8s-certs")
        f.api.merge(holder, {"metadata": {"finalizers": ["example.org/hold"]}})
        f.api.delete(f"{PLANES}/{name}")
        wait("the plane is gone", lambda: f.seen(name) is None)
        f.planes.remove(name)
        _, made = f.plane("istio")
        self.await_reason(name, "NamespaceTerminating")
        assert f.api.get(f"/api/v1/namespaces/{name}-system")["metadata"]["uid"] == old
        f.api.merge(holder, {"metadata": {"finalizers": None}})
        self.await_reason(name, "WaitingForStorage", 30)
        space = f.api.get(f"/api/v1/namespaces/{name}-system")["metadata"]
        assert space["uid"] != old and space["ownerReferences"][0]["uid"] == made["metadata"]["uid"]

    def test_5_label_comes_back(self):
        """Somebody takes our marks off the Namespace: they are put back, and it is nobody else's for that."""
        f = self.f
        name = f.name("istio")
        f.api.merge(f"/api/v1/namespaces/{name}-system?fieldManager=somebody",
                    {"metadata": {"labels": {LABEL: None}, "annotations": {HASH: None}}})

        def marked():
            meta = f.api.get(f"/api/v1/namespaces/{name}-system")["metadata"]
            return LABEL in meta["labels"] and HASH in meta.get("annotations", {})
        wait("the marks are back", marked)
        assert condition(f.seen(name), "Synced")["reason"] == "WaitingForStorage"

    def test_6_foreign_object(self):
        """An object of somebody else in a plane's own Namespace is left alone, and the plane goes on without it."""
        f = self.f
        name = f.name("a")
        path = self.path(name, "services", name)
        uid = f.api.get(path)["metadata"]["uid"]
        self.reconciler.process.send_signal(19)  # SIGSTOP: it would be quicker
        f.api.delete(path)
        wait("the Service is gone", lambda: f.api.get(path) is None)
        f.api.create(path.rsplit("/", 1)[0], {"metadata": {"name": name}, "spec": {"ports": [{"port": 443}]}})
        foreign = f.api.get(path)
        self.reconciler.process.send_signal(18)
        synced = self.await_reason(name, "NameConflict", 20)
        assert f"Service {name}" in synced["message"] and f.api.get(path) == foreign
        f.api.delete(path)
        self.await_reason(name, "ReconcileSuccess", 30)
        assert f.api.get(path)["metadata"]["uid"] not in (uid, foreign["metadata"]["uid"])


def main():
    kubeconfig = os.environ.get("KFX_TEST_KUBECONFIG")
    if not kubeconfig:
        print("skipped: KFX_TEST_KUBECONFIG names no cluster")
        return 77
    if not system_make(Api(kubeconfig)):
        print("skipped: KubeFlex runs in the cluster of KFX_TEST_KUBECONFIG")
        return 77
    fleet = Fleet(dict(zip(("watcher", "bus", "worker", "reconciler"), sys.argv[1:5])), kubeconfig)
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
        system_remove(fleet.api)
    return 1 if failed else 0


sys.exit(main())
