"""The bus against a second implementation of its clients (client.py, from docs/protocol.md), alone and beside the C ones, and
byte by byte where the page says what is refused."""
import os
import sys
import unittest

import msgpack
import zmq

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import client as kfx  # noqa: E402
from fake_secrets import Store  # noqa: E402
from harness import CONT, KILL, STOP, Site  # noqa: E402


class Protocol(unittest.TestCase):
    curve = False

    def setUp(self):
        self.site = Site(self.curve)
        self.addCleanup(self.site.close)

    def watcher(self, **options):
        watcher = kfx.Watcher(self.site.bind, keys_dir=self.site.keys or None, **options)
        self.addCleanup(watcher.close)
        return watcher

    def worker(self, **options):
        worker = kfx.Worker(self.site.bind, keys_dir=self.site.keys or None, **options)
        self.addCleanup(worker.close)
        return worker

    def raw(self, role="watcher"):
        keys = kfx.keys_from(f"{self.site.keys}/kubeflex-bus-{role}") if self.site.keys else None
        sock = kfx.dealer(self.site.bind, keys)
        self.addCleanup(sock.close)
        sock.rcvtimeo = 10000
        return sock

    def answer(self, sock):
        _, kind, envelope, _ = sock.recv_multipart()
        return kind[0], kfx.unpack(envelope)

    def ready(self):
        self.site.start_bus()
        watcher = self.watcher()
        watcher.expect("CONNECTED")
        worker = self.worker()
        watcher.expect("STATE", "reconcile.k8s", kfx.UP)
        return watcher, worker


