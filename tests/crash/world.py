"""A world: an API server and a PostgreSQL of their own, and in each Lane a whole set of our programs, every one behind a gateway
that sees its writes. Lanes share the servers and nothing else, so that many planes can be disturbed side by side. No node.
"""
import asyncio
import base64
import json
import os
import re
import shutil
import signal
import ssl
import sys
import tempfile
import threading
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(HERE, "..", "types"), os.path.join(HERE, "..", "watcher")]
import control  # noqa: E402
from cluster import PLANES, SYSTEM, Api, Process, free_port, system_make, wait, without_status  # noqa: E402
from gateway import Gateway, Upstream  # noqa: E402
from postgres import PG, Postgres  # noqa: E402

WRITERS = ("watcher", "reconciler", "agent")
VOLATILE = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{16}-[0-9a-f]{8}\b|\b[0-9a-f]{8,}\b|\b3[0-2]\d{3}\b|\b10\.0\.0\.\d+\b|\d{4}-\d\d-\d\dT[\d:.]+Z")


def can_run():
    """None, or why not."""
    if not control.find_programs():
        return "skipped: needs the programs that deploy/local/up builds"
    return None if os.access(f"{PG}/initdb", os.X_OK) else "skipped: PostgreSQL 15 is not installed (package postgresql-15)"


class Servers:
    def __init__(self, programs):
        self.programs, self.folder = programs, tempfile.mkdtemp(prefix="kfx-crash-")
        kubernetes = control.find_programs()
        os.environ["PATH"] = os.path.dirname(kubernetes["kubectl"]) + ":" + os.environ["PATH"]
        self.cluster = control.Cluster(kubernetes, self.folder, "hosting")
        self.postgres = Postgres(free_port())
        self.loop = asyncio.new_event_loop()
        self.lanes = []

    def start(self):
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.cluster.start()
        self.api = Api(self.cluster.admin)
        crds = self.cluster.kubectl("kustomize", f"{REPO}/deploy/crds")
        self.cluster.kubectl("apply", "--server-side", "-f", "-", input=crds)
        wait("the kinds are served", self.served, 30)
        wait("namespace default", lambda: self.api.get("/api/v1/namespaces/default"), 30)
        system_make(self.api)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(f"{self.cluster.folder}/serving.crt", f"{self.cluster.folder}/serving.key")
        self.tls.set_alpn_protocols(["h2"])
        self.upstream = Upstream("127.0.0.1", self.cluster.port, self.api.context)

    def served(self):
        try:
            return self.api.get(PLANES)
        except OSError:
            return None

    def start_postgres(self):
        """With what the first storage agent made for it."""
        path = f"/api/v1/namespaces/{SYSTEM}/secrets/postgres-postgresql"
        tls = wait("the Secrets of Postgres", lambda: self.api.get(path + "-tls"), 30)
        admin = wait("its password", lambda: self.api.get(path))
        text = lambda secret, key: base64.b64decode(secret["data"][key]).decode()  # noqa: E731
        self.postgres.start(text(admin, "postgres-password"), text(tls, "tls.crt"), text(tls, "tls.key"))

    def lane(self, number):
        self.lanes.append(Lane(self, number))
        return self.lanes[-1]

    def close(self, failed):
        for lane in self.lanes:
            lane.close(failed)
        self.postgres.stop()
        self.cluster.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        shutil.rmtree(self.folder, ignore_errors=True)


