"""The bus with real processes: kubeflex-bus, workers, a watcher and a tap, over ipc:// and over tcp with CURVE."""
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_secrets import Store  # noqa: E402
from harness import CONT, KILL, PATIENCE, STOP, TERM, Site  # noqa: E402


def event(watcher, key, seq, service="reconcile.k8s", uid="u1", generation=1, deleting=0):
    watcher.say(f"event {service} {key} {uid} {generation} {seq} {deleting}")


class BusTest(unittest.TestCase):
    curve = False

    def setUp(self):
        self.site = Site(self.curve)
        self.addCleanup(self.site.close)
        self.addCleanup(self.check_recording)

    def check_recording(self):
        """Whatever the scenario was, no secret was in any message of it."""
        if not self.site.recorder:
            return
        data = self.site.recorded()
        self.assertGreater(data.count(b"KFX/1"), 4)
        for secret in self.site.secrets():
            self.assertNotIn(secret, data)

    def ready(self, hold=0, **worker):
        self.site.start_bus(hold)
        self.site.record()
        watcher = self.site.watcher()
        watcher.expect("^CONNECTED")
        one = self.site.worker(**worker)
        watcher.expect(f"^SERVICE {worker.get('service', 'reconcile.k8s')} up")
        return watcher, one


class EndToEnd(BusTest):
    def test_event_task_done_ack(self):
        watcher, worker = self.ready()
        event(watcher, "ok-1", 7)
        worker.expect(r"^RUN ok-1 u1 7 0")
        watcher.expect(r"^DONE reconcile.k8s ok-1 u1 7 ok children 1")

    def test_unacked_result_goes_to_the_next_watcher(self):
        watcher, _ = self.ready()
        watcher.say("acks off")
        event(watcher, "ok-1", 1)
        event(watcher, "ok-2", 2)
        watcher.expect("^DONE reconcile.k8s ok-1")
        watcher.kill()
        second = self.site.watcher(name="watcher-2", epoch=2)
        second.expect("^CONNECTED")
        second.expect("^DONE reconcile.k8s ok-[12]")
        second.expect("^DONE reconcile.k8s ok-[12]")

    def test_acked_result_does_not_come_again(self):
        watcher, worker = self.ready()
        event(watcher, "ok-1", 1)
        watcher.expect("^DONE reconcile.k8s ok-1")
        event(watcher, "ok-2", 2)  # its DONE is behind the ACK of the first on both ways
        watcher.expect("^DONE reconcile.k8s ok-2")
        watcher.kill()
        second = self.site.watcher(name="watcher-2", epoch=2)
        second.expect("^CONNECTED")
        event(second, "ok-3", 1)
        second.expect("^DONE reconcile.k8s ok-3")
        self.assertEqual(second.count("DONE reconcile.k8s ok-1"), 0)
        self.assertEqual(worker.count("^RUN ok-1"), 1)

    def test_events_coalesce_while_the_key_runs(self):
        watcher, worker = self.ready()
        event(watcher, "hold-1", 1)
        worker.expect("^RUN hold-1 u1 1 ")
        for seq in range(2, 50):
            event(watcher, "hold-1", seq)
        event(watcher, "ok-mark", 50)  # when this one ran, the bus has taken all before it
        watcher.expect("^DONE reconcile.k8s ok-mark")
        self.site.flag("hold-1")
        worker.expect("^RUN hold-1 u1 49 ")
        watcher.expect("^DONE reconcile.k8s hold-1 u1 49 ok")
        self.assertEqual(worker.count("^RUN hold-1"), 2)

    def test_many_events_go_through_the_window(self):
        watcher, _ = self.ready(threads=8)
        for i in range(1, 1001):
            event(watcher, f"ok-{i}", i)
        for _ in range(1000):
            watcher.expect("^DONE reconcile.k8s ok-")

    def test_failure_comes_back_with_attempts(self):
        watcher, worker = self.ready()
        event(watcher, "fail-1", 1)
        worker.expect("^RUN fail-1 u1 1 0")
        worker.expect("^RUN fail-1 u1 1 1")
        worker.expect("^RUN fail-1 u1 1 2")
        event(watcher, "fail-1", 2, generation=2)
        worker.expect("^RUN fail-1 u1 2 0")

    def test_deletion_cancels(self):
        watcher, worker = self.ready()
        event(watcher, "hold-1", 1)
        worker.expect("^RUN hold-1 u1 1 ")
        watcher.expect("^PROGRESS hold-1 holding hold-1")
        event(watcher, "hold-1", 2, deleting=1)
        worker.expect("^END hold-1 1 retry")
        worker.expect("^RUN hold-1 u1 2 0")

    def test_snapshot_sweeps_what_it_does_not_name(self):
        watcher, worker = self.ready()
        event(watcher, "hold-1", 1)
        worker.expect("^RUN hold-1")
        watcher.say("begin")
        event(watcher, "ok-1", 2)
        watcher.say("end")
        worker.expect("^END hold-1 1 retry")
        event(watcher, "ok-2", 3)
        watcher.expect("^DONE reconcile.k8s ok-2")
        self.assertEqual(watcher.count("DONE reconcile.k8s hold-1"), 0)

    def test_down_target_stops_the_service_not_the_key(self):
        watcher, worker = self.ready(role="storage", service="storage")
        event(watcher, "down-1", 1, service="storage")
        watcher.seen("^DONE storage down-1 u1 1 down")
        watcher.expect("^SERVICE storage down .")
        watcher.expect("^SERVICE storage down no route")
        self.site.flag("refused")
        watcher.expect("^SERVICE storage down refused")
        event(watcher, "ok-1", 2, service="storage")
        tap = self.site.tap("PING")
        tap.expect('^PING.*"state":"down"')
        self.site.flag("up")
        watcher.expect("^SERVICE storage up")
        for credit in (1, 2, 4):  # it reopens gradually
            tap.expect(f'^PING.*"credit":{credit},')
        worker.expect("^RUN down-1 u1 1 0")
        watcher.expect("^DONE storage ok-1")

    def test_tasks_spread_over_the_workers(self):
        watcher, first = self.ready(name="w1", threads=4)
        second = self.site.worker(name="w2", threads=4)
        tap = self.site.tap("PING")
        tap.expect('^PING.*"sender":"w2"')
        for i in range(12):
            event(watcher, f"hold-{i}", i + 1)
        for worker in (first, second):
            for _ in range(4):
                worker.expect("^RUN hold-")
        third = self.site.worker(name="w3", threads=4)  # more hands: the rest goes there at once
        for _ in range(4):
            third.expect("^RUN hold-")
        for i in range(12):
            self.site.flag(f"hold-{i}")
        for _ in range(12):
            watcher.expect("^DONE reconcile.k8s hold-")
        self.assertEqual([w.count("^RUN") for w in (first, second, third)], [4, 4, 4])

    def test_no_worker_is_told(self):
        self.site.start_bus()
        watcher = self.site.watcher()
        watcher.expect("^SERVICE reconcile.k8s no-worker")
        worker = self.site.worker()
        watcher.expect("^SERVICE reconcile.k8s up")
        worker.signal(TERM)
        watcher.expect("^SERVICE reconcile.k8s no-worker", 3)
        self.assertEqual(worker.wait(), 0)

    def test_only_the_highest_revision_works(self):
        watcher, old = self.ready(name="old", revision=1)
        new = self.site.worker(name="new", revision=2)
        self.site.bus.expect("session begins.*peer=new")
        tap = self.site.tap("PING")  # its first PING is behind HELLO and the announcements
        tap.expect('^PING.*"sender":"new"')
        for i in range(20):
            event(watcher, f"ok-{i}", i + 1)
        for _ in range(20):
            watcher.expect("^DONE")
        self.assertEqual(old.count("^RUN"), 0)
        new.signal(TERM)
        new.wait()
        event(watcher, "ok-last", 30)
        old.expect("^RUN ok-last")

    def test_older_epoch_is_refused_and_newer_takes_over(self):
        self.site.start_bus()
        second = self.site.watcher(name="watcher-2", epoch=5)
        second.expect("^CONNECTED")
        first = self.site.watcher(name="watcher-1", epoch=4)
        first.expect("^STALE 5")
        third = self.site.watcher(name="watcher-3", epoch=6)
        third.expect("^CONNECTED")
        second.expect("^STALE 6")

    def test_tap_shows_messages(self):
        watcher, _ = self.ready()
        tap = self.site.tap("DONE reconcile.k8s")
        tap.expect("^LISTENING")
        for seq in range(1, 200):  # until the subscription has reached the bus
            event(watcher, "ok-1", seq)
            watcher.expect(f"^DONE reconcile.k8s ok-1 u1 {seq} ok")
            if tap.count("^DONE"):
                break
        found = tap.expect(r"^DONE reconcile.k8s ok-1\t(.*)\t2$")
        seen = json.loads(found.group(1))
        self.assertEqual(seen["key"], "ok-1")
        self.assertEqual(seen["uid"], "u1")
        self.assertIn(seen["direction"], ("in", "out"))
        self.assertIn("identity", seen)


    def test_garbage_does_not_hurt(self):
        watcher, worker = self.ready()
        event(watcher, "hold-1", 1)
        worker.expect("^RUN hold-1")
        garbage = self.site.garbage()
        garbage.expect("^SENT", 60)
        garbage.expect("^CUT")
        self.site.flag("hold-1")
        watcher.expect("^DONE reconcile.k8s hold-1 u1 1 ok")
        event(watcher, "ok-1", 2)
        watcher.expect("^DONE reconcile.k8s ok-1 u1 2 ok")
        self.site.bus.signal(TERM)
        self.assertEqual(self.site.bus.wait(), 0)

    def test_health_and_metrics(self):
        watcher, _ = self.ready()
        event(watcher, "ok-1", 1)
        watcher.expect("^DONE")

        def get(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.site.health}{path}", timeout=5) as answer:
                return answer.read().decode()

        get("/healthz")
        get("/readyz")
        metrics = get("/metrics")
        self.assertIn('kubeflex_bus_tasks_total{service="reconcile.k8s"} 1', metrics)
        self.assertIn('kubeflex_bus_dispatch_seconds_count{service="reconcile.k8s"} 1', metrics)
        for name in ("ready", "running", "delayed", "unacked", "oldest_seconds", "redeliveries_total", "refusals_total"):
            self.assertIn(f'kubeflex_bus_{name}{{service="reconcile.k8s"}} 0', metrics)

    def test_age_of_the_oldest_is_measured(self):
        watcher, worker = self.ready(threads=1)
        event(watcher, "hold-1", 1)
        worker.expect("^RUN hold-1")
        event(watcher, "ok-2", 2)
        self.site.metric('kubeflex_bus_ready{service="reconcile.k8s"}', 1)
        self.site.metric('kubeflex_bus_oldest_seconds{service="reconcile.k8s"}', 1)
        self.site.flag("hold-1")
        watcher.expect("^DONE reconcile.k8s ok-2")


