#!/usr/bin/env python3
"""kubeflex-watcher, kubeflex-bus and scripted workers on a fake API server that misbehaves (fake.py): whatever it does, what
the workers are told and the statuses are right in the end; and leadership passes on as it should.

usage: test_hostile.py WATCHER BUS WORKER
"""
import asyncio
import os
import random
import sys
import time
import traceback

from cluster import PLANES, wait
from fake import FakeFleet, child, child_path

FINALIZER = "kflex.kubestellar.org/finalizer"
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "VERSION")) as version:
    VERSION = version.read().strip()
LEASE = "/apis/coordination.k8s.io/v1/namespaces/wtfake/leases/c6f71c85.kflex.kubestellar.org"
ROUTE_API = "/apis/apiregistration.k8s.io/v1/apiservices/v1.route.openshift.io"
LEADER = "/api/v1/namespaces/wtfake/configmaps/kubeflex-leader"
KINDS = [("Namespace", None), ("Service", "kube-apiserver"), ("Secret", "k8s-certs"), ("Deployment", "kube-apiserver")]


def conditions(plane):
    return {c["type"]: c for c in (plane or {}).get("status", {}).get("conditions", [])}


def settled(plane):
    if not plane:
        return False
    said = conditions(plane)
    return (said.get("Synced", {}).get("status") == "True" and said.get("StorageReady", {}).get("status") == "True" and
            plane["status"]["observedGeneration"] == plane["metadata"]["generation"])


class Churn:
    """Random changes of planes and their objects, and what is true afterwards."""

    def __init__(self, fleet, seed):
        self.f, self.random = fleet, random.Random(seed)
        self.planes, self.number = {}, 0  # name -> uid

    def name_of(self, plane, name):
        return name or f"{plane}-system"

    def create(self):
        self.number += 1
        name, made = self.f.plane(f"p{self.number}")
        self.planes[name] = made["metadata"]["uid"]

    def again(self):
        """Deleted and made again under its name at once."""
        name = self.random.choice(list(self.planes))
        self.f.api.delete(f"{PLANES}/{name}")
        wait(f"{name} is gone", lambda: self.f.seen(name) is None, 60)
        self.planes[name] = self.f.plane(name[len("wt-fake-"):])[1]["metadata"]["uid"]

    def edit(self):
        name = self.random.choice(list(self.planes))
        self.f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"a": str(self.random.random())}}})

    def make_object(self):
        name = self.random.choice(list(self.planes))
        kind, short = self.random.choice(KINDS)
        self.f.api.put(child_path(name, kind, self.name_of(name, short)),
                       child(name, self.planes[name], kind, self.name_of(name, short), self.random.random() < 0.5))

    def drop_object(self):
        name = self.random.choice(list(self.planes))
        kind, short = self.random.choice(KINDS)
        self.f.api.run(self.f.store.drop, child_path(name, kind, self.name_of(name, short)))

    def delete(self):
        if len(self.planes) > 3:
            name = self.random.choice(list(self.planes))
            del self.planes[name]
            self.f.api.delete(f"{PLANES}/{name}")

    def step(self):
        self.random.choice([self.edit, self.make_object, self.make_object, self.make_object, self.drop_object,
                            self.delete, self.create])()

    def truth(self, name):
        """Flags of a plane's objects as a task carries them."""
        out = {}
        for kind, short in KINDS:
            obj = self.f.api.get(child_path(name, kind, self.name_of(name, short)))
            if obj:
                ours = obj["metadata"]["ownerReferences"][0]["uid"] == self.planes[name]
                ready = kind != "Deployment" or obj["status"]["availableReplicas"] == 1
                out[f"{kind}/{self.name_of(name, short)}"] = ("o" if ours else "-") + ("r" if ready else "-")
        return out


class Told:
    """What a worker was told last of each plane."""

    def __init__(self, worker):
        self.worker, self.last = worker, {}

    def read(self):
        while not self.worker.lines.empty():
            _, line = self.worker.lines.get_nowait()
            words = dict(word.split("=", 1) for word in line.split()[1:])
            children = dict(c.rsplit(":", 1) for c in words["children"].split(",") if c)
            self.last[words["key"]] = {name: flags[:2] for name, flags in children.items()}
        return self.last


