#!/usr/bin/env python3
"""Backends dedicated and external with real API servers and real etcds, without a node: what the agent and the reconciler make of
them with the rights that deploy/manifests gives them; the plane's own API server, started as its Deployment says, keeps its
objects over kills; deletion leaves what it should, and comes to its end in bad moments. There is no Postgres: nothing here may need one.

  test_storage.py KFLEX WATCHER BUS RECONCILER AGENT [TEST…]

Skipped (77) where the Kubernetes programs have not been built (deploy/local/up does).
"""
import base64
import json
import os
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import control
from world import REPO, World, wait

EXTERNAL = "kflex.kubestellar.org/storage-external"


class Storage(World):
    """One hosting cluster, and our programs."""

    def __init__(self, kubernetes, programs):
        self.programs, self.kubernetes = programs, kubernetes
        self.folder = tempfile.mkdtemp(prefix="kfx-storage-")
        self.host = control.Cluster(kubernetes, self.folder, "hosting")
        self.ours, self.others = {}, []

    def start(self):
        self.host.start()
        self.host.kubectl("apply", "--server-side", "-f", f"{REPO}/tests/e2e/route-crd.yaml")
        self.install()
        for name in ("bus", "watcher", "k8s"):
            self.start_ours(name)
        account = self.host.account(f"{self.folder}/agent.kubeconfig", "kubeflex-storage-agent")
        with open(f"{self.folder}/agent.log", "ab") as log:
            self.ours["agent"] = subprocess.Popen(
                [self.programs["agent"], "--kubeconfig", account, "--bus", f"ipc://{self.folder}/bus",
                 "--health", f"127.0.0.1:{control.free_port()}",
                 "--postgres-host", "127.0.0.1", "--postgres-port", "1"], stdout=log, stderr=log)

    def spawn(self, name, argv):
        with open(f"{self.folder}/{name}.log", "ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        self.others.append(process)
        return process

    def close(self, failed):
        for process in self.others:
            process.kill()
            process.wait(10)
        for name in list(self.ours):
            self.stop_ours(name)
        self.host.stop()
        if failed:
            print(f"logs: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder)


class Etcd:
    """An etcd with mTLS; files: ca.crt, server.crt, server.key, client.crt, client.key."""

    def __init__(self, world, name, files):
        self.world, self.name, self.files = world, name, files
        self.port, self.peer = control.free_port(), control.free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        file = self.files
        peer = f"http://127.0.0.1:{self.peer}"
        self.process = self.world.spawn(self.name, [
            self.world.kubernetes["etcd"], "--data-dir", f"{self.world.folder}/{self.name}.data", "--unsafe-no-fsync",
            f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}", "--client-cert-auth=true",
            f"--trusted-ca-file={file}/ca.crt", f"--cert-file={file}/server.crt", f"--key-file={file}/server.key"])
        wait(30, "etcd answers", lambda: self.count("/") is not None)

    def count(self, prefix):
        """How many keys begin so; None where it does not answer."""
        context = ssl.create_default_context(cafile=f"{self.files}/ca.crt")
        context.load_cert_chain(f"{self.files}/client.crt", f"{self.files}/client.key")
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        body = {"key": base64.b64encode(prefix.encode()).decode(), "range_end": base64.b64encode(end.encode()).decode(),
                "count_only": True}
        try:
            with urllib.request.urlopen(f"{self.url}/v3/kv/range", json.dumps(body).encode(), timeout=5, context=context) as answer:
                return int(json.load(answer).get("count", 0))
        except OSError:
            return None

    def kill(self):
        self.process.kill()
        self.process.wait(10)


class Case(unittest.TestCase):
    world = None

    def setUp(self):
        self.host = self.world.host

    def plane(self, name, **storage):
        backend = storage.pop("backend")
        body = {"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane", "metadata": {"name": name},
                "spec": {"type": "k8s", "backend": backend, "storage": storage}}
        self.host.kubectl("create", "-f", "-", input=json.dumps(body))

    def storage(self, name):
        found = self.host.get("controlplane", name) or {}
        return next((c for c in found.get("status", {}).get("conditions", []) if c["type"] == "StorageReady"), {})

    def await_storage(self, name, reason):
        try:
            wait(40, f"{name}: {reason}", lambda: self.storage(name).get("reason") == reason)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.storage(name)}") from None

    def files(self, namespace, secret):
        """A Secret's values as files; the folder."""
        folder = tempfile.mkdtemp(dir=self.world.folder)
        for key, value in self.host.get("secret", "-n", namespace, secret)["data"].items():
            with open(f"{folder}/{key}", "wb") as f:
                f.write(base64.b64decode(value))
        return folder

    def delete(self, name):
        self.host.kubectl("delete", "controlplane", name, "--timeout=60s")
        wait(60, f"the namespace of {name} goes", lambda: not self.host.get("namespace", f"{name}-system"))

    # ---- the plane's API server ----

    def server_argv(self, plane, url):
        """As its Deployment says, at this machine's paths and ports."""
        deployment = self.host.get("deployment", "-n", f"{plane}-system", "kube-apiserver")
        pod = deployment["spec"]["template"]["spec"]
        self.assertNotIn("initContainers", pod)
        container = pod["containers"][0]
        source = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e}
        self.assertEqual(source["ETCD_SERVERS"], {"name": "etcd-client", "key": "endpoints"})
        pki, etcd = self.files(f"{plane}-system", "k8s-certs"), self.files(f"{plane}-system", "etcd-client")
        argv = [a.replace("/etc/kubernetes/pki", pki).replace("/etc/kubernetes/etcd", etcd).replace("$(ETCD_SERVERS)", url)
                for a in container["command"][1:] if not a.startswith(("--secure-port", "--cert-dir"))]
        return [self.world.kubernetes["kube-apiserver"], *argv, "--bind-address=127.0.0.1"]

    def serve(self, plane, argv):
        """Starts it; a function that is kubectl on it."""
        port = control.free_port()
        process = self.world.spawn(f"{plane}-api", [*argv, f"--secure-port={port}"])
        path = f"{self.world.folder}/{plane}.kubeconfig"
        with open(f"{self.files(plane + '-system', 'admin-kubeconfig')}/kubeconfig-incluster", encoding="utf-8") as f:
            text = f.read()
        server = next(line for line in text.splitlines() if "server:" in line)
        host = server.split("https://")[1].strip('"').split(":")[0]
        text = text.replace(server, server.split("server:")[0] + f"server: https://127.0.0.1:{port}\n" +
                            " " * (len(server) - len(server.lstrip())) + f"tls-server-name: {host}")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

        def kubectl(*words):
            return subprocess.run([self.world.kubernetes["kubectl"], "--kubeconfig", path, *words], text=True, capture_output=True,
                                  timeout=60, check=False)
        wait(90, f"the API server of {plane} answers", lambda: kubectl("get", "--raw", "/readyz").returncode == 0)
        return process, kubectl

    def await_deployment(self, plane):
        wait(40, f"the workload of {plane}", lambda: self.host.get("deployment", "-n", f"{plane}-system", "kube-apiserver"))


