"""A Fleet (cluster.py) on a fake API server that this process serves: no cluster is needed, and it can misbehave."""
import asyncio
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kube"))

import h2server  # pylint: disable=wrong-import-position
from cluster import PLANES, Fleet  # pylint: disable=wrong-import-position
from run_cases import make_certificates, tls  # pylint: disable=wrong-import-position
from store import Path, Store  # pylint: disable=wrong-import-position

logging.getLogger("asyncio").setLevel(logging.ERROR)  # connections that were cut on purpose
LABEL = "kflex.kubestellar.org/controlplane"
HASH = "kflex.kubestellar.org/applied-hash"
COLLECTIONS = {"Namespace": "/api/v1/namespaces", "Service": "/api/v1/namespaces/{ns}/services",
               "Secret": "/api/v1/namespaces/{ns}/secrets", "ConfigMap": "/api/v1/namespaces/{ns}/configmaps",
               "Ingress": "/apis/networking.k8s.io/v1/namespaces/{ns}/ingresses",
               "Deployment": "/apis/apps/v1/namespaces/{ns}/deployments",
               "Route": "/apis/route.openshift.io/v1/namespaces/{ns}/routes"}

KUBECONFIG = """apiVersion: v1
kind: Config
current-context: fake
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
clusters: [{{name: fake, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {ca}}}}}]
users: [{{name: fake, user: {{token: {token}}}}}]
"""