class Faults(BusTest):
    def test_killed_worker_is_replaced(self):
        watcher, first = self.ready(name="w1")
        event(watcher, "hold-1", 1)
        first.expect("^RUN hold-1")
        second = self.site.worker(name="w2")
        self.site.bus.expect("session begins.*peer=w2")
        first.signal(KILL)
        self.site.flag("hold-1")
        second.expect("^RUN hold-1 u1 1 0", 6)
        watcher.expect("^DONE reconcile.k8s hold-1 u1 1 ok")

    def test_late_result_of_a_frozen_worker_is_refused(self):
        watcher, first = self.ready(name="w1")
        event(watcher, "deaf-1", 1)
        first.expect("^RUN deaf-1")
        first.signal(STOP)
        second = self.site.worker(name="w2")
        second.expect("^RUN deaf-1 u1 1 0")
        tap = self.site.tap("PING")
        tap.expect('^PING.*"sender":"w2"')
        first.signal(CONT)
        first.expect("bus says welcome")
        tap.expect('^PING.*"sender":"w1"')
        tap.expect('^PING.*"sender":"w1"')  # one round trip at least
        self.site.flag("deaf-1")
        second.expect("^END deaf-1 1 ok open")
        first.expect("^END deaf-1 1 ok shut")  # no write may start while the old run lasts
        watcher.expect("^DONE reconcile.k8s deaf-1")
        second.signal(TERM)
        second.wait()
        event(watcher, "ok-1", 2)
        watcher.expect("^DONE reconcile.k8s ok-1")
        self.assertEqual(watcher.count("DONE reconcile.k8s deaf-1"), 1)

    def test_bus_restart_keeps_running_tasks_and_loses_nothing(self):
        watcher, worker = self.ready()
        event(watcher, "hold-1", 1)
        event(watcher, "fail-1", 2)
        worker.expect("^RUN hold-1")
        self.site.bus.kill()
        self.site.start_bus(hold=4500)
        watcher.expect("^DISCONNECTED")
        watcher.expect("^CONNECTED")
        watcher.say("begin")
        for key, seq in (("hold-1", 3), ("fail-1", 4), ("ok-1", 5)):
            event(watcher, key, seq)
        watcher.say("end")
        worker.expect("bus says welcome")
        self.site.flag("hold-1")
        watcher.expect("^DONE reconcile.k8s hold-1 u1 1 ok")
        watcher.expect("^DONE reconcile.k8s hold-1 u1 3 ok")
        watcher.expect("^DONE reconcile.k8s ok-1 u1 5 ok")
        self.assertEqual(worker.count("^RUN hold-1"), 2)

    def test_result_ready_while_the_bus_is_away_is_delivered(self):
        watcher, worker = self.ready()
        event(watcher, "hold-1", 1)
        worker.expect("^RUN hold-1")
        self.site.bus.kill()
        self.site.flag("hold-1")
        worker.expect("^END hold-1 1 ok")
        self.site.start_bus(hold=4500)
        watcher.expect("^DONE reconcile.k8s hold-1 u1 1 ok")

    def test_drain_finishes_running_and_gives_back_the_rest(self):
        watcher, first = self.ready(name="w1", threads=1)
        event(watcher, "hold-1", 1)
        first.expect("^RUN hold-1")
        event(watcher, "ok-2", 2)
        second = self.site.worker(name="w2")
        second.expect("^RUN ok-2")
        first.signal(TERM)
        first.expect("draining")
        self.site.flag("hold-1")
        watcher.expect("^DONE reconcile.k8s hold-1 u1 1 ok")
        first.expect("^STOPPED 0")
        self.assertEqual(second.count("^RUN hold-1"), 0)

    def test_drain_hands_over_at_its_end(self):
        watcher, first = self.ready(name="w1", drain_ms=200)
        event(watcher, "hold-1", 1)
        first.expect("^RUN hold-1")
        second = self.site.worker(name="w2")
        self.site.bus.expect("session begins.*peer=w2")
        first.signal(TERM)
        first.expect("^END hold-1 1 retry")
        second.expect("^RUN hold-1 u1 1 0", 3)
        first.expect("^STOPPED 0")

    def test_frozen_bus_does_not_double_a_run(self):
        watcher, worker = self.ready()
        event(watcher, "hold-1", 1)
        worker.expect("^RUN hold-1")
        self.site.bus.signal(STOP)
        worker.expect("bus is away")
        self.site.bus.signal(CONT)
        worker.expect("bus says welcome")
        self.site.flag("hold-1")
        watcher.expect("^DONE reconcile.k8s hold-1 u1 1 ok", 20)