class Lane:
    """bus, watcher, reconciler and storage agent, and one plane of theirs at a time.

    trap: (process, method, path with PLANE for the plane's name, reason of an Event, its number of these) and "before" or
    "after": there the process is killed, once, and started again. writes: what was written since forget()."""

    def __init__(self, servers, number):
        self.servers, self.api, self.tag = servers, servers.api, f"lane{number}"
        self.folder = f"{servers.folder}/{self.tag}"
        os.makedirs(self.folder)
        self.endpoint, self.plane = f"ipc://{self.folder}/bus", None
        self.processes, self.logs, self.gateways, self.lock = {}, 0, {}, threading.Lock()
        self.writes, self.counts, self.trap, self.killed = [], {}, None, threading.Event()
        self.api.create("/api/v1/namespaces", {"metadata": {"name": self.tag}})
        self.lease = f"/apis/coordination.k8s.io/v1/namespaces/{self.tag}/leases/c6f71c85.kflex.kubestellar.org"
        for name in WRITERS:
            self.gateways[name] = Gateway(servers.loop, name, servers.tls, servers.upstream, self.seen)
        for name in ("bus", *WRITERS):
            self.start(name)

    # ---- the programs

    def start(self, name):
        programs, health = self.servers.programs, f"127.0.0.1:{free_port()}"
        if name == "bus":
            argv = ["--bind", self.endpoint, "--tap", "", "--no-curve", "--health", "", "--hold", "0"]
        else:
            argv = ["--bus", self.endpoint, "--no-curve", "--kubeconfig", self.kubeconfig(name), "--instance", f"{name}-{self.logs}"]
        if name == "watcher":
            argv += ["--namespace", self.tag, "--selector", f"lane={self.tag}", "--health", ""]
        elif name == "reconciler":
            argv += ["--type", "k8s", "--health", ""]
        elif name == "agent":
            port = str(self.servers.postgres.port)
            argv = [word for word in argv if word != "--no-curve"]
            argv += ["--health", health, "--postgres-host", "127.0.0.1", "--postgres-port", port, "--dsn-host", "127.0.0.1",
                     "--dsn-port", port, "--certificate-name", "127.0.0.1"]
        self.logs += 1
        self.processes[name] = Process(f"{name}-{self.logs}", [programs[name], *argv], self.folder)

    def kubeconfig(self, name):
        cluster, path = self.servers.cluster, f"{self.folder}/{name}.kubeconfig"
        with open(cluster.admin, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            file.write(text.replace(cluster.server, f"https://127.0.0.1:{self.gateways[name].port}"))
        return path

    def kill(self, name):
        process = self.processes[name].process
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        if name == "watcher":
            # Its Lease would hold the next one up for 8 s; that it survives this is part of the epoch's rules.
            self.api.delete(self.lease)
        self.start(name)
        self.killed.set()

    # ---- writes

    def point(self, write):
        path = write.plain_path.replace(self.plane or "\0", "PLANE")
        path = re.sub(r"(/events/PLANE\.)[0-9a-f]+$", r"\1N", path)
        what = (write.process, write.method, path, write.reason())
        self.counts[what] = self.counts.get(what, 0) + 1
        return (*what, self.counts[what])

    def seen(self, gateway, write):
        """Called in the loop's thread; for "after" a second time, when the server has answered."""
        if write.status is not None:
            threading.Thread(target=self.kill, args=(gateway.name,), daemon=True).start()
            return "pass"
        if self.plane is None or "/leases" in write.plain_path or f"/namespaces/{self.tag}" in write.plain_path:
            return "pass"
        with self.lock:
            point = self.point(write)
            self.writes.append((point, write))
            if not self.trap or self.trap[0] != point:
                return "pass"
            fate, self.trap = self.trap[1], None
        if fate == "before":
            threading.Thread(target=self.kill, args=(gateway.name,), daemon=True).start()
        return fate

    def set_trap(self, point=None, fate=None):
        with self.lock:
            self.killed.clear()
            self.writes, self.counts, self.trap = [], {}, (point, fate) if point else None

    # ---- the plane

    def create(self, name):
        with self.lock:
            self.plane = name
        body = {"apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane",
                "metadata": {"name": name, "labels": {"lane": self.tag}}, "spec": {"type": "k8s", "backend": "shared"}}
        return self.api.create(PLANES, body)["metadata"]["uid"]

    def seen_plane(self):
        return self.api.get(f"{PLANES}/{self.plane}")

    def conditions(self):
        status = (self.seen_plane() or {}).get("status", {})
        return {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])}

    def await_made(self, generation=1, seconds=40):
        def made():
            found, seen = self.conditions(), (self.seen_plane() or {}).get("status", {}).get("observedGeneration")
            return all(found.get(kind, ("",))[0] == "True" for kind in ("Synced", "StorageReady")) and seen == generation
        wait(f"{self.plane} is made ({self.tag})", made, seconds)

    def collections(self):
        space = f"/api/v1/namespaces/{self.plane}-system"
        apps = f"/apis/apps/v1/namespaces/{self.plane}-system/deployments"
        return (f"{space}/services", f"{space}/secrets", apps, f"/apis/networking.k8s.io/v1/namespaces/{self.plane}-system/ingresses")

    def objects(self):
        """Everything of the plane, by path."""
        found = {f"{PLANES}/{self.plane}": self.seen_plane()}
        found[f"/api/v1/namespaces/{self.plane}-system"] = self.api.get(f"/api/v1/namespaces/{self.plane}-system")
        for collection in self.collections():
            for item in (self.api.get(collection) or {}).get("items", []):
                found[f"{collection}/{item['metadata']['name']}"] = item
        return found

    def state(self):
        """What must be the same however it came about: what differs from plane to plane is left out."""
        state = {}
        for path, thing in self.objects().items():
            meta = thing["metadata"]
            kept = {"labels": meta.get("labels"), "finalizers": meta.get("finalizers"), "annotations": sorted(meta.get("annotations", {})),
                    "owners": [owner["kind"] for owner in meta.get("ownerReferences", [])], "spec": thing.get("spec"),
                    "keys": sorted(thing.get("data") or {}), "managers": sorted({m["manager"] for m in meta.get("managedFields", [])
                                                                                if m["manager"].startswith("kubeflex-")})}
            text = json.dumps(kept, sort_keys=True).replace(self.plane, "PLANE").replace(self.tag, "LANE")
            state[path.replace(self.plane, "PLANE")] = VOLATILE.sub("*", text)
        state["conditions"] = self.conditions()
        return state

    def await_state(self, wanted=None, seconds=30):
        """The state, once it is as wanted; without, once it has been the same for a while."""
        if wanted is None:
            last, since = None, 0
            while since < 10:
                now = self.state()
                last, since = now, since + 1 if now == last else 0
            return last
        try:
            wait("", lambda: self.state() == wanted, seconds)
        except AssertionError:
            now = self.state()
            differ = [f"{path}: {now.get(path)}\n  without a crash: {wanted.get(path)}"
                      for path in sorted(now.keys() | wanted.keys()) if now.get(path) != wanted.get(path)]
            raise AssertionError(f"the state after {seconds} s differs:\n" + "\n".join(differ)) from None
        return wanted

    def log_in(self):
        """With what the plane's API server is given."""
        secret = self.api.get(f"/api/v1/namespaces/{self.plane}-system/secrets/kine-dsn")
        dsn = urllib.parse.urlsplit(base64.b64decode(secret["data"]["endpoint"]).decode())
        self.servers.postgres.sql("select 1", dsn.username, urllib.parse.unquote(dsn.password), dsn.path.strip("/"))

    def databases(self, uid):
        uid = uid.replace("-", "")
        return self.servers.postgres.sql(f"select datname from pg_database where datname like '%{uid}%' union all "
                                         f"select rolname from pg_roles where rolname like '%{uid}%'")

    def change(self):
        """A new generation, and children that somebody deletes or edits."""
        space = f"{self.plane}-system"
        gone = (f"/api/v1/namespaces/{space}/secrets/admin-kubeconfig", f"/apis/apps/v1/namespaces/{space}/deployments/kube-controller-manager",
                f"/apis/networking.k8s.io/v1/namespaces/{space}/ingresses/{self.plane}")
        for path in gone:
            self.api.delete(path)
        self.api.merge(f"/api/v1/namespaces/{space}/services/{self.plane}", {"spec": {"selector": {"app": "another"}}})
        self.api.merge(f"{PLANES}/{self.plane}", {"spec": {"globalVars": {"changed": "yes"}}})
        wait(f"what was deleted is back ({self.tag})", lambda: all(self.api.get(path) for path in gone), 40)
        wait(f"what was edited is put right ({self.tag})", lambda: self.api.get(f"/api/v1/namespaces/{space}/services/{self.plane}")[
            "spec"]["selector"] != {"app": "another"}, 40)
        self.await_made(2)

    def delete(self):
        self.api.delete(f"{PLANES}/{self.plane}")

    def await_gone(self, uid, seconds=40):
        wait(f"{self.plane} is gone ({self.tag})", lambda: self.seen_plane() is None, seconds)
        wait(f"its Namespace too ({self.tag})", lambda: self.api.get(f"/api/v1/namespaces/{self.plane}-system") is None, seconds)
        assert not self.databases(uid), f"there is still {self.databases(uid)}"

    def log(self):
        return "".join(f"==== {name}\n" + open(f"{self.folder}/{name}", encoding="utf-8", errors="replace").read()[-2500:]
                       for name in sorted(os.listdir(self.folder)) if name.endswith(".log"))

    def close(self, failed):
        for process in self.processes.values():
            process.process.kill()
            process.process.wait(10)
        if failed:
            print(self.log())
        for gateway in self.gateways.values():
            self.servers.loop.call_soon_threadsafe(gateway.stop)


def programs_from(argv):
    return dict(zip(("bus", "watcher", "reconciler", "agent"), argv))