class Roles(Protocol):
    def test_event_task_done_ack(self):
        watcher, worker = self.ready()
        watcher.event("cp1", 7, children=[("Namespace", "cp1-system"), ("Secret", "k8s-certs")])
        worker.expect("TASK", "cp1", "u1", 7, 0, 2)
        worker.finish("cp1", kfx.WAITING, message="for the Namespace")
        worker.expect("CONFIRMED", "cp1")
        watcher.expect("DONE", "reconcile.k8s", "cp1", "u1", 7, kfx.WAITING, "for the Namespace")

    def test_failure_comes_back_with_its_attempts(self):
        watcher, worker = self.ready()
        watcher.event("cp1", 1)
        for attempt in range(3):
            worker.expect("TASK", "cp1", "u1", 1, attempt)
            worker.finish("cp1", kfx.RETRY, retry_ms=1)
        worker.expect("TASK", "cp1", "u1", 1, 3)

    def test_newer_events_coalesce_and_deletion_cancels(self):
        watcher, worker = self.ready()
        watcher.event("cp1", 1)
        worker.expect("TASK", "cp1", "u1", 1)
        for seq in range(2, 9):
            watcher.event("cp1", seq)
        watcher.event("cp1", 9, deleting=True)
        worker.expect("CANCEL", "cp1")
        worker.finish("cp1", kfx.RETRY)
        worker.expect("TASK", "cp1", "u1", 9)
        worker.finish("cp1", kfx.GONE)
        watcher.expect("DONE", "reconcile.k8s", "cp1", "u1", 9, kfx.GONE)

    def test_many_events_go_through_the_window(self):
        watcher, worker = self.ready()
        worker.set_credit(1024)
        for i in range(1, 601):
            watcher.event(f"cp{i}", i)
        for i in range(1, 601):
            key = worker.expect("TASK")[1]
            worker.finish(key)
        for i in range(600):
            watcher.expect("DONE")

    def test_down_target_and_reopening(self):
        watcher, worker = self.ready()
        watcher.event("cp1", 1)
        worker.expect("TASK", "cp1")
        worker.set_credit(0, kfx.TARGET_DOWN)
        worker.finish("cp1", kfx.DOWN)
        watcher.expect("STATE", "reconcile.k8s", kfx.TARGET_DOWN)
        watcher.event("cp2", 2)
        worker.expect("CONFIRMED", "cp1")
        worker.set_credit(1)
        watcher.expect("STATE", "reconcile.k8s", kfx.UP)
        first = worker.expect("TASK")
        self.assertEqual(first[4], 0)  # no failure of the key
        worker.finish(first[1])
        worker.expect("TASK")

    def test_drained_worker_hands_over(self):
        watcher, first = self.ready()
        watcher.event("cp1", 1)
        first.expect("TASK", "cp1")
        second = self.worker(name="second")
        second.expect("CONNECTED")
        first.close(bye=True)
        second.expect("TASK", "cp1", "u1", 1, 0)

    def test_only_the_highest_revision_gets_tasks(self):
        watcher, old = self.ready()
        new = self.worker(name="new", revision=2)
        new.expect("CONNECTED")
        new.set_credit(8)
        watcher.event("cp1", 1)
        new.expect("TASK", "cp1")
        new.close(bye=True)
        old.expect("TASK", "cp1")

    def test_unacked_result_goes_to_the_next_watcher(self):
        self.site.start_bus()
        first = self.watcher(acks=False)
        first.expect("CONNECTED")
        worker = self.worker()
        first.event("cp1", 1)
        worker.expect("TASK", "cp1")
        worker.finish("cp1")
        first.expect("DONE", "reconcile.k8s", "cp1")
        second = self.watcher(epoch=2, name="second", snapshot=None)
        first.expect("STALE", 2)
        second.expect("DONE", "reconcile.k8s", "cp1", "u1", 1, kfx.OK)
        third = self.watcher(epoch=1, name="third")
        third.expect("STALE", 2)

    def test_snapshot_sweeps(self):
        watcher, worker = self.ready()
        watcher.event("cp1", 1)
        watcher.event("cp2", 2)
        worker.expect("TASK", "cp2")
        watcher.close(bye=True)
        second = self.watcher(epoch=2, snapshot=[{"service": "reconcile.k8s", "key": "cp2", "uid": "u1", "gen": 1, "seq": 1}])
        second.expect("CONNECTED")
        worker.expect("CANCEL", "cp1")

    def test_restarted_bus_learns_what_runs(self):
        self.site.start_bus()
        known = [{"service": "reconcile.k8s", "key": "cp1", "uid": "u1", "gen": 1, "seq": 1}]
        watcher = self.watcher(snapshot=known)
        watcher.expect("CONNECTED")
        worker = self.worker()
        worker.expect("TASK", "cp1", "u1", 1)
        self.site.bus.signal(KILL)
        self.site.bus.wait()
        self.site.start_bus(hold=4500)
        for client in (watcher, worker):
            client.expect("CONNECTED")
        worker.finish("cp1", message="before and after")
        watcher.expect("DONE", "reconcile.k8s", "cp1", "u1", 1, kfx.OK, "before and after")

    def test_result_of_a_lost_lease_is_fenced(self):
        watcher, worker = self.ready()
        watcher.event("cp1", 1)
        worker.expect("TASK", "cp1")
        sock = self.raw("reconciler-k8s")
        hello = {"role": "reconciler:k8s", "service": "reconcile.k8s", "seq": 1, "vmin": 1, "vmax": 1, "rev": 1}
        sock.send_multipart(kfx.message(kfx.HELLO, hello))
        kind, env = self.answer(sock)
        self.assertEqual(kind, kfx.WELCOME)
        task = next(iter(worker.tasks))
        sock.send_multipart(kfx.message(kfx.DONE, {"key": "cp1", "lease": env["lease"], "task": task, "outcome": kfx.OK}))
        kind, env = self.answer(sock)
        self.assertEqual((kind, env["code"], env["task"]), (kfx.ERROR, kfx.FENCED, task))