class Curve(EndToEnd):
    """All of the above once more, over TCP with CURVE, and what only CURVE has."""
    curve = True

    def test_wrong_key_gets_no_session(self):
        self.site.start_bus()
        other = Site(curve=True)
        self.addCleanup(other.close)
        other.start_bus()  # makes other keys
        worker = self.site.worker(keys=other.keys)
        worker.expect("bus is away")
        self.assertEqual(self.site.bus.count("session begins"), 0)

    def test_unknown_client_key_is_refused(self):
        self.site.start_bus()
        other = Site(curve=True)
        self.addCleanup(other.close)
        other.start_bus()
        folder = "kubeflex-bus-reconciler-k8s"
        with open(os.path.join(self.site.keys, folder, "server.key"), encoding="ascii") as file:
            server = file.read()
        with open(os.path.join(other.keys, folder, "server.key"), "w", encoding="ascii") as file:
            file.write(server)  # knows the right server, but is a stranger
        worker = self.site.worker(keys=other.keys)
        self.site.bus.expect("connection refused: unknown key")
        worker.expect("bus is away")
        self.site.metric("kubeflex_bus_connections_refused_total", 3)  # each attempt is counted, the first one logged
        self.assertEqual(self.site.bus.count("connection refused"), 1)
        self.assertEqual(self.site.bus.count("session begins"), 0)

    def test_role_cannot_serve_another_service(self):
        self.site.start_bus()
        worker = self.site.worker(role="storage", service="reconcile.k8s")
        worker.expect("bus refuses.*Forbidden")
        self.site.bus.expect("message refused.*Forbidden")
        self.site.metric('kubeflex_bus_refusals_total{service="reconcile.k8s"}', 2)
        self.assertEqual(self.site.bus.count("message refused"), 1)
        self.assertEqual(self.site.bus.count("session begins"), 0)

    def test_worker_key_cannot_listen_to_the_tap(self):
        self.site.start_bus()
        self.site.tap("", role="storage")
        self.site.bus.expect("connection refused: unknown key.*domain=tap")

    def test_tap_key_cannot_work(self):
        self.site.start_bus()
        self.site.tap("", role="tap", endpoint=self.site.bind)
        self.site.bus.expect("connection refused: unknown key.*domain=work")