def child(plane, uid, kind, name, ready=True):
    """An object of a plane as our reconcilers leave it; the field manager's entry says that it is unharmed."""
    meta = {"name": name, "labels": {LABEL: plane}, "annotations": {HASH: "0123456789abcdef"},
            "ownerReferences": [{"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane",
                                 "name": plane, "uid": uid, "controller": True, "blockOwnerDeletion": True}],
            "managedFields": [{"manager": f"kubeflex-{uid}", "operation": "Apply", "apiVersion": "v1",
                               "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
                               "fieldsV1": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:" + LABEL: {}}}}}],
            "generation": 1}
    obj = {"kind": kind, "metadata": meta}
    if kind == "Deployment":
        obj["spec"] = {"replicas": 1}
        obj["status"] = {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": int(ready)}
    return obj


def child_path(plane, kind, name):
    return COLLECTIONS[kind].format(ns=f"{plane}-system") + "/" + name


FLEET = [("Namespace", None), ("Service", "kube-apiserver"), ("Secret", "k8s-certs"), ("Secret", "admin-kubeconfig"),
           ("Secret", "cm-kubeconfig"), ("Secret", "kine-dsn"), ("Ingress", "kube-apiserver"), ("ConfigMap", "audit-policy"),
           ("Deployment", "kube-apiserver"), ("Deployment", "kube-controller-manager")]


def condition(kind, reason):
    return {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "lastUpdateTime": "2026-01-01T00:00:00Z"}


def fill(store, count):
    """Planes plane-00000, … with these objects, as they are at rest."""
    for i in range(count):
        name = f"plane-{i:05}"
        plane = store.put(f"{PLANES}/{name}", {
            "apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane",
            "metadata": {"labels": {"wt": "wtfake"}, "generation": 1, "finalizers": ["kflex.kubestellar.org/finalizer"]},
            "spec": {"type": "k8s"},
            "status": {"observedGeneration": 1, "conditions": [condition("Synced", "ReconcileSuccess"),
                                                               condition("Ready", "Available"),
                                                               condition("StorageReady", "DatabaseReady")]}})
        for kind, short in FLEET:
            short = short or f"{name}-system"
            obj = child(name, plane["metadata"]["uid"], kind, short)
            if kind == "Deployment":  # the part of a pod template that a full object has and metadata has not
                obj["spec"]["template"] = {"spec": {"containers": [{"name": "c", "image": "i", "args": ["--flag=value"] * 60}]}}
            store.put(child_path(name, kind, short), obj)


class FakeApi(Store):
    """Store whose streams and lists are wrong while `mischief` (a probability) is not 0."""

    def __init__(self):
        super().__init__()
        self.mischief, self.random = 0, random.Random(1)
        self.old_lists, self.done = {}, {}
        self.seen_messages = set()  # of conditions that were written, whatever became of them

    def count(self, what):
        self.done[what] = self.done.get(what, 0) + 1

    async def line(self, exchange, what, obj):
        """Twice, late (behind the next one), or not at all: then the stream ends, one way or another."""
        late = getattr(exchange, "late", None)
        exchange.late = None
        chance = self.random.random()
        if chance >= self.mischief:
            await super().line(exchange, what, obj)
        elif chance < self.mischief * 0.3:
            self.count("twice")
            await super().line(exchange, what, obj)
            await super().line(exchange, what, obj)
        elif chance < self.mischief * 0.6 and not late:
            self.count("late")
            exchange.late = (what, obj)
            return
        else:
            await self.break_off(exchange)
        if late:
            await super().line(exchange, *late)

    def event(self, kind, what, obj, before):
        super().event(kind, what, obj, before)
        for condition in obj.get("status", {}).get("conditions", []) if kind[-1] == "controlplanes" else []:
            self.seen_messages.add(condition["message"])

    async def break_off(self, exchange):
        way = self.random.choice(["end", "half", "reset", "goaway", "abort", "gone"])
        self.count(way)
        if way == "half":
            await exchange.send(b'{"type":"MODIFIED","object":{"metadata":{"name":"ha')
        elif way == "gone":
            await Store.line(self, exchange, "ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
        elif way == "reset":
            exchange.reset(8)
            raise h2server.Gone
        elif way == "goaway":
            exchange.connection.goaway()
        elif way == "abort":
            exchange.connection.abort()
            raise h2server.Gone
        exchange.end()
        raise h2server.Gone

    def list(self, path, query, partial):
        """Now and then what the list was some lists ago: an API server that lags."""
        answer = super().list(path, query, partial)
        if not query.get("continue") and "continue" not in answer["metadata"]:
            old = self.old_lists.setdefault((path.kind, path.ns, partial, str(query)), [])
            old.append(answer)
            if self.random.random() < self.mischief * 2:
                self.count("list from the past")
                return old[self.random.randrange(max(0, len(old) - 4), len(old))]
        return answer

    async def answer(self, exchange):
        if exchange.path == "/livez":
            await exchange.answer(200, b"ok")
        elif exchange.method != "GET" and self.random.random() < self.mischief:
            await self.disturb_write(exchange)
        else:
            await super().answer(exchange)

    async def disturb_write(self, exchange):
        """Refused, or taken and the answer lost."""
        way = self.random.choice(["429", "503", "unanswered"])
        self.count(way)
        if way == "unanswered":
            try:
                self.write(exchange, Path(exchange.plain_path))
            except Exception:  # pylint: disable=broad-except
                pass
            exchange.reset(2)
            raise h2server.Gone
        await exchange.answer(int(way), b"{}")


class Calls:
    """The store as cluster.Api shows an API server, from the test's thread."""

    def __init__(self, loop, store):
        self.loop, self.store = loop, store

    def run(self, function, *args):
        async def call():
            return function(*args)
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(30)

    def get(self, path):
        return self.run(self.store.get, path)

    def create(self, path, body):
        return self.run(self.store.put, f"{path}/{body['metadata']['name']}", body)

    def put(self, path, body):
        return self.run(self.store.put, path, body)

    def merge(self, path, body):
        return self.run(self.store.patch, path, body)

    def delete(self, path):
        def call():
            if self.store.get(path):
                self.store.write_delete(Path(path), None, None)
        return self.run(call)


class FakeFleet(Fleet):
    def __init__(self, programs, store=None):  # pylint: disable=super-init-not-called
        self.programs = programs
        self.folder = tempfile.mkdtemp(prefix="kfx-watcher-")
        self.tag = "wtfake"
        self.endpoint = f"ipc://{self.folder}/bus"
        self.processes, self.planes, self.ports = [], [], {}
        self.store = store or FakeApi()
        self.requests = []  # (token, method, path)
        self.hold = None    # (exchange) -> coroutine that waits, or None
        make_certificates(self.folder)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.server = h2server.Server(tls(self.folder, "good"), self.handle)
        asyncio.run_coroutine_threadsafe(self.server.listen(), self.loop).result(30)
        self.api = Calls(self.loop, self.store)

    async def handle(self, exchange):
        token = exchange.headers.get("authorization", "").replace("Bearer ", "")
        self.requests.append((token, exchange.method, exchange.path))
        wait = self.hold(token, exchange) if self.hold else None
        if wait:
            await wait
        await self.store.answer(exchange)

    def kubeconfig_of(self, token):
        path = os.path.join(self.folder, token + ".kubeconfig")
        with open(path, "w") as file:
            file.write(KUBECONFIG.format(port=self.server.port, ca=f"{self.folder}/authority.pem", token=token))
        return path

    def watcher(self, name):
        self.kubeconfig = self.kubeconfig_of(name)
        return super().watcher(name)

    def close(self, failed):
        for process in reversed(self.processes):
            if process.process.poll() is None:
                process.process.kill()
                process.process.wait()
        if failed:
            for process in self.processes:
                print(f"==== {process.name}")
                with open(process.log, errors="replace") as file:
                    print(file.read()[-4000:])
        subprocess.run(["rm", "-r", self.folder], check=False)
