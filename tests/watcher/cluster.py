"""A tiny client for an API server and the processes of a watcher test. Standard library only."""
import base64
import json
import os
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

SYSTEM = "kubeflex-system"
PLANES = "/apis/tenancy.kflex.kubestellar.org/v1alpha1/controlplanes"


class Api:
    def __init__(self, kubeconfig):
        text = subprocess.check_output(
            ["kubectl", "--kubeconfig", kubeconfig, "config", "view", "--raw", "--minify", "--flatten", "-o", "json"])
        config = json.loads(text)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = cluster["server"]
        self.context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            self.context.load_cert_chain(pem.name)

    def call(self, verb, path, body=None, content="application/json"):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.server + path, data, {"Content-Type": content}, method=verb)
        with urllib.request.urlopen(request, context=self.context, timeout=10) as answer:
            return json.load(answer)

    def get(self, path):
        try:
            return self.call("GET", path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def create(self, path, body):
        return self.call("POST", path, body)

    def merge(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path):
        try:
            return self.call("DELETE", path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None


def without_status(thing):
    """What a writer of the object is answerable for: not what the controllers of a real cluster add (status, a Deployment's
    revision), nor the resourceVersion, which moves with that too."""
    meta = {k: v for k, v in thing["metadata"].items() if k != "resourceVersion"}
    meta["managedFields"] = [m for m in meta.get("managedFields", [])
                             if not m.get("subresource") and m.get("manager") != "kube-controller-manager"]
    meta["annotations"] = {k: v for k, v in meta.get("annotations", {}).items() if k != "deployment.kubernetes.io/revision"}
    return {**{k: v for k, v in thing.items() if k != "status"}, "metadata": meta}


def wait(what, condition, seconds=15):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def system_make(api):
    """What workers read in kubeflex-system. False where KubeFlex itself runs there."""
    if api.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/kubeflex-controller-manager"):
        return False
    if not api.get(f"/api/v1/namespaces/{SYSTEM}"):
        api.create("/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
    if not api.get(f"/api/v1/namespaces/{SYSTEM}/configmaps/kubeflex-config"):
        api.create(f"/api/v1/namespaces/{SYSTEM}/configmaps",
                   {"metadata": {"name": "kubeflex-config"}, "data": {"domain": "localtest.me", "externalPort": "9443"}})
    return True


def system_remove(api):
    wait(f"{SYSTEM} is gone", lambda: api.delete(f"/api/v1/namespaces/{SYSTEM}") is None, 30)


class Process:
    def __init__(self, name, argv, folder):
        self.name = name
        self.log = os.path.join(folder, name + ".log")
        self.lines = queue.Queue()
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=open(self.log, "wb"), text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put((time.monotonic(), line.strip()))

    def task(self, key, seconds=10, where=None, **fields):
        """The next TASK for that plane with those fields (and where(children)); others are skipped."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                at, line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.name}: no task {key} {fields} within {seconds} s") from None
            words = dict(word.split("=", 1) for word in line.split()[1:])
            words["children"] = dict(c.rsplit(":", 1) for c in words["children"].split(",") if c)
            words["at"] = at
            if words["key"] == key and all(words.get(k) == v for k, v in fields.items()) and (
                    where is None or where(words["children"])):
                return words

    def forget(self):
        """Tasks that came so far are none of the next one's business."""
        while not self.lines.empty():
            self.lines.get_nowait()

    def no_task(self, key, seconds):
        try:
            task = self.task(key, seconds)
        except AssertionError:
            return
        raise AssertionError(f"{self.name}: unexpected {task}")

    def stop(self, number=signal.SIGTERM, seconds=8):
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.name} did not end within {seconds} s of signal {number}") from None
        return self.process.returncode


class Fleet:
    """Bus, scripted workers, watchers; everything in a temporary folder and a namespace of its own."""

    def __init__(self, programs, kubeconfig):
        self.programs, self.kubeconfig = programs, kubeconfig
        self.folder = tempfile.mkdtemp(prefix="kfx-watcher-")
        self.tag = f"wt{os.getpid()}"
        self.api = Api(kubeconfig)
        self.endpoint = f"ipc://{self.folder}/bus"
        self.processes, self.planes, self.ports = [], [], {}
        self.api.create("/api/v1/namespaces", {"metadata": {"name": self.tag}})

    def spawn(self, name, *argv):
        process = Process(name, list(argv), self.folder)
        self.processes.append(process)
        return process

    def bus(self):
        return self.spawn("bus", self.programs["bus"], "--bind", self.endpoint, "--tap", "", "--no-curve", "--health", "",
                          "--hold", "0")

    def worker(self, name, role, service):
        os.makedirs(os.path.join(self.folder, service), exist_ok=True)
        return self.spawn(name, self.programs["worker"], self.endpoint, role, service,
                          os.path.join(self.folder, service))

    def watcher(self, name):
        self.ports[name] = free_port()
        return self.spawn(name, self.programs["watcher"], "--bus", self.endpoint, "--no-curve", "--kubeconfig",
                          self.kubeconfig, "--namespace", self.tag, "--selector", f"wt={self.tag}", "--instance", name,
                          "--health", f"127.0.0.1:{self.ports[name]}")

    def script(self, service, plane, *lines):
        """What the worker answers from now on; none: its default."""
        path = os.path.join(self.folder, service, plane)
        if not lines:
            if os.path.exists(path):
                os.unlink(path)
            return
        with open(path + ".new", "w") as f:
            f.write("\n".join(lines) + "\n")
        os.rename(path + ".new", path)

    def name(self, short):
        return f"{self.tag}-{short}".replace("wt", "wt-", 1)

    def plane(self, short, kind="k8s", **meta):
        name = self.name(short)
        self.planes.append(name)
        body = {"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane",
                "metadata": {"name": name, "labels": {"wt": self.tag}, **meta}, "spec": {"type": kind}}
        return name, self.api.create(PLANES, body)

    def takes(self, name, kind="k8s"):
        """Whether the API server would take a plane of that name and type."""
        body = {"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane", "metadata": {"name": name},
                "spec": {"type": kind}}
        try:
            return self.api.create(PLANES + "?dryRun=All", body)
        except urllib.error.HTTPError:
            return None

    def seen(self, name):
        return self.api.get(f"{PLANES}/{name}")

    def metric(self, watcher, name):
        url = f"http://127.0.0.1:{self.ports[watcher]}/metrics"
        total = 0
        for line in urllib.request.urlopen(url, timeout=5).read().decode().splitlines():
            if line.startswith(name) and line[len(name)] in "{ ":
                total += float(line.rsplit(" ", 1)[1])
        return total

    def leader(self):
        lease = self.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{self.tag}/leases/c6f71c85.kflex.kubestellar.org")
        return ((lease or {}).get("spec", {}).get("holderIdentity") or "").rsplit("_", 1)[0]

    def close(self, failed):
        for process in reversed(self.processes):
            try:
                process.stop()
            except AssertionError as error:
                print(error)
        for name in self.planes:
            plane = self.seen(name)
            if plane:
                self.api.delete(f"{PLANES}/{name}")
                if plane["metadata"].get("finalizers"):
                    try:
                        self.api.merge(f"{PLANES}/{name}", {"metadata": {"finalizers": None}})
                    except urllib.error.HTTPError:
                        pass
            self.api.delete(f"/api/v1/namespaces/{name}-system")
        self.api.delete(f"/api/v1/namespaces/{self.tag}")
        if failed:
            for process in self.processes:
                print(f"==== {process.name}")
                print(open(process.log, errors="replace").read()[-4000:])
        shutil.rmtree(self.folder, ignore_errors=True)