class Mixed(Protocol):
    """Each implementation's client with the other's."""

    def test_c_watcher_with_a_python_worker(self):
        self.site.start_bus()
        watcher = self.site.watcher()
        watcher.expect("^CONNECTED")
        worker = self.worker()
        watcher.expect("^SERVICE reconcile.k8s up")
        watcher.say("event reconcile.k8s cp1 u1 3 5 0")
        worker.expect("TASK", "cp1", "u1", 5, 0, 1)
        worker.finish("cp1", message="from afar")
        watcher.expect("^DONE reconcile.k8s cp1 u1 5 ok from afar")

    def test_python_watcher_with_a_c_worker(self):
        self.site.start_bus()
        watcher = self.watcher()
        self.site.worker()
        watcher.expect("STATE", "reconcile.k8s", kfx.UP)
        watcher.event("ok-1", 5, children=[("Namespace", "x"), ("Secret", "y"), ("Service", "z")])
        watcher.expect("DONE", "reconcile.k8s", "ok-1", "u1", 5, kfx.OK, "children 3")

    def test_tap(self):
        watcher, worker = self.ready()
        keys = kfx.keys_from(f"{self.site.keys}/kubeflex-bus-tap") if self.site.keys else None
        tap = kfx.dealer(self.site.tap_bind, keys, zmq.SUB)
        self.addCleanup(tap.close)
        tap.rcvtimeo = 10000
        tap.subscribe(b"PONG")
        tap.recv_multipart()  # the subscription has arrived
        tap.subscribe(b"TASK reconcile.k8s cp1")
        tap.subscribe(b"STATS storage")
        watcher.event("cp1", 1)
        watcher.event("cp1", 2)
        worker.expect("TASK", "cp1")
        topics = set()
        while topics < {b"TASK reconcile.k8s cp1", b"STATS storage"}:
            topic, record = tap.recv_multipart()
            topics.add(topic)
            if topic.startswith(b"TASK"):
                parts = []
                while record:
                    size = int.from_bytes(record[:4], "big")
                    parts, record = parts + [record[4:4 + size]], record[4 + size:]
                meta, magic, kind, envelope, _ = parts
                self.assertEqual((magic, kind), (kfx.MAGIC, bytes([kfx.TASK])))
                self.assertEqual(kfx.unpack(envelope)["key"], "cp1")
                about = kfx.unpack(meta)
                self.assertEqual((about["out"], about["timed"], about["peer"]), (True, True, "py-worker"))
            elif topic.startswith(b"STATS"):
                self.assertEqual(kfx.unpack(record)["service"], "storage")


