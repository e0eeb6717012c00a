#!/usr/bin/env python3
"""The four server programs as processes, before an API server in memory: health, metrics, logs, and what they say about bad
input. test_health.py BUS WATCHER RECONCILER AGENT [unittest arguments]"""
import concurrent.futures
import ctypes
import json
import os
import shutil
import socket
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../bus"), os.path.join(HERE, "../lib")]
from exposition import parse, series  # noqa: E402
from fake_cluster import FakeCluster, kubeconfig  # noqa: E402
from harness import TERM, Proc  # noqa: E402

PROGRAMS = {}
PATIENCE = 15
PLANES = "/apis/tenancy.kflex.kubestellar.org/v1alpha1/controlplanes"
CONFIG = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "kubeflex-config"},
          "data": {"domain": "localtest.me", "externalPort": "9443"}}
PTRACE_CONT, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 7, 17, 0x4206, 0x4207

# What each process has to tell, whatever else it does.
METRICS = {
    "bus": {"kubeflex_bus_ready", "kubeflex_bus_running", "kubeflex_bus_delayed", "kubeflex_bus_unacked",
            "kubeflex_bus_tasks_total", "kubeflex_bus_redeliveries_total", "kubeflex_bus_dispatch_seconds",
            "kubeflex_bus_run_seconds", "kubeflex_bus_messages_total", "kubeflex_bus_refusals_total",
            "kubeflex_bus_sessions"},
    "watcher": {"kubeflex_controlplanes", "kubeflex_controlplane_ready_seconds", "kubeflex_watcher_leader",
                "kubeflex_watcher_events_total", "kubeflex_watcher_results_total", "kubeflex_watcher_writes_total",
                "kubeflex_watcher_conflicts_total", "kubeflex_watcher_write_failures_total", "kubeflex_bus_connected"},
    "reconciler": {"kubeflex_reconciles_total", "kubeflex_reconcile_seconds", "kubeflex_bus_connected",
                   "kubeflex_target_up"},
    "agent": {"kubeflex_reconciles_total", "kubeflex_reconcile_seconds", "kubeflex_bus_connected", "kubeflex_target_up"},
}
EVERYWHERE = {"kubeflex_api_requests_total", "process_cpu_seconds_total", "process_resident_memory_bytes",
              "process_start_time_seconds", "process_open_fds"}