class Backends(Case):
    def test_dedicated(self):
        self.plane("d1", backend="dedicated", size="1Gi")
        self.await_storage("d1", "EtcdNotReady")
        wait(20, "the StatefulSet", lambda: self.host.get("statefulset", "-n", "d1-system", "etcd"))
        self.assertIsNone(self.host.get("secret", "-n", "d1-system", "etcd-client"))
        self.assertIsNone(self.host.get("deployment", "-n", "d1-system", "kube-apiserver"))
        etcd = Etcd(self.world, "d1-etcd", self.files("d1-system", "etcd-certs"))
        etcd.start()
        status = {"status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1,
                             "observedGeneration": 1}}
        self.host.kubectl("patch", "statefulset", "-n", "d1-system", "etcd", "--subresource=status", "--type=merge", "-p",
                          json.dumps(status))
        self.await_storage("d1", "EtcdReady")
        self.await_deployment("d1")
        argv = self.server_argv("d1", etcd.url)
        server, kubectl = self.serve("d1", argv)
        self.assertEqual(kubectl("create", "configmap", "-n", "default", "kept", "--from-literal=a=b").returncode, 0)
        server.kill()
        etcd.kill()
        etcd.start()
        server, kubectl = self.serve("d1", argv)
        self.assertIn("kept", kubectl("get", "configmap", "-n", "default").stdout)
        server.kill()
        etcd.kill()
        # Changed by somebody: put back.
        self.host.kubectl("patch", "service", "-n", "d1-system", "etcd", "--type=merge", "-p",
                          '{"spec": {"publishNotReadyAddresses": false}}')
        wait(20, "the Service is put back", lambda: self.host.get("service", "-n", "d1-system", "etcd")["spec"].get(
            "publishNotReadyAddresses"))
        refused = subprocess.run([self.world.kubernetes["kubectl"], "--kubeconfig", self.host.admin, "patch", "controlplane", "d1",
                                  "--type=merge", "-p", '{"spec": {"backend": "shared"}}'], text=True, capture_output=True,
                                 timeout=30, check=False)
        self.assertIn("backend cannot change", refused.stderr)
        self.delete("d1")

    def test_external_etcd(self):
        pki = self.host.pki
        pki.issue("server", "/CN=etcd", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        pki.issue("client", "/CN=client", "extendedKeyUsage=clientAuth\n")
        etcd = Etcd(self.world, "e1-etcd", pki.folder)
        etcd.start()
        self.plane("e1", backend="external", secretRef={"namespace": "kubeflex-storage", "name": "e1-etcd"})
        self.await_storage("e1", "WaitingForSecret")
        self.host.kubectl("create", "secret", "generic", "-n", "kubeflex-storage", "e1-etcd", f"--from-literal=endpoints={etcd.url}",
                          *(f"--from-file={pki.folder}/{name}" for name in ("ca.crt", "client.crt", "client.key")))
        self.host.kubectl("label", "secret", "-n", "kubeflex-storage", "e1-etcd", f"{EXTERNAL}=e1")
        self.await_storage("e1", "ExternalReady")
        self.await_deployment("e1")
        server, kubectl = self.serve("e1", self.server_argv("e1", "$(ETCD_SERVERS)".replace("$(ETCD_SERVERS)", etcd.url)))
        self.assertEqual(kubectl("create", "configmap", "-n", "default", "kept", "--from-literal=a=b").returncode, 0)
        server.kill()
        first = self.host.get("controlplane", "e1")["metadata"]["uid"]
        self.delete("e1")
        self.assertGreater(etcd.count("/registry/"), 0)
        # Created again it is another plane, and is told whose data it would be.
        self.plane("e1", backend="external", secretRef={"namespace": "kubeflex-storage", "name": "e1-etcd"})
        self.await_storage("e1", "ExternalRefused")
        self.assertIn(first, self.storage("e1")["message"])
        self.host.kubectl("patch", "secret", "-n", "kubeflex-storage", "e1-etcd", "--type=merge", "-p",
                          json.dumps({"stringData": {"adopt": first}}))
        self.await_storage("e1", "ExternalReady")
        self.await_deployment("e1")
        server, kubectl = self.serve("e1", self.server_argv("e1", etcd.url))
        self.assertIn("kept", kubectl("get", "configmap", "-n", "default").stdout)
        server.kill()
        self.delete("e1")
        etcd.kill()

    def test_refused(self):
        self.plane("r1", backend="external", secretRef={"namespace": "default", "name": "elsewhere"})
        self.host.kubectl("create", "secret", "generic", "-n", "default", "elsewhere", "--from-literal=endpoint=x")
        self.await_storage("r1", "WaitingForSecret")
        self.assertIn("may not be read", self.storage("r1")["message"])
        self.delete("r1")


class Deletion(Case):
    """Planes that go in bad moments, or without what they were made with. The namespace controller is a real one; there is no
    ingress class at all, and what planes without Postgres have is all that is made."""

    def waits_for_secret(self, name):
        self.plane(name, backend="external", secretRef={"namespace": "kubeflex-storage", "name": "none"})

    def definitions(self):
        return self.host.kubectl("kustomize", f"{REPO}/deploy/crds")

    def served(self, *kinds):
        wait(30, f"{kinds} are served", lambda: all(any(
            c["type"] == "Established" and c["status"] == "True"
            for c in (self.host.get("crd", kind) or {}).get("status", {}).get("conditions") or []) for kind in kinds))

    def exists(self, kind, name):
        wait(20, f"{kind} {name}", lambda: self.host.get(kind, name))

    def kubectl_delete(self, name):
        self.host.kubectl("delete", "controlplane", name, "--wait=false")

    def gone(self, *names):
        for name in names:
            wait(30, f"{name} goes", lambda name=name: not self.host.get("controlplane", name))
            wait(30, f"its namespace goes, {name}", lambda name=name: not self.host.get("namespace", f"{name}-system"))
            left = self.host.kubectl("get", "clusterroles,clusterrolebindings,persistentvolumes", "-o", "name", "-l",
                                     f"kflex.kubestellar.org/controlplane={name}")
            self.assertEqual(left, "")

    def synced(self, name):
        found = self.host.get("controlplane", name) or {}
        return next((c for c in found.get("status", {}).get("conditions", []) if c["type"] == "Synced"), {})

    def test_any_moment(self):
        seed = time.time_ns()
        print(f"seed {seed}")
        moments = random.Random(seed)
        names = [f"m{i}" for i in range(8)]
        for name in names:
            self.waits_for_secret(name)
            time.sleep(moments.choice((0, 0, 1)) * moments.random())
            self.kubectl_delete(name)
        self.gone(*names)

    def test_namespace_is_held(self):
        """Somebody's finalizer keeps the Namespace, which was going before the plane. The plane goes; made again, it says what
        it waits for, and is there once that is removed."""
        self.waits_for_secret("held")
        self.exists("namespace", "held-system")
        thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "thing", "namespace": "held-system",
                                                                       "finalizers": ["example.com/hold"]}}
        self.host.kubectl("create", "-f", "-", input=json.dumps(thing))
        try:
            self.host.kubectl("delete", "namespace", "held-system", "--wait=false")
            wait(20, "it says what holds its Namespace", lambda: "example.com/hold" in self.synced("held").get("message", ""))
            self.assertEqual(self.synced("held")["reason"], "NamespaceTerminating")
            self.kubectl_delete("held")
            wait(20, "the plane goes", lambda: not self.host.get("controlplane", "held"))
            self.waits_for_secret("held")
            wait(20, "the new one says what it waits for",
                 lambda: "example.com/hold" in self.synced("held").get("message", ""))
        finally:
            self.host.kubectl("patch", "configmap", "-n", "held-system", "thing", "--type=merge", "-p",
                              '{"metadata": {"finalizers": null}}')
        self.await_storage("held", "WaitingForSecret")
        self.kubectl_delete("held")
        self.gone("held")

    def test_definitions_gone(self):
        """Hooks and Routes went with their definitions, and the configuration names an ingress class that there never was."""
        self.waits_for_secret("bare")
        self.exists("namespace", "bare-system")
        self.host.kubectl("patch", "controlplane", "bare", "--type=merge", "-p",
                          '{"spec": {"postCreateHooks": [{"hookName": "none"}]}}')
        self.host.kubectl("patch", "configmap", "-n", "kubeflex-system", "kubeflex-config", "-p",
                          '{"data": {"isOpenShift": "true", "ingressClass": "nowhere"}}')
        hooks = "postcreatehooks.tenancy.kflex.kubestellar.org"
        try:
            wait(20, "the Route", lambda: self.host.get("routes", "-n", "bare-system", "bare"))
            self.host.kubectl("delete", "crd", hooks, "routes.route.openshift.io", "--timeout=60s")
            self.kubectl_delete("bare")
            self.gone("bare")
        finally:
            self.host.kubectl("patch", "configmap", "-n", "kubeflex-system", "kubeflex-config", "-p",
                              '{"data": {"isOpenShift": "false", "ingressClass": null}}')
            self.host.kubectl("apply", "--server-side", "-f", "-", input=self.definitions())
            self.served(hooks)

    def test_what_cannot_be_removed(self):
        """Postgres is away for good: the condition names it and the way out, and the annotation is that. The last test, since the
        agent takes no other work from then on."""
        self.plane("stuck", backend="shared")
        self.exists("namespace", "stuck-system")
        self.kubectl_delete("stuck")
        wait(60, "its condition says how to go on", lambda: "force-delete=true" in self.storage("stuck").get("message", ""))
        self.assertEqual(self.storage("stuck")["reason"], "PostgresUnavailable")
        self.assertIn("cannot use Postgres", self.storage("stuck")["message"])
        self.assertTrue(self.host.get("controlplane", "stuck"))
        self.host.kubectl("annotate", "controlplane", "stuck", "kflex.kubestellar.org/force-delete=true")
        self.gone("stuck")
        wait(20, "an Event says so", lambda: any(
            event["reason"] == "DeletionForced" for event in self.host.get("events", "-n", "default")["items"]
            if event["involvedObject"]["name"] == "stuck"))


def main():
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    kubernetes = control.find_programs()
    if not kubernetes:
        print("skipped: needs the programs that deploy/local/up builds")
        sys.exit(77)
    programs = {name: os.path.abspath(sys.argv.pop(1)) for name in ("kflex", "watcher", "bus", "reconciler", "agent")}
    world = Storage(kubernetes, programs)
    failed = True
    try:
        world.start()
        Case.world = world
        failed = not unittest.main(verbosity=2, exit=False).result.wasSuccessful()
    finally:
        world.close(failed)
    sys.exit(failed)


main()
