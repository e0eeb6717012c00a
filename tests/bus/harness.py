"""Processes of a bus under test: started, listened to line by line, stopped. Every wait has a deadline."""
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

PATIENCE = 15  # seconds: a deadline, not a delay


class Proc:
    """A program whose lines on stdout (and stderr) are facts to wait for."""

    def __init__(self, *argv):
        self.lines = []
        self.at = 0
        self.more = threading.Condition()
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, bufsize=1)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.more:
                self.lines.append(line.rstrip("\n"))
                self.more.notify_all()
        with self.more:
            self.lines.append("<end>")
            self.more.notify_all()

    def expect(self, pattern, timeout=PATIENCE):
        """The first line from here on that matches; later calls go on behind it."""
        deadline = time.monotonic() + timeout
        with self.more:
            while True:
                while self.at < len(self.lines):
                    line = self.lines[self.at]
                    self.at += 1
                    found = re.search(pattern, line)
                    if found:
                        return found
                left = deadline - time.monotonic()
                ended = bool(self.lines) and self.lines[-1] == "<end>"
                if ended or left <= 0 or not self.more.wait(left):
                    raise AssertionError(f"no line like {pattern!r} within {timeout} s in:\n" + "\n".join(self.lines))

    def seen(self, pattern, timeout=PATIENCE):
        """A line that matches, wherever it stands: for facts whose order is open. Does not move the place of expect."""
        deadline = time.monotonic() + timeout
        with self.more:
            while not any(re.search(pattern, line) for line in self.lines):
                left = deadline - time.monotonic()
                ended = bool(self.lines) and self.lines[-1] == "<end>"
                if ended or left <= 0 or not self.more.wait(left):
                    raise AssertionError(f"no line like {pattern!r} within {timeout} s in:\n" + "\n".join(self.lines))

    def count(self, pattern):
        with self.more:
            return sum(1 for line in self.lines if re.search(pattern, line))

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()

    def wait(self, timeout=PATIENCE):
        return self.process.wait(timeout)


def free_port():
    """Below the kernel's and czmq's own ranges, where nobody who asks for any port gets it while our bus restarts."""
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Site:
    """One bus with its folder; knows how to start everybody else."""

    def __init__(self, curve=False):
        self.dir = tempfile.mkdtemp(prefix="kfx-bus-")
        self.flags = os.path.join(self.dir, "flags")
        os.mkdir(self.flags)
        self.curve = curve
        self.keys = os.path.join(self.dir, "keys") if curve else ""
        self.bind = f"tcp://127.0.0.1:{free_port()}" if curve else f"ipc://{self.dir}/work"
        self.tap_bind = f"tcp://127.0.0.1:{free_port()}" if curve else f"ipc://{self.dir}/tap"
        self.procs = []
        self.bus = None
        self.recorder = None

    def start(self, *argv):
        proc = Proc(*argv)
        self.procs.append(proc)
        return proc

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def metric(self, name, least):
        """Waits until the series has at least that value."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.metrics().splitlines():
                if line.startswith(name + " ") and float(line.split()[-1]) >= least:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{name} does not reach {least}")

    def start_bus(self, hold=0, kubeconfig=None, window=60000):
        argv = [os.environ["KFX_TEST_BUS"], "--bind", self.bind, "--tap", self.tap_bind, "--health", "127.0.0.1:0",
                "--hold", str(hold), "--instance", "bus-1", "--key-window", str(window)]
        if kubeconfig:
            argv += ["--kubeconfig", kubeconfig]
        else:
            argv += ["--keys-dir", self.keys] if self.curve else ["--no-curve"]
        self.bus = self.start(*argv)
        found = self.bus.expect(r'msg="?serving"? work="?([^ "]+)"? tap="?([^ "]+)"? .*health=(\d+)')
        self.bind, self.tap_bind, self.health = found.group(1), found.group(2), int(found.group(3))
        return self.bus

    def kflex(self, *options, endpoint=None, keys=None):
        """kflex tap at this bus."""
        argv = [os.environ["KFX_TEST_KFLEX"], "tap", "--bus", endpoint or self.tap_bind, *options]
        keys = self.keys if keys is None else keys
        return self.start(*argv, *(["--keys-dir", keys] if keys else []))

    def record(self):
        """Every message from here on, PING and PONG too, until recorded()."""
        self.recording = os.path.join(self.dir, "recording")
        kinds = "HELLO,WELCOME,PING,PONG,SYNC,EVENT,TASK,CANCEL,DONE,STATUS,ACK,BYE,ERROR"
        self.recorder = self.kflex("--record", self.recording, "--kind", kinds)
        self.recorder.expect("^Listening")

    def recorded(self):
        if self.recorder.process.poll() is None:
            self.recorder.signal(signal.SIGINT)
            self.recorder.expect("messages are in")
        code = self.recorder.wait()
        if code != 0:
            raise AssertionError(f"kflex tap failed ({code}):\n" + "\n".join(self.recorder.lines[-20:]))
        with open(self.recording, "rb") as file:
            return file.read()

    def secrets(self):
        """Every value that must not be seen: the secret halves of all key pairs, as text and as bytes."""
        found = []
        for folder in os.listdir(self.keys) if self.keys else []:
            with open(os.path.join(self.keys, folder, "secret.key"), "rb") as file:
                found += [file.read().strip()]
        return found

    def worker(self, name="w1", role="reconciler:k8s", service="reconcile.k8s", revision=1, threads=4, drain_ms=10000,
               keys=None):
        return self.start(os.environ["KFX_TEST_WORKER"], self.bind, self.keys if keys is None else keys, role, service,
                           name, str(revision), str(threads), str(drain_ms), self.flags)

    def watcher(self, name="watcher-1", epoch=1, keys=None):
        return self.start(os.environ["KFX_TEST_WATCHER"], self.bind, self.keys if keys is None else keys, name,
                           str(epoch))

    def garbage(self, role="storage"):
        return self.start(os.environ["KFX_TEST_GARBAGE"], self.bind, self.keys, role)

    def tap(self, topic="", role="tap", endpoint=None):
        return self.start(os.environ["KFX_TEST_TAP"], endpoint or self.tap_bind, self.keys, role, topic)

    def flag(self, name):
        with open(os.path.join(self.flags, name), "w", encoding="ascii"):
            pass

    def close(self):
        for proc in self.procs:
            proc.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


TERM = signal.SIGTERM
KILL = signal.SIGKILL
STOP = signal.SIGSTOP
CONT = signal.SIGCONT