class Refusals(Protocol):
    def setUp(self):
        super().setUp()
        self.site.start_bus()

    def hello(self, sock, **more):
        sock.send_multipart(kfx.message(kfx.HELLO, {"role": "watcher", "seq": 1, "vmin": 1, "vmax": 1, "epoch": 1, **more}))
        return self.answer(sock)

    def test_malformed_messages(self):
        sock = self.raw()
        good = kfx.message(kfx.PING, {"seq": 1})
        pairs = lambda raw: [kfx.MAGIC, b"\x03", raw, b""]  # noqa: E731
        for frames in (good[:3], good + [b""], [b"KFX/2"] + good[1:], [good[0], b"\x03\x03"] + good[2:],
                       pairs(b""), pairs(b"\xc1"), pairs(msgpack.packb([1])), pairs(msgpack.packb({"seq": -1})),
                       pairs(msgpack.packb({"seq": 1.5})), pairs(msgpack.packb({"seq": "1"})),
                       pairs(msgpack.packb({"key": "x" * 256})), pairs(msgpack.packb({"key": b"bytes"})),
                       pairs(msgpack.packb({"key": "a\0b"})), pairs(b"\x81\xa3key\xa2\xff\xfe"),
                       pairs(msgpack.packb({"credit": 1 << 32})), pairs(msgpack.packb({"state": 6})),
                       pairs(msgpack.packb({"outcome": 6})), pairs(msgpack.packb({"x": msgpack.ExtType(1, b"")})),
                       pairs(msgpack.packb({"x": [[[[[[[]]]]]]]})), pairs(msgpack.packb({"seq": 1}) + b"\0"),
                       pairs(b"\xdf\xff\xff\xff\xff"), pairs(msgpack.packb({"must": ["from-the-future"]})),
                       pairs(msgpack.packb({"must": "seq"}))):
            sock.send_multipart(frames)
            kind, env = self.answer(sock)
            self.assertEqual((kind, env["code"]), (kfx.ERROR, kfx.PROTOCOL), frames)

    def test_what_is_ignored(self):
        sock = self.raw()
        self.assertEqual(self.hello(sock, unknown={"a": [1, 2.5]}, must=["seq", "epoch"])[0], kfx.WELCOME)
        sock.send_multipart(kfx.message(99, {"seq": 1}))  # a kind of the future
        sock.send_multipart([kfx.MAGIC, bytes([kfx.HELLO]), b"\x84\xa4role\xa7watcher\xa5epoch\x01\xa3seq\x01\xa3seq\x07", b""])
        while (got := self.answer(sock))[0] == kfx.STATUS:
            pass
        self.assertEqual((got[0], got[1]["seq"]), (kfx.WELCOME, 7))  # the last of a name that occurs twice counts

    def test_versions(self):
        sock = self.raw()
        kind, env = self.hello(sock, vmin=2, vmax=3)
        self.assertEqual((kind, env["code"]), (kfx.ERROR, kfx.INVALID))
        kind, env = self.hello(sock, vmin=1, vmax=9)
        self.assertEqual((kind, env["vmin"], env["vmax"]), (kfx.WELCOME, 1, 1))

    def test_window_is_enforced(self):
        sock = self.raw()
        sock.sndhwm = 0
        welcome = self.hello(sock)[1]
        self.site.bus.signal(STOP)
        for i in range(5000):
            env = {"lease": welcome["lease"], "epoch": 1, "service": "storage", "key": f"cp{i}", "uid": "u", "seq": i + 1}
            sock.send_multipart(kfx.message(kfx.EVENT, env))
        self.site.bus.signal(CONT)
        acked, refused = set(), set()
        while len(acked) + len(refused) < 5000:
            kind, env = self.answer(sock)
            if kind == kfx.ACK:
                acked.add(env["key"])
            elif kind == kfx.ERROR:
                self.assertEqual((env["code"], env["seq"]), (kfx.BUSY, int(env["key"][2:]) + 1))
                refused.add(env["key"])
        self.assertGreaterEqual(len(acked), welcome["window"])
        self.assertGreater(len(refused), 0)
        self.assertIn(f'kubeflex_bus_refusals_total{{service="storage"}} {len(refused)}', self.site.metrics())

    def test_order_and_contents(self):
        sock = self.raw()
        sock.send_multipart(kfx.message(kfx.PING, {"seq": 1}))
        self.assertEqual(self.answer(sock)[1]["code"], kfx.UNAUTHORIZED)
        lease = self.hello(sock)[1]["lease"]
        for env, code in (({"key": "cp1", "seq": 1}, kfx.INVALID),
                          ({"key": "cp1", "uid": "u", "seq": 1, "epoch": 2, "service": "storage"}, kfx.INVALID),
                          ({"key": "cp1", "uid": "u", "seq": 1, "epoch": 1, "service": "nowhere"}, kfx.NOT_FOUND)):
            sock.send_multipart(kfx.message(kfx.EVENT, {"lease": lease, **env}))
            while (got := self.answer(sock))[0] == kfx.STATUS:
                pass
            self.assertEqual((got[0], got[1]["code"], got[1]["key"]), (kfx.ERROR, code, "cp1"))

    def test_watcher_that_does_not_read_gets_each_ack_later(self):
        """PONGs that it leaves lying fill all room on the way to it, so that no ACK can be sent."""
        sock = self.raw()
        sock.rcvhwm = 1
        lease = self.hello(sock)[1]["lease"]
        for seq in range(1, 40001):
            sock.send_multipart(kfx.message(kfx.PING, {"lease": lease, "seq": seq}))
        keys = {f"cp{i}" for i in range(20)}
        for key in keys:
            sock.send_multipart(kfx.message(kfx.EVENT, {"lease": lease, "key": key, "uid": "u", "seq": 1, "epoch": 1,
                                                        "service": "reconcile.k8s"}))
        self.site.metric("kubeflex_bus_messages_total", 1 + 40000 + len(keys))
        pongs, acked = 0, set()
        while acked != keys:
            kind, env = self.answer(sock)
            pongs += kind == kfx.PONG
            if kind == kfx.ACK:
                acked.add(env["key"])
        self.assertLess(pongs, 40000)  # or there was room for all

    def test_roles_may_send_their_kinds_only(self):
        for role, folder, kinds in (("watcher", "watcher", (kfx.TASK, kfx.DONE, kfx.STATUS, kfx.WELCOME, kfx.ERROR)),
                                    ("storage", "storage", (kfx.ACK, kfx.TASK, kfx.CANCEL, kfx.PONG))):
            sock = self.raw(folder)
            kind, env = self.hello(sock, role=role, epoch=0)
            self.assertEqual(kind, kfx.WELCOME)
            for kind in kinds:
                sock.send_multipart(kfx.message(kind, {"lease": env["lease"], "key": "cp1"}))
                while (got := self.answer(sock))[0] == kfx.STATUS:
                    pass
                self.assertEqual(got[1]["code"], kfx.FORBIDDEN, (role, kind))

    def test_worker_keeps_to_its_service(self):
        sock = self.raw("reconciler-k8s")
        kind, env = self.hello(sock, role="reconciler:k8s", service="storage", epoch=0)
        self.assertEqual((kind, env["code"]), (kfx.ERROR, kfx.FORBIDDEN))
        kind, env = self.hello(sock, role="reconciler:k8s", service="reconcile.k8s", epoch=0)
        self.assertEqual(kind, kfx.WELCOME)
        for kind, more in ((kfx.DONE, {"service": "storage", "outcome": 1}), (kfx.STATUS, {"service": "reconcile.ocm"}),
                           (kfx.EVENT, {"uid": "u"}), (kfx.SYNC, {"state": kfx.BEGIN})):
            sock.send_multipart(kfx.message(kind, {"lease": env["lease"], "key": "cp1", "task": 1, **more}))
            self.assertEqual(self.answer(sock)[1]["code"], kfx.FORBIDDEN)


