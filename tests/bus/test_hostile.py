"""Peers that do harm without breaking the protocol: thousands of HELLOs, connections that trickle, connections that are open
at one end only. The bus has to go on serving the others meanwhile."""
import os
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import client as kfx  # noqa: E402
from harness import Site  # noqa: E402

PROXY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kube", "freeze_proxy.py")


class Hostile(unittest.TestCase):
    def setUp(self):
        self.site = Site(curve=True)
        self.addCleanup(self.site.close)
        self.site.start_bus()
        self.host, self.port = self.site.bind.removeprefix("tcp://").split(":")
        self.watcher = self.site.watcher()
        self.watcher.expect("^CONNECTED")
        self.seq = 0

    def raw(self):
        sock = kfx.dealer(self.site.bind, kfx.keys_from(f"{self.site.keys}/kubeflex-bus-storage"))
        sock.rcvtimeo = 15000
        self.addCleanup(sock.close)
        return sock

    def event(self, key):
        self.seq += 1
        self.watcher.say(f"event reconcile.k8s {key} u1 1 {self.seq} 0")

    def works(self):
        """Something goes all the way."""
        self.event(f"ok-{self.seq}")
        self.watcher.expect(f"^DONE reconcile.k8s ok-{self.seq - 1} ")

    def hello(self, sock, seq):
        sock.send_multipart(kfx.message(kfx.HELLO, {"role": "storage", "service": "storage", "seq": seq, "vmin": 1, "vmax": 1}))

    def answers(self, sock, count):
        """What came of so many messages: (WELCOMEs, Busy ERRORs)."""
        welcomes = busy = 0
        for _ in range(count):
            _, kind, envelope, _ = sock.recv_multipart()
            welcomes += kind[0] == kfx.WELCOME
            busy += kind[0] == kfx.ERROR and kfx.unpack(envelope).get("code") == kfx.BUSY
        return welcomes, busy

    def test_thousands_of_hellos_on_one_connection(self):
        self.site.worker()
        sock = self.raw()
        for seq in range(1, 3001):
            self.hello(sock, seq)
            if seq % 100 == 0:
                self.assertEqual(self.answers(sock, 100), (100, 0))
        self.works()
        self.site.metric("kubeflex_bus_sessions", 3)
        self.assertIn("\nkubeflex_bus_sessions 3\n", self.site.metrics())  # each replaced the one before

    def test_more_sessions_than_there_may_be(self):
        worker = self.site.worker()
        worker.expect("bus says welcome")
        socks = [self.raw() for _ in range(600)]
        for sock in socks:
            self.hello(sock, 1)
        found = [self.answers(sock, 1) for sock in socks]
        self.assertEqual(sum(welcomes for welcomes, _ in found), 510)  # 512, of which two were there
        self.assertEqual(sum(busy for _, busy in found), 90)
        self.works()
        for sock in socks:
            sock.close()
        deadline = time.monotonic() + 20
        while "\nkubeflex_bus_sessions 2\n" not in self.site.metrics() and time.monotonic() < deadline:
            time.sleep(0.1)
        late = self.raw()
        self.hello(late, 1)
        self.assertEqual(self.answers(late, 1), (1, 0))  # their places are free again

    def test_trickling_connections_are_cut(self):
        self.site.worker()
        socks = []
        for number in range(200):
            sock = socket.create_connection((self.host, int(self.port)))
            self.addCleanup(sock.close)
            sock.settimeout(20)
            sock.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f"[:number % 11])  # the beginning of a greeting, or nothing
            socks.append(sock)
        self.works()
        for sock in socks:
            while sock.recv(4096):  # the bus's own greeting, then the end of its patience
                pass
        self.works()

    def test_half_open_connection_is_left_for_another(self):
        proxy = self.site.start(sys.executable, PROXY, self.host, self.port)
        port = proxy.expect(r"^PORT (\d+)").group(1)
        direct, self.site.bind = self.site.bind, f"tcp://127.0.0.1:{port}"
        first = self.site.worker(name="w1")
        self.site.bind = direct
        self.watcher.expect("^SERVICE reconcile.k8s up")
        self.event("deaf-1")
        first.expect("^RUN deaf-1")
        second = self.site.worker(name="w2")
        self.site.bus.expect("session begins.*peer=w2")
        proxy.say("freeze")  # both ends still see it open
        first.expect("bus is away")
        first.expect("bus says welcome")  # within the grace, so the run goes on
        self.site.flag("deaf-1")
        first.expect("^END deaf-1 1 ok open")
        self.watcher.expect("^DONE reconcile.k8s deaf-1 u1 1 ok")
        self.works()
        self.assertEqual(second.count("^RUN deaf-1"), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