class Keystore(unittest.TestCase):
    """Keys in Secrets, at an API server that knows nothing else."""

    def setUp(self):
        self.site = Site(curve=True)
        self.addCleanup(self.site.close)
        self.store = Store()
        self.addCleanup(self.store.close)
        self.config = os.path.join(self.site.dir, "kubeconfig")
        self.store.kubeconfig(self.config)

    def test_keys_are_made_once_and_serve(self):
        self.site.start_bus(kubeconfig=self.config)
        self.assertEqual(len(self.store.secrets), 10)
        before = json.dumps(self.store.secrets, sort_keys=True)
        self.store.dump(self.site.keys)
        watcher = self.site.watcher()
        watcher.expect("^CONNECTED")
        self.site.bus.kill()
        self.site.start_bus(kubeconfig=self.config)
        watcher.expect("^DISCONNECTED")
        watcher.expect("^CONNECTED")
        self.assertEqual(json.dumps(self.store.secrets, sort_keys=True), before)

    def test_key_is_rotated_without_downtime(self):
        self.site.start_bus(kubeconfig=self.config, window=3000)
        self.store.dump(self.site.keys)
        old_keys = os.path.join(self.site.dir, "old-keys")
        self.store.dump(old_keys)
        watcher = self.site.watcher()
        watcher.expect("^CONNECTED")
        worker = self.site.worker(role="storage", service="storage")
        watcher.expect("^SERVICE storage up")
        event(watcher, "hold-1", 1, service="storage")
        worker.expect("^RUN hold-1")
        laggard = self.site.worker(name="laggard", role="storage", service="storage", revision=0, keys=old_keys)
        laggard.expect("bus says welcome")
        self.store.delete("kubeflex-bus-storage")
        self.store.delete("kubeflex-bus-watcher")
        for role in ("storage", "watcher"):
            self.site.bus.seen(f"key replaced.*role={role}")
        stranger = self.site.worker(name="stranger", role="storage", service="storage", revision=0, keys=old_keys)
        stranger.expect("bus says welcome")  # the old key still lets in
        self.store.dump(self.site.keys)
        for client in (worker, watcher):
            client.expect("keys read again")
            client.expect("bus says welcome")
        self.site.flag("hold-1")
        watcher.expect("^DONE storage hold-1 u1 1 ok")
        self.assertEqual(worker.count("^RUN hold-1"), 1)  # the run outlived its connection
        self.assertEqual(worker.count("bus is away"), 0)
        self.assertEqual(watcher.count("bus is away"), 0)
        self.site.bus.expect("message refused.*peer=(laggard|stranger).*Unauthorized", 20)  # the window is over
        event(watcher, "ok-2", 2, service="storage")
        watcher.expect("^DONE storage ok-2")

    def test_tap_key_ends_and_cuts_the_tap(self):
        self.site.start_bus(kubeconfig=self.config, window=1000)
        self.store.dump(self.site.keys)
        old_keys = os.path.join(self.site.dir, "old-keys")
        self.store.dump(old_keys)
        tap, thief = self.site.kflex(), self.site.kflex(keys=old_keys)
        for listener in (tap, thief):
            listener.expect("^Listening to")
        self.store.delete("kubeflex-bus-tap")
        self.site.bus.expect("key replaced.*role=tap")
        self.store.dump(self.site.keys)
        self.site.bus.expect("taps are cut")
        for listener in (tap, thief):
            listener.expect("^The bus is away")
        tap.expect("^Listening again", 30)
        watcher = self.site.watcher()
        watcher.expect("^CONNECTED")
        tap.expect("HELLO")
        self.site.bus.seen("connection refused.*domain=tap")
        self.assertEqual(thief.count("HELLO"), 0)

    def test_deleted_key_is_made_anew_and_the_old_one_refused(self):
        self.site.start_bus(kubeconfig=self.config, window=0)
        self.store.dump(self.site.keys)
        worker = self.site.worker(role="storage", service="storage")
        worker.expect("bus says welcome")
        old = self.store.secrets["kubeflex-bus-storage"]["data"]["public.key"]
        self.store.delete("kubeflex-bus-storage")
        self.site.bus.expect("key replaced.*role=storage")
        self.assertNotEqual(self.store.secrets["kubeflex-bus-storage"]["data"]["public.key"], old)
        self.site.bus.expect("message refused.*Unauthorized")
        self.store.dump(self.site.keys)
        worker.expect("keys read again", 30)
        worker.expect("bus says welcome")

    def test_own_key_is_rotated_by_a_restart(self):
        self.site.start_bus(kubeconfig=self.config)
        self.store.dump(self.site.keys)
        watcher = self.site.watcher()
        watcher.expect("^CONNECTED")
        worker = self.site.worker(role="storage", service="storage")
        watcher.expect("^SERVICE storage up")
        self.site.bus.kill()
        self.store.delete("kubeflex-bus")
        self.site.start_bus(kubeconfig=self.config)
        self.store.dump(self.site.keys)
        for client in (watcher, worker):  # nobody restarts them
            client.expect("keys read again", 30)
            client.expect("bus says welcome")
        event(watcher, "ok-1", 1, service="storage")
        watcher.expect("^DONE storage ok-1")

    def test_server_key_of_a_role_is_corrected(self):
        self.site.start_bus(kubeconfig=self.config)
        self.site.bus.kill()
        self.store.delete("kubeflex-bus")
        self.site.start_bus(kubeconfig=self.config)
        server = self.store.secrets["kubeflex-bus"]["data"]["public.key"]
        for name, secret in self.store.secrets.items():
            if name != "kubeflex-bus":
                self.assertEqual(secret["data"]["server.key"], server)