class CurveRoles(Roles):
    curve = True


class CurveMixed(Mixed):
    curve = True


class CurveRefusals(Refusals):
    curve = True

    def test_role_is_the_keys(self):
        sock = self.raw("storage")
        kind, env = self.hello(sock, role="watcher")
        self.assertEqual((kind, env["code"]), (kfx.ERROR, kfx.FORBIDDEN))


class Rotation(Protocol):
    curve = True

    def test_renew(self):
        store = Store()
        self.addCleanup(store.close)
        config = os.path.join(self.site.dir, "kubeconfig")
        store.kubeconfig(config)
        self.site.start_bus(kubeconfig=config)
        store.dump(self.site.keys)
        watcher = self.watcher()
        worker = self.worker()
        watcher.expect("STATE", "reconcile.k8s", kfx.UP)
        watcher.event("cp1", 1)
        worker.expect("TASK", "cp1")
        store.delete("kubeflex-bus-reconciler-k8s")
        self.site.bus.expect("key replaced.*role=reconciler:k8s")
        store.dump(self.site.keys)
        worker.expect("RENEW")
        worker.expect("CONNECTED")
        worker.finish("cp1", message="over two connections")
        watcher.expect("DONE", "reconcile.k8s", "cp1", "u1", 1, kfx.OK, "over two connections")


if __name__ == "__main__":
    unittest.main(verbosity=2)
