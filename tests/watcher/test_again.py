#!/usr/bin/env python3
"""A plane is deleted and made again under the same name while the workers that were at it stand still. When they go on, with
what they had in mind and with requests that arrive only now, they harm nothing of the new plane.

Two reconcilers and two storage agents, a real API server (KFX_TEST_KUBECONFIG, else skipped) and a real PostgreSQL. The first
of each is given all work as long as it is there; it is stopped (SIGSTOP) at a random instant, together with what it has sent to
the API server in that moment: a proxy holds it back, and lets it through before the worker may go on.

usage: test_again.py WATCHER BUS RECONCILER AGENT [--rounds N] [--seed N]
"""
import argparse
import base64
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
import urllib.parse

from postgres import PG, Postgres
from cluster import PLANES, SYSTEM, Api, Fleet, free_port, system_make, system_remove, wait, without_status


class Proxy:
    """Passes connections on to an API server. While it holds, nothing of the clients arrives there; nothing is lost."""

    def __init__(self, server):
        host, port = urllib.parse.urlsplit(server).netloc.rsplit(":", 1)
        self.target, self.passing, self.held, self.answers = (host, int(port)), threading.Event(), 0, 0
        self.passing.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.target)
            threading.Thread(target=self._copy, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, False), daemon=True).start()

    def _copy(self, source, target, hold):
        try:
            while data := source.recv(65536):
                if hold and not self.passing.is_set():
                    self.held += 1  # connections with something to say
                    self.passing.wait()
                self.answers += not hold
                target.sendall(data)
        except OSError:
            pass
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Tests:
    def __init__(self, fleet, postgres, random_source):
        self.f, self.postgres, self.random = fleet, postgres, random_source
        self.proxy = Proxy(fleet.api.server)
        late = self._through_proxy()
        fleet.bus()
        fleet.watcher("watcher")
        self.first = [self._reconciler("reconciler-1", late, 16), self._agent("agent-1", late, 8)]
        secret = wait("the Secrets of Postgres", lambda: fleet.api.get(
            f"/api/v1/namespaces/{SYSTEM}/secrets/postgres-postgresql-tls"), 30)
        admin = wait("its password", lambda: fleet.api.get(f"/api/v1/namespaces/{SYSTEM}/secrets/postgres-postgresql"))
        value = lambda s, key: base64.b64decode(s["data"][key]).decode()  # noqa: E731
        postgres.start(value(admin, "postgres-password"), value(secret, "tls.crt"), value(secret, "tls.key"))
        self._reconciler("reconciler-2", fleet.kubeconfig, 1)
        self._agent("agent-2", fleet.kubeconfig, 1)
        wait("the watcher leads", lambda: fleet.leader() == "watcher")

    def _through_proxy(self):
        with open(self.f.kubeconfig, encoding="utf-8") as f:
            text = f.read()
        path = os.path.join(self.f.folder, "kubeconfig")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(self.f.api.server, f"https://127.0.0.1:{self.proxy.port}"))
        return path

    def _reconciler(self, name, kubeconfig, threads):
        return self.f.spawn(name, self.f.programs["reconciler"], "--type", "k8s", "--bus", self.f.endpoint, "--no-curve",
                            "--kubeconfig", kubeconfig, "--instance", name, "--health", "", "--threads", str(threads))

    def _agent(self, name, kubeconfig, threads):
        return self.f.spawn(name, self.f.programs["agent"], "--bus", self.f.endpoint, "--kubeconfig", kubeconfig,
                            "--instance", name, "--health", f"127.0.0.1:{free_port()}", "--threads", str(threads), "--postgres-host", "127.0.0.1",
                            "--postgres-port", str(self.postgres.port), "--dsn-host", "127.0.0.1", "--dsn-port",
                            str(self.postgres.port), "--certificate-name", "127.0.0.1")

    def welcomes(self):
        return [open(p.log, encoding="utf-8").read().count("bus says welcome") for p in self.first]

    def hold(self):
        self.proxy.held = 0
        self.proxy.passing.clear()

    def pause(self):
        """The workers stop when they have sent something that is held (or have nothing to send), and a little more."""
        deadline = time.monotonic() + 0.25
        while not self.proxy.held and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(self.random.uniform(0, 0.03))  # the agent, too, is somewhere in the middle
        for process in self.first:
            process.process.send_signal(signal.SIGSTOP)

    def resume(self):
        """What the workers had sent arrives first, then they go on. Returns when they are the bus's workers again."""
        before, held, answers = self.welcomes(), self.proxy.held, self.proxy.answers
        self.proxy.passing.set()
        if held:  # a worker that wakes up would take back at once what it sent too long ago
            wait("the API server answers what came late", lambda: self.proxy.answers > answers)
        for process in self.first:
            process.process.send_signal(signal.SIGCONT)
        # Each of them is a session anew: the bus gave their work to others meanwhile.
        wait("the first workers are back", lambda: all(a > b for a, b in zip(self.welcomes(), before)))
        return held

    def made(self, name, generation=1):
        def settled():
            status = (self.f.seen(name) or {}).get("status", {})
            good = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
            return {"Synced", "StorageReady"} <= good and status["observedGeneration"] == generation
        wait(f"{name} is made, generation {generation}", settled, 40)

    def objects(self, name):
        """Everything in the plane's Namespace, and that, by path."""
        space = f"/api/v1/namespaces/{name}-system"
        found = {space: self.f.api.get(space)}
        for collection in (f"{space}/services", f"{space}/secrets", f"/apis/apps/v1/namespaces/{name}-system/deployments",
                           f"/apis/networking.k8s.io/v1/namespaces/{name}-system/ingresses"):
            for item in self.f.api.get(collection)["items"]:
                found[f"{collection}/{item['metadata']['name']}"] = item
        return found

    def databases(self, uid):
        uid = uid.replace("-", "")
        return self.postgres.sql(f"select datname from pg_database where datname like '%{uid}%' union all "
                                 f"select rolname from pg_roles where rolname like '%{uid}%'")

    def as_tenant(self, objects, name, text):
        secret = objects[f"/api/v1/namespaces/{name}-system/secrets/kine-dsn"]
        dsn = urllib.parse.urlsplit(base64.b64decode(secret["data"]["endpoint"]).decode())
        return self.postgres.sql(text, dsn.username, urllib.parse.unquote(dsn.password), dsn.path.strip("/"))

    def round(self, when):
        f, name, delay = self.f, self.f.name("again"), self.random.uniform(0, 0.06)
        _, old = f.plane("again")
        old = old["metadata"]["uid"]
        if when == "delete":
            self.made(name)
            self.hold()
            f.api.delete(f"{PLANES}/{name}")
        else:
            time.sleep(delay)
            self.hold()
        self.pause()
        if when == "create":
            f.api.delete(f"{PLANES}/{name}")
        wait("the second workers have ended the old plane", lambda: (f.seen(name) or {"metadata": {"uid": ""}})["metadata"][
            "uid"] != old, 40)
        f.planes.remove(name)
        _, new = f.plane("again")
        new = new["metadata"]["uid"]
        self.made(name)
        before = self.objects(name)
        self.as_tenant(before, name, "create table kept (x int); insert into kept values (7)")
        held = self.resume()
        f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"again": "yes"}}})  # work for the first ones, as they are back
        self.made(name, 2)
        after = self.objects(name)
        assert after.keys() == before.keys(), f"{sorted(before)} became {sorted(after)}"
        for path, was in before.items():
            assert without_status(after[path]) == without_status(was), f"{path} was written:\n{json.dumps(was)}\n{json.dumps(after[path])}"
            owners = [o["uid"] for o in was["metadata"]["ownerReferences"]]
            assert owners == [new] and old not in json.dumps(was["metadata"]), f"{path}: {was['metadata']}"
        assert self.as_tenant(after, name, "select x from kept") == ["7"], "the new plane's data or password is not what it was"
        assert not self.databases(old), f"of the old plane there is still {self.databases(old)}"
        assert len(self.databases(new)) == 3, self.databases(new)  # database, owner role, login role
        print(f"   stopped in {when}: requests of {held} connections arrived late", flush=True)
        f.api.delete(f"{PLANES}/{name}")
        wait("gone", lambda: f.seen(name) is None, 20)
        wait("its Namespace too", lambda: f.api.get(f"/api/v1/namespaces/{name}-system") is None, 30)
        assert not self.databases(new)
        f.planes.remove(name)

    def close(self):
        self.proxy.passing.set()
        for process in self.first:
            process.process.send_signal(signal.SIGCONT)


def arguments():
    parser = argparse.ArgumentParser()
    for program in ("watcher", "bus", "reconciler", "agent"):
        parser.add_argument(program)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    return parser.parse_args()


def main():
    options = arguments()
    kubeconfig = os.environ.get("KFX_TEST_KUBECONFIG")
    if not kubeconfig:
        print("skipped: KFX_TEST_KUBECONFIG names no cluster")
        return 77
    if not os.access(f"{PG}/initdb", os.X_OK):
        print("skipped: PostgreSQL 15 is not installed (package postgresql-15)")
        return 77
    if not system_make(Api(kubeconfig)):
        print("skipped: KubeFlex runs in the cluster of KFX_TEST_KUBECONFIG")
        return 77
    print(f"seed {options.seed}")
    fleet, postgres = Fleet(vars(options), kubeconfig), Postgres(free_port())
    failed, tests = True, None
    try:
        tests = Tests(fleet, postgres, random.Random(options.seed))
        for number in range(options.rounds):
            tests.round("create" if number % 2 == 0 else "delete")
        failed = False
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stdout)
    finally:
        if tests:
            tests.close()
        fleet.close(failed)
        postgres.stop()
        system_remove(fleet.api)
    return 1 if failed else 0


sys.exit(main())