class Tap(BusTest):
    """kflex tap at a real bus."""

    def test_lines_and_filters(self):
        watcher, _ = self.ready()
        everything = self.site.kflex()
        done = self.site.kflex("--kind", "DONE", "--key", "ok-*", "--from", "reconciler:k8s", "--json")
        for tap in (everything, done):
            tap.expect("^Listening")
        warm = 0  # until the subscriptions have reached the bus
        while not (everything.count("EVENT.*warm-") and done.count("ok-warm-")):
            warm += 1
            self.assertLess(warm, 1000)
            event(watcher, f"ok-warm-{warm}", 1)
            watcher.expect(f"^DONE reconcile.k8s ok-warm-{warm} ")
        event(watcher, "wait-1", 1)
        event(watcher, "ok-1", 2)
        watcher.seen("^DONE reconcile.k8s ok-1")
        for line in (r"watcher/1 +bus +EVENT +reconcile.k8s +ok-1 .*B  gen=1 seq=2 type=k8s",
                     r"bus +reconciler:k8s/w1 +TASK +reconcile.k8s +ok-1 +0 +\d+ms",
                     r"reconciler:k8s/w1 +bus +DONE +reconcile.k8s +ok-1 .*ms .*ok .*Synced=True/Test",
                     r"bus +watcher/1 +DONE +reconcile.k8s +ok-1",
                     r"watcher/1 +bus +ACK +reconcile.k8s +ok-1"):
            everything.seen(line)
        self.assertEqual(everything.count("PING|PONG"), 0)
        seen = json.loads(done.expect(r'^{.*"key":"ok-1".*}$').group(0))
        self.assertEqual((seen["kind"], seen["key"], seen["direction"], seen["outcome"], seen["sender"]),
                         ("DONE", "ok-1", "in", "ok", "w1"))
        self.assertIn("latencyMs", seen)
        done.signal(2)
        self.assertEqual(done.wait(), 0)
        self.assertEqual(done.count('^{.*"key":"(ok-1|wait-1)"'), 1)

    def test_stop_behind_a_slow_reader_loses_no_line(self):
        """Ctrl-C while whoever reads the lines lags: the write goes on, kflex ends well."""
        watcher, _ = self.ready()
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        argv = [os.environ["KFX_TEST_KFLEX"], "tap", "--bus", self.site.tap_bind]
        tap = subprocess.Popen(argv + (["--keys-dir", self.site.keys] if self.curve else []), stdout=write,
                               stderr=subprocess.PIPE, text=True)
        self.addCleanup(tap.kill)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as lines, tap.stderr:
            self.assertRegex(tap.stderr.readline(), "^Listening")
            deadline, events = time.monotonic() + PATIENCE, 0
            while not self.blocked_in_write(tap.pid):
                self.assertLess(time.monotonic(), deadline)
                events += 1
                event(watcher, f"ok-{events}", 1)
            tap.send_signal(signal.SIGINT)
            while self.signal_pending(tap.pid):
                self.assertLess(time.monotonic(), deadline)
            written = lines.read().splitlines()
        self.assertEqual(tap.wait(PATIENCE), 0)
        whole = re.compile(r"^\d\d:\d\d:\d\d\.\d{3}  \S+ +\S+ +[A-Z]+ ")
        self.assertEqual([line for line in written[1:] if not whole.match(line)], [])

    @staticmethod
    def blocked_in_write(pid):
        """Whether the program's main thread waits for room in a pipe."""
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return "pipe_write" in file.read()

    @staticmethod
    def signal_pending(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return re.search(r"^ShdPnd:\s*0+$", file.read(), re.MULTILINE) is None

    def test_figures(self):
        watcher, _ = self.ready(threads=1)
        event(watcher, "hold-1", 1)
        watcher.expect("^PROGRESS hold-1")
        event(watcher, "ok-2", 2)
        stats = self.site.kflex("--stats", "--json")
        found = stats.expect(r'^{.*"service":"reconcile.k8s".*"oldestMs":[1-9].*}$')
        seen = json.loads(found.group(0))
        self.assertEqual((seen["workers"], seen["credit"], seen["waiting"], seen["running"]), (1, 1, 1, 1))
        self.assertEqual((seen["events"], seen["tasks"]), (2, 1))
        self.site.flag("hold-1")
        watcher.expect("^DONE reconcile.k8s ok-2")
        found = stats.expect(r'^{.*"service":"reconcile.k8s".*"results":2.*}$')
        self.assertGreater(json.loads(found.group(0))["taskP99Ms"], 0)
        table = self.site.kflex("--stats")
        table.expect("^SERVICE +WORKERS")
        table.expect(r"^reconcile.k8s +1 +1 +0 +0")

    def test_recording_plays_into_another_bus(self):
        watcher, _ = self.ready()
        watcher.say("begin")
        for i in range(1, 31):
            event(watcher, f"ok-{i}", i)
        watcher.say("end")
        for _ in range(30):
            watcher.expect("^DONE reconcile.k8s ok-")
        self.site.recorded()
        other = Site()
        self.addCleanup(other.close)
        other.start_bus()
        player = other.kflex("--replay", self.site.recording, "--speed", "10", endpoint=other.bind)
        player.expect(r"^Played 30 of 30 events; 30 tasks were answered \(30 results were recorded\)")
        self.assertEqual(player.wait(), 0)
        self.assertIn('kubeflex_bus_tasks_total{service="reconcile.k8s"} 30', other.metrics())

    def test_recording_is_shown(self):
        watcher, _ = self.ready()
        event(watcher, "ok-1", 1)
        watcher.expect("^DONE")
        self.site.recorded()
        shown = subprocess.run([os.environ["KFX_TEST_KFLEX"], "tap", "--replay", self.site.recording, "--kind", "TASK"],
                               capture_output=True, text=True, timeout=15, check=True)
        self.assertRegex(shown.stdout, r"TASK +reconcile.k8s +ok-1")

    def test_recording_is_not_played_into_a_bus_at_work(self):
        watcher, _ = self.ready()
        event(watcher, "ok-1", 1)
        watcher.expect("^DONE")
        self.site.recorded()
        watcher.kill()
        second = self.site.watcher(name="watcher-2", epoch=7)
        second.expect("^CONNECTED")
        player = self.site.kflex("--replay", self.site.recording, endpoint=self.site.bind)
        player.expect("^Error: .*that bus has a watcher of epoch 7")
        self.assertEqual(player.wait(), 1)

    def test_tap_comes_back_with_its_bus(self):
        watcher, _ = self.ready()
        tap = self.site.kflex()
        tap.expect("^Listening")
        self.site.bus.kill()
        tap.expect("^The bus is away")
        self.site.start_bus()
        tap.expect("^Listening again")
        watcher.expect("^DISCONNECTED")
        watcher.expect("^CONNECTED")
        event(watcher, "ok-1", 1)
        tap.expect("EVENT +reconcile.k8s +ok-1")


class TapTroubles(BusTest):
    def test_nobody_there(self):
        nowhere = self.site.kflex(endpoint="ipc:///nowhere/tap")
        nowhere.expect("^Error: the bus does not answer at ipc:///nowhere/tap", 30)
        self.assertEqual(nowhere.wait(), 1)
        broken = os.path.join(self.site.dir, "broken")
        with open(broken, "wb") as file:
            file.write(b"KFXTAP1\n\0\0")
        cut = self.site.kflex("--replay", broken, endpoint="ipc:///nowhere/work")
        cut.expect("^Error: .*broken: after 0 messages: the recording ends inside a message")


class CurveTap(Tap):
    curve = True

    def test_recording_plays_into_another_bus(self):
        """Without keys of the roles there is no playing."""
        watcher, _ = self.ready()
        event(watcher, "ok-1", 1)
        watcher.expect("^DONE")
        self.site.recorded()
        with self.assertRaises(subprocess.CalledProcessError) as caught:
            subprocess.run([os.environ["KFX_TEST_KFLEX"], "tap", "--replay", self.site.recording, "--bus", self.site.bind],
                           capture_output=True, text=True, timeout=15, check=True)
        self.assertIn("wants keys", caught.exception.stderr)


class Forwarded(unittest.TestCase):
    """kflex tap finds its bus: by the Secret, a pod and a port-forward of the API server."""

    def setUp(self):
        self.site = Site(curve=True)
        self.addCleanup(self.site.close)
        self.store = Store()
        self.addCleanup(self.store.close)
        self.config = os.path.join(self.site.dir, "kubeconfig")
        self.store.kubeconfig(self.config)

    def tap(self, *options):
        return self.site.start(os.environ["KFX_TEST_KFLEX"], "tap", "--kubeconfig", self.config, *options)

    def bus(self):
        self.site.start_bus(kubeconfig=self.config)
        self.store.dump(self.site.keys)
        host, _, port = self.site.tap_bind[len("tcp://"):].rpartition(":")
        self.store.pods, self.store.forward_to = ["kubeflex-bus-1"], (host, int(port))

    def test_reaches_the_bus_through_the_api_server(self):
        self.bus()
        tap = self.tap("--kind", "PING,DONE")
        tap.expect("^Listening to the bus")
        watcher = self.site.watcher()
        watcher.expect("^CONNECTED")
        worker = self.site.worker(threads=8)
        watcher.expect("^SERVICE reconcile.k8s up")
        tap.expect("PING")
        for i in range(300):
            event(watcher, f"ok-{i}", i + 1)
        for i in range(300):
            tap.seen(rf"reconciler:k8s/w1 +bus +DONE +reconcile.k8s +ok-{i} ")
        self.assertEqual(worker.count("^RUN"), 300)
        tap.signal(2)
        self.assertEqual(tap.wait(), 0)

    def test_comes_back_when_the_pod_is_another(self):
        self.bus()
        tap = self.tap()
        tap.expect("^Listening to the bus")
        self.site.bus.kill()
        tap.expect("^The bus is away")
        self.store.pods = ["kubeflex-bus-2"]
        self.site.start_bus(kubeconfig=self.config)
        tap.expect("^Listening again")

    def test_says_what_is_missing(self):
        tap = self.tap()
        tap.expect("^Error: Secret kubeflex-bus-tap is not in namespace kubeflex-system of context 'x': is KubeFlex running")
        self.bus()
        self.store.forbidden = True
        tap = self.tap()
        tap.expect("^Error: not allowed on the hosting cluster .*portforward")
        self.assertEqual(tap.wait(), 1)
        self.store.forbidden, self.store.pods = False, []
        tap = self.tap()
        tap.expect("^Error: the bus does not answer .*no pod with app.kubernetes.io/name=kubeflex-bus is running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