MOST_SERIES = 512  # base/metrics.c


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(port, path):
    """Status and text."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(what, condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def ptrace(request, pid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 3
    if libc.ptrace(request, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


class Site:
    """All programs, before one API server that may come late."""

    def __init__(self, api=True):
        self.dir = tempfile.mkdtemp(prefix="kfx-health-")
        self.kubeconfig = f"{self.dir}/kubeconfig"
        self.api_port = free_port()
        self.bus_port = free_port()
        self.cluster = None
        self.ports, self.procs = {}, {}
        kubeconfig(self.kubeconfig, self.api_port)
        if api:
            self.start_api()

    def start_api(self):
        self.cluster = FakeCluster(self.api_port)
        self.cluster.put("/api/v1/namespaces/kubeflex-system/configmaps", CONFIG)

    def argv(self, name, port):
        kind = name.rstrip("2")
        common = [PROGRAMS[kind], "--kubeconfig", self.kubeconfig, "--health", f"127.0.0.1:{port}", "--instance", name]
        bus = f"tcp://127.0.0.1:{self.bus_port}"
        return common + {"bus": ["--bind", bus, "--tap", "tcp://127.0.0.1:*", "--hold", "0"],
                         "watcher": ["--bus", bus],
                         "reconciler": ["--bus", bus, "--type", "k8s"],
                         "agent": ["--bus", bus, "--postgres-host", "127.0.0.1", "--postgres-port", "1"]}[kind]

    def start(self, *names):
        for name in names:
            if name in self.procs:
                self.procs[name].kill()
            self.ports[name] = free_port()
            self.procs[name] = Proc(*self.argv(name, self.ports[name]))
            until(f"{name} listens", lambda n=name: self.listens(n))

    def listens(self, name):
        try:
            return get(self.ports[name], "/healthz")
        except OSError:
            return None

    def ready(self, name, text):
        until(f"{name} says ready: {text}", lambda: get(self.ports[name], "/readyz") == (200, text + "\n"))

    def not_ready(self, name, text):
        until(f"{name} says not ready: {text}", lambda: get(self.ports[name], "/readyz") == (503, text + "\n"))

    def metrics(self, name):
        return parse(get(self.ports[name], "/metrics")[1])

    def value(self, name, metric):
        return sum(self.metrics(name)[metric].samples.values())

    def plane(self, name):
        self.cluster.put(PLANES, {"kind": "ControlPlane", "apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1",
                                  "metadata": {"name": name}, "spec": {"type": "k8s"}})

    def close(self):
        for proc in self.procs.values():
            proc.kill()
        if self.cluster:
            self.cluster.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Case(unittest.TestCase):
    def site(self, **options):
        site = Site(**options)
        self.addCleanup(site.close)
        return site


ALL = ("bus", "watcher", "reconciler", "agent")
READY = {"bus": "ok", "watcher": "ok: leading", "reconciler": "ok: connected", "agent": "ok: connected"}


class Health(Case):
    def test_readyz_tells_the_truth(self):
        site = self.site()
        site.start("watcher", "reconciler", "agent")
        for name in ("watcher", "reconciler", "agent"):
            self.assertEqual(get(site.ports[name], "/healthz"), (200, "ok\n"))
            site.not_ready(name, "waiting for the keys of the bus")
        site.start("bus")
        for name in ALL:
            site.ready(name, READY[name])
        site.start("watcher2")
        site.ready("watcher2", "ok: standby")

        site.procs["bus"].signal(TERM)
        self.assertEqual(site.procs["bus"].wait(), 0)
        site.not_ready("watcher", "leads, but waits for the bus")
        for name in ("reconciler", "agent"):
            site.not_ready(name, "waiting for the bus")
            self.assertEqual(site.value(name, "kubeflex_bus_connected"), 0)
        self.assertEqual(get(site.ports["watcher2"], "/readyz"), (200, "ok: standby\n"))
        site.start("bus")
        for name in ALL:
            site.ready(name, READY[name])

    def test_healthz_turns_false_while_the_main_loop_hangs(self):
        site = self.site()
        site.start(*ALL)
        for name in ALL:
            site.ready(name, READY[name])

        def hang(name):
            """Stops the main thread alone, as a deadlock would; the thread that answers HTTP goes on."""
            pid = site.procs[name].process.pid
            ptrace(PTRACE_SEIZE, pid)
            ptrace(PTRACE_INTERRUPT, pid)
            os.waitpid(pid, 0x40000000)  # __WALL: it has stopped
            try:
                until(f"{name} is unhealthy", lambda: get(site.ports[name], "/healthz") ==
                      (503, "the main loop does not turn\n"), 25)
            finally:
                ptrace(PTRACE_DETACH, pid)
            self.assertIsNone(site.procs[name].process.poll(), site.procs[name].lines[-5:])
            until(f"{name} is healthy again", lambda: get(site.ports[name], "/healthz") == (200, "ok\n"))
            site.ready(name, READY[name])
            self.assertIsNone(site.procs[name].process.poll(), site.procs[name].lines[-5:])

        with concurrent.futures.ThreadPoolExecutor(len(ALL)) as pool:  # a tracer is a thread
            for result in [pool.submit(hang, name) for name in ALL]:
                result.result()


class Metrics(Case):
    def test_format_names_and_bounds(self):
        site = self.site()
        site.start(*ALL)
        for name in ALL:
            site.ready(name, READY[name])
        site.plane("first")
        for worker in ("reconciler", "agent"):
            until(f"{worker} has worked", lambda n=worker: site.value(n, "kubeflex_reconciles_total") > 0)
        before = {}
        for name in ALL:
            families = site.metrics(name)
            self.assertLessEqual(METRICS[name] | EVERYWHERE, set(families), name)
            before[name] = {key for key in series(families) if not key[0].startswith("kubeflex_api_requests")}

        for i in range(150):
            site.plane(f"p{i}")
        until("all are seen", lambda: site.value("watcher", "kubeflex_controlplanes") == 151)
        until("all are worked on", lambda: site.value("reconciler", "kubeflex_reconciles_total") > 150, 60)
        for name in ALL:
            after = series(site.metrics(name))
            self.assertLess(len(after), MOST_SERIES, name)
            new = {key for key in after - before[name] if not key[0].startswith("kubeflex_api_requests")}
            # Series may appear with the first use of what they count, none with a plane.
            self.assertFalse([key for key in new if any("p1" in value for _, value in key[1])], name)
            self.assertLess(len(new), 40, new)
            for proc in site.procs.values():
                self.assertEqual(proc.count("too many metric series"), 0)


class Logs(Case):
    def test_json_lines_name_the_plane(self):
        os.environ["KFX_LOG_FORMAT"] = "json"
        os.environ["KFX_LOG_LEVEL"] = "debug"
        self.addCleanup(os.environ.pop, "KFX_LOG_FORMAT")
        self.addCleanup(os.environ.pop, "KFX_LOG_LEVEL")
        site = self.site()
        site.start(*ALL)
        for name in ALL:
            site.ready(name, READY[name])
        site.plane("seen")
        uid = site.cluster.act("GET", PLANES, "seen", {}, None)[1]["metadata"]["uid"]
        for name in ("reconciler", "agent"):
            site.procs[name].seen('"plane":"seen"')
        secrets = site.cluster.secrets()
        self.assertGreater(len(secrets), 20)
        for name in ALL:
            site.procs[name].signal(TERM)
            site.procs[name].wait()
            site.procs[name].seen("<end>")
            lines = site.procs[name].lines[:-1]
            self.assertTrue(lines)
            for line in lines:
                entry = json.loads(line)
                self.assertLessEqual({"time", "level", "process", "msg"}, set(entry), line)
                self.assertIn(entry["level"], ("error", "warn", "info", "debug"))
                self.assertEqual("plane" in entry, "uid" in entry, line)
                if entry.get("plane") == "seen":
                    self.assertEqual(entry["uid"], uid, line)
                self.assertFalse([s for s in secrets if s in line], f"a secret in {name}'s log")

    def test_flags_win_over_the_environment(self):
        site = self.site(api=False)
        for kind, more in (("bus", []), ("watcher", []), ("reconciler", ["--type", "k8s"]), ("agent", [])):
            proc = Proc(PROGRAMS[kind], "--log-format", "xml", *more)
            proc.expect("--log-format xml: choose text or json")
            self.assertNotEqual(proc.wait(), 0)
            proc.kill()
            proc = Proc(*site.argv(kind, free_port()), "--log-format", "json", "--log-level", "info", "--health", "127.0.0.1:x")
            self.assertEqual(json.loads(proc.expect("health endpoint").string)["level"], "error")
            proc.kill()


class BadInput(Case):
    def test_api_server_away(self):
        site = self.site(api=False)
        site.start(*ALL)
        for name in ALL:
            self.assertEqual(get(site.ports[name], "/healthz")[0], 200)
            self.assertEqual(get(site.ports[name], "/readyz")[0], 503)
            site.procs[name].seen(rf"127\.0\.0\.1:{site.api_port}: .*[Cc]onnect")
        site.start_api()
        for name in ALL:
            site.ready(name, READY[name])

    def test_port_taken(self):
        site = self.site()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for name in ALL:
                proc = Proc(*site.argv(name, port))
                proc.expect(rf"health endpoint on 127\.0\.0\.1:{port}: Address already in use.*--health")
                self.assertEqual(proc.wait(), 1)
                proc.kill()
            site.bus_port = port
            proc = Proc(*site.argv("bus", 0))
            proc.expect(rf"cannot listen on tcp://127\.0\.0\.1:{port}: Address already in use.*--bind")
            self.assertEqual(proc.wait(), 1)
            proc.kill()

    def test_kubeconfig_broken(self):
        site = self.site()
        for content, words in ((None, "No such file"), ("{", "kubeconfig"), ("a: [b\n", "kubeconfig"),
                               ('{"kind": "Config", "current-context": "gone"}', "gone")):
            if content is None:
                os.unlink(site.kubeconfig)
            else:
                with open(site.kubeconfig, "w", encoding="ascii") as file:
                    file.write(content)
            for name in ALL:
                proc = Proc(*site.argv(name, 0))
                line = proc.expect("level=error").string
                self.assertIn(site.kubeconfig, line)
                self.assertIn(words, line)
                self.assertEqual(proc.wait(), 1)
                proc.kill()


if __name__ == "__main__":
    PROGRAMS.update(zip(ALL, sys.argv[1:5]))
    unittest.main(argv=[sys.argv[0]] + sys.argv[5:])