class Tests:
    def __init__(self, fleet):
        self.f = fleet
        self.bus = fleet.bus()
        self.reconciler = fleet.worker("reconciler", "reconciler:k8s", "reconcile.k8s")
        fleet.worker("storage", "storage", "storage")
        self.first = fleet.watcher("first")
        wait("first leads", lambda: fleet.leader() == "first")

    def test_1_mischief(self):
        """Events twice, late, cut off; lists from the past; writes refused or unanswered."""
        f, told = self.f, Told(self.reconciler)
        for seed in (1, 2):
            f.store.random = random.Random(seed)
            churn = Churn(f, seed)
            for _ in range(4):
                churn.create()
            f.store.mischief = 0.1
            for i in range(90):
                churn.step()
                if i % 20 == 5:  # it settles also while this goes on
                    name = churn.random.choice(list(churn.planes))
                    wait(f"seed {seed}: {name} is settled in between", lambda n=name: settled(f.seen(n)), 60)
                if i % 30 == 29:
                    churn.again()
            f.store.mischief = 0
            # What a server kept from a stream for good nobody can know; the next event of the kind brings it up, or the next list.
            f.api.run(f.store.compact)
            f.api.run(self.cut_streams)
            for name in churn.planes:
                wait(f"seed {seed}: {name} is settled", lambda n=name: settled(f.seen(n)), 60)
                wait(f"seed {seed}: the truth about {name} was told",
                     lambda n=name: told.read().get(n, {}) == churn.truth(n), 60)
            for name in set(f.planes) - set(churn.planes):
                wait(f"seed {seed}: {name} is gone", lambda n=name: f.seen(n) is None, 60)
            for name in churn.planes:
                f.api.delete(f"{PLANES}/{name}")
            for name in churn.planes:
                wait(f"seed {seed}: {name} is gone too", lambda n=name: f.seen(n) is None, 60)
        agents = {agent for _, _, agent in f.store.writes}
        assert agents == {f"kubeflex-watcher/{VERSION}"}, agents
        print("   " + ", ".join(f"{n} {what}" for what, n in sorted(f.store.done.items())), flush=True)

    def cut_streams(self):
        for connection in self.f.server.connections:
            if not connection.lost:
                connection.close()

    def test_2_closed_is_not_ready(self):
        """Streams that close and an API server that is away make nothing ready and change nothing."""
        f = self.f
        name, made = f.plane("ready")
        f.api.put(child_path(name, "Deployment", "kube-apiserver"),
                  child(name, made["metadata"]["uid"], "Deployment", "kube-apiserver", False))
        wait("settled", lambda: settled(f.seen(name)))
        self.reconciler.task(name, where=lambda c: c.get("Deployment/kube-apiserver") == "o---")
        rv = f.seen(name)["metadata"]["resourceVersion"]
        for _ in range(5):
            f.api.run(self.cut_streams)
            time.sleep(0.1)
        f.api.run(f.server.refuse)
        f.api.run(self.cut_streams)
        wait("the watch fails", lambda: "watch fails" in open(self.first.log).read())
        asyncio.run_coroutine_threadsafe(f.server.listen(), f.loop).result(10)
        told = Told(self.reconciler).read().get(name, {})  # tasks since, if any
        assert told.get("Deployment/kube-apiserver", "o-") == "o-", told
        f.api.merge(child_path(name, "Deployment", "kube-apiserver") + "/status", {"status": {"availableReplicas": 1}})
        self.reconciler.task(name, 30, where=lambda c: c.get("Deployment/kube-apiserver") == "or--")
        assert f.seen(name)["metadata"]["resourceVersion"] == rv, "an unchanged status was written"

    def test_2b_routes(self):
        """An API server that learns Routes, forgets them and learns them again: told by events, and none is asked for before."""
        f = self.f
        name, made = f.plane("routes")
        path = child_path(name, "Route", name)
        f.api.put(path, child(name, made["metadata"]["uid"], "Route", name))
        wait("settled", lambda: settled(f.seen(name)))
        f.api.put("/apis/apiregistration.k8s.io/v1/apiservices/v1.example.org", {})
        asked = [p for _, _, p in f.requests if "/routes" in p]
        assert not asked, f"nobody serves Routes yet: {asked}"
        for _ in range(2):
            self.reconciler.forget()
            f.api.put(ROUTE_API, {})
            self.reconciler.task(name, where=lambda c: c.get(f"Route/{name}") == "or--")
            f.api.run(f.store.drop, path)
            self.reconciler.task(name, where=lambda c: f"Route/{name}" not in c)
            f.api.put(path, child(name, made["metadata"]["uid"], "Route", name))
            self.reconciler.task(name, where=lambda c: c.get(f"Route/{name}") == "or--")
            f.api.run(f.store.drop, ROUTE_API)
            self.reconciler.task(name, where=lambda c: f"Route/{name}" not in c)
        f.api.run(f.store.drop, path)
        watched = {p.partition("?")[0] for _, _, p in f.requests if "watch=1" in p and "/routes" not in p}
        at = len(f.requests)
        f.api.run(self.cut_streams)
        wait("all its watches are there again", lambda: watched <= {p.partition("?")[0] for _, _, p in f.requests[at:]})
        asked = [p for _, _, p in f.requests[at:] if "/routes" in p]
        assert not asked, f"nobody serves Routes any more: {asked}"

    def test_2c_packets_are_lost(self):
        """Packets of all connections vanish without a sign; new connections work. It is noticed within 20 s, what happened
        meanwhile is told and written, watches are resumed rather than listed, and leadership stays. A machine that has no time
        for us rightly loses a Lease: that may happen twice."""
        assert any(self.lose_packets(f"lost{i}") for i in range(3)), "leadership was lost each time"

    def lose_packets(self, short):
        """Whether leadership stayed."""
        f = self.f
        name, made = f.plane(short)
        path = child_path(name, "Deployment", "kube-apiserver")
        f.api.put(path, child(name, made["metadata"]["uid"], "Deployment", "kube-apiserver", False))
        wait("settled", lambda: settled(f.seen(name)))
        self.reconciler.task(name, where=lambda c: c.get("Deployment/kube-apiserver") == "o---")
        epoch, lease = self.epoch(), f.api.get(LEASE)["spec"]
        at, before = len(f.requests), list(f.server.connections)
        for connection in before:
            if not connection.lost:
                asyncio.run_coroutine_threadsafe(connection.lose(), f.loop).result(10)
        started = time.monotonic()
        f.script("reconcile.k8s", name, "outcome OK", "cond Synced True ReconcileSuccess", "cond Ready True Available")
        f.api.merge(path + "/status", {"status": {"availableReplicas": 1}})
        self.reconciler.task(name, 20, where=lambda c: c.get("Deployment/kube-apiserver") == "or--")
        print(f"   noticed after {time.monotonic() - started:.1f} s", flush=True)
        wait("Ready", lambda: conditions(f.seen(name)).get("Ready", {}).get("status") == "True")
        assert all(c.frozen or c.lost for c in before)
        lists = [p for _, method, p in f.requests[at:] if method == "GET" and "limit=" in p]
        assert not lists, f"listed again: {lists}"
        now = f.api.get(LEASE)["spec"]
        assert now["renewTime"] > lease["renewTime"], now
        return now["holderIdentity"] == lease["holderIdentity"] and self.epoch() == epoch

    def epoch(self):
        return int(self.f.api.get(LEADER)["metadata"]["annotations"]["kflex.kubestellar.org/epoch"])

    def test_3_takeover(self):
        """Killed, and stopped; the epoch rises each time, also when the Lease was deleted."""
        f = self.f
        second = f.watcher("second")
        wait("second stands by", lambda: "caches filled" in open(second.log).read())
        before = self.epoch()
        started = time.monotonic()
        self.first.stop(9)
        wait("second leads", lambda: "msg=leading" in open(second.log).read(), 12)
        print(f"   takeover after kill -9: {time.monotonic() - started:.2f} s", flush=True)
        assert self.epoch() > before
        third = f.watcher("third")
        wait("third stands by", lambda: "caches filled" in open(third.log).read())
        before = self.epoch()
        started = time.monotonic()
        second.stop()
        wait("third leads", lambda: "msg=leading" in open(third.log).read())
        print(f"   takeover after a clean stop: {time.monotonic() - started:.2f} s", flush=True)
        assert self.epoch() > before
        before = self.epoch()
        third.stop(9)
        f.api.run(f.store.drop, LEASE)
        self.leading = f.watcher("fourth")
        wait("fourth leads", lambda: "msg=leading" in open(self.leading.log).read(), 12)
        assert self.epoch() > before, "the epoch went back with the Lease"

    def test_4_paused_leader(self):
        """A leader is stopped with a write on its way, another one takes over, the write lands, and the old leader wakes up:
        nothing more of it lands, and what landed is repaired."""
        f, old, name = self.f, self.leading, "wt-fake-paused"
        f.plane("paused")
        wait("settled", lambda: settled(f.seen(name)))
        standby = f.watcher("fifth")
        wait("fifth stands by", lambda: "caches filled" in open(standby.log).read())
        held, go = [], asyncio.Event()

        def hold(token, exchange):
            if token == "fourth" and exchange.method == "PATCH" and exchange.plain_path.endswith(name + "/status"):
                held.append(exchange)
                return go.wait()
            return None
        f.hold = hold
        f.script("reconcile.k8s", name, "cond Synced False ReconcileError of the old leader", "outcome OK")
        f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"a": "x"}}})
        wait("its write is on its way", lambda: held)
        f.script("reconcile.k8s", name)
        old.process.send_signal(19)
        wait("fifth leads", lambda: "msg=leading" in open(standby.log).read(), 12)
        wait("the new leader has settled it", lambda: settled(f.seen(name)), 20)
        # As if the object had not been touched since: the strongest stale write there can be.
        held[0].body = held[0].body.replace(self.version_in(held[0]), f.seen(name)["metadata"]["resourceVersion"].encode())
        f.loop.call_soon_threadsafe(go.set)
        wait("the stale write landed", lambda: "of the old leader" in f.store.seen_messages)
        wait("it is repaired", lambda: settled(f.seen(name)))
        f.hold = None
        for i in range(5):  # work that waits for the sleeper
            f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"a": str(i)}}})
        wait("settled", lambda: settled(f.seen(name)))
        at = len(f.requests)
        old.process.send_signal(18)
        wait("the old leader knows", lambda: "leadership lost" in open(old.log).read())
        wait("it asks for the Lease again", lambda: any(t == "fourth" and "leases" in p for t, _, p in f.requests[at:]))
        f.api.merge(f"{PLANES}/{name}", {"spec": {"globalVars": {"a": "end"}}})
        wait("settled", lambda: settled(f.seen(name)))
        late = [(m, p) for t, m, p in f.requests[at:] if t == "fourth" and m != "GET"]
        assert not late, f"the old leader wrote: {late}"

    @staticmethod
    def version_in(exchange):
        text = exchange.body.decode()
        at = text.index('"resourceVersion":"') + len('"resourceVersion":"')
        return text[at:text.index('"', at)].encode()


def main():
    fleet = FakeFleet(dict(zip(("watcher", "bus", "worker"), sys.argv[1:4])))
    failed = True
    try:
        tests = Tests(fleet)
        for name in sorted(n for n in dir(tests) if n.startswith("test_")):
            print(name, flush=True)
            started = time.monotonic()
            getattr(tests, name)()
            print(f"   {time.monotonic() - started:.1f} s", flush=True)
        failed = False
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stdout)
    finally:
        fleet.close(failed)
    return 1 if failed else 0


sys.exit(main())
