"""The processes of a node that are killed and stopped, found in /proc by program and control group, so that it works while
the API server is away. Only processes of the one instance are ever touched.
"""
import os
import signal
import threading
import time

from cluster import SYSTEM, Failure

POSTGRES, HOST = "postgres", "apiserver"

# name -> (program, container in SYSTEM or None for one of the node's own)
PROGRAMS = {
    "bus": ("kubeflex-bus", "bus"),
    "watcher": ("kubeflex-watcher", "manager"),
    "reconciler": ("kubeflex-reconciler", "reconciler"),
    "storage-agent": ("kubeflex-storage-agent", "agent"),
    POSTGRES: ("postgres", "postgresql"),
    HOST: ("kube-apiserver", None),
}
OURS = ("bus", "watcher", "reconciler", "storage-agent")


def _read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _start(pid):
    """What tells a process from a later one with the same id."""
    stat = _read(pid, "stat").rpartition(") ")[2].split()
    return stat[19] if len(stat) > 19 and stat[0] not in "ZX" else ""


def _group(pid):
    """Its control group, as the pids controller (v1) or the one hierarchy (v2) has it."""
    for line in _read(pid, "cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or "pids" in controllers.split(","):
            return path
    return ""


def processes(cluster, target):
    """[(pid, start)] of the target's main processes, oldest first: with replicas there are several."""
    program, container = PROGRAMS[target]
    root, found = "/" + cluster.env["KF_CGROUP"], []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if os.path.basename(_read(pid, "cmdline").split("\0")[0]) != program:
            continue
        group = _group(pid)
        if container and not group.startswith(root + "/kubepods") or not container and group != root + "/node":
            continue
        inner = [line.split()[-1] for line in _read(pid, "status").splitlines() if line.startswith("NSpid:")]
        start = _start(pid)
        if start and (not container or inner == ["1"]):
            found.append((int(pid), start))
    return sorted(found, key=lambda process: int(process[1]))


def _all_of(process):
    """The process and whatever else runs in its container (Postgres has one per session)."""
    group = _group(process[0])
    return [process] + [(int(pid), _start(pid)) for pid in filter(str.isdigit, os.listdir("/proc"))
                        if int(pid) != process[0] and group and _group(pid) == group]


def _send(process, number):
    if process[1] and _start(process[0]) == process[1]:
        try:
            os.kill(process[0], number)
        except ProcessLookupError:
            pass


def _rollup_kb(pid, field):
    return sum(int(line.split()[1]) for line in _read(pid, "smaps_rollup").splitlines() if line.startswith(field + ":"))


def anonymous_kb(pid):
    return _rollup_kb(pid, "Anonymous")


def pss_kb(pid):
    return _rollup_kb(pid, "Pss")


def title(pid):
    """The program, and of a reconciler its type."""
    words = _read(pid, "cmdline").split("\0")
    name = os.path.basename(words[0])
    return f"{name} {words[words.index('--type') + 1]}" if "--type" in words[:-1] else name


def _open_files(pid):
    found = []
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    except OSError:
        pass  # closed meanwhile, or the process is gone
    return found


def descriptors(pid):
    return len(_open_files(pid))


def connections(pid):
    """Established TCP connections that the process has open."""
    sockets = {name[len("socket:["):-1] for name in _open_files(pid) if name.startswith("socket:[")}
    lines = [line.split() for table in ("net/tcp", "net/tcp6") for line in _read(pid, table).splitlines()[1:]]
    return sum(words[3] == "01" and words[9] in sockets for words in lines)


class Fault(threading.Thread):
    """Does one thing to one target at one instant. `when` is seconds of time.monotonic."""

    def __init__(self, cluster, target, hold, when, which, text):
        super().__init__(daemon=True)
        self.cluster, self.target, self.hold, self.when, self.which = cluster, target, hold, when, which
        self.text, self.problem = text, ""
        self.killed = False
        self.cut = threading.Event()  # the round is over: no more waiting

    def run(self):
        self.cut.wait(max(0, self.when - time.monotonic()))
        end = time.monotonic() + 30
        found = processes(self.cluster, self.target)
        while not found and time.monotonic() < end and not self.cut.is_set():  # it is just being started again
            self.cut.wait(0.02)
            found = processes(self.cluster, self.target)
        if not found:
            self.problem = f"no process of {self.target} within 30 s"
            return
        process = found[self.which % len(found)]
        if self.hold == 0:
            _send(process, signal.SIGKILL)
            self.killed = True
            return
        group = _all_of(process) if self.target == POSTGRES else [process]
        try:
            for one in group:
                _send(one, signal.SIGSTOP)
            self.cut.wait(self.hold)
        finally:
            for one in reversed(group):
                _send(one, signal.SIGCONT)

    def end(self):
        """Waits for it, whatever it takes; with cut set that is at once."""
        self.join(self.hold + 120)
        if self.problem:
            raise Failure(self.problem)


class Restarts:
    """How often each container was started again, against how often we killed it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.known = self._count()
        self.kills = 0

    def _count(self):
        return {(pod["metadata"]["name"], one["name"]): one for pod in self.cluster.pods(SYSTEM)
                for one in pod["status"].get("containerStatuses", [])}

    def await_all_up(self, seconds, expected):
        """Until every container of ours is ready and those in expected ({container: kills}) were started again that often.
        A restart more than that, or one that was no kill of ours, is a crash."""
        end = time.monotonic() + seconds
        while True:
            now = self._count()
            grown = {key: one["restartCount"] - self.known[key]["restartCount"] for key, one in now.items()
                     if key in self.known}
            total = {}
            for (_, container), count in grown.items():
                total[container] = total.get(container, 0) + count
            wrong = {c: n for c, n in total.items() if n > expected.get(c, 0)}
            short = {c: n for c, n in expected.items() if total.get(c, 0) < n}
            lost = [key for key in self.known if key not in now]
            fresh = [key for key in now if key not in self.known]
            if wrong or lost or fresh:
                raise Failure(f"restarts that nobody asked for: {wrong or lost or fresh} {self._ends(now)}")
            if not short and all(one["ready"] for one in now.values()):
                break
            if time.monotonic() > end:
                raise Failure(f"not within {seconds} s: all of {SYSTEM} up (missing restarts: {short}, not ready: "
                              f"{[key for key, one in now.items() if not one['ready']]})")
            time.sleep(0.2)
        for key, one in now.items():
            ended = one.get("lastState", {}).get("terminated", {})
            if grown[key] and ended.get("exitCode") != 128 + signal.SIGKILL:
                raise Failure(f"{key[0]}/{key[1]} ended with code {ended.get('exitCode')}, not by our SIGKILL")
        self.known = now

    @staticmethod
    def _ends(now):
        return {key[1]: one.get("lastState", {}).get("terminated", {}).get("exitCode") for key, one in now.items()
                if one["restartCount"]}
