"""Watcher and worker of the bus protocol, for tests. Written from docs/protocol.md alone: it shares nothing with the C
implementation, so what the two understand of each other stands on the page. "§" are sections of that page."""
import collections
import os
import queue
import random
import socket
import threading
import time

import msgpack
import zmq

MAGIC = b"KFX/1"
HELLO, WELCOME, PING, PONG, SYNC, EVENT, TASK, CANCEL, DONE, STATUS, ACK, BYE, ERROR = range(1, 14)
OK, WAITING, RETRY, GONE, DOWN = range(1, 6)  # outcome
UP, TARGET_DOWN, NO_WORKER, BEGIN, END = range(1, 6)  # state
INVALID, NOT_FOUND, CONFLICT, FORBIDDEN, UNAUTHORIZED, BUSY, FENCED, PROTOCOL = 1, 2, 4, 5, 6, 8, 11, 13

TEXTS = {"service": 47, "key": 255, "uid": 63, "sender": 63, "role": 47, "text": 255}
NUMBERS = {"gen": (-1 << 63, (1 << 63) - 1), "outcome": (0, 5), "state": (0, 5)}
NUMBERS |= {name: (0, (1 << 64) - 1) for name in ("epoch", "seq", "lease", "task")}
NUMBERS |= {name: (0, (1 << 32) - 1) for name in ("lease_ms", "attempt", "retry_ms", "credit", "window", "rev", "vmin", "vmax", "code")}
FLAGS = {"deleting", "running", "renew"}
KNOWN = {*TEXTS, *NUMBERS, *FLAGS}

# Seconds, all of §1 and §4
PING_EVERY, GREETING_LASTS, PONG_LASTS, GRACE, DONE_EVERY, KEYS_EVERY = 0.5, 3, 2.5, 2, 5, 10
BACKOFF_FIRST, BACKOFF_LAST = 0.1, 2
FRAME_MAX = 65536


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # a lease ends in suspend as well


# --- Frames (§2) ---

class Malformed(Exception):
    pass


def message(kind, envelope, payload=None):
    """The four frames of a message."""
    kept = {name: value for name, value in envelope.items() if value}
    return [MAGIC, bytes([kind]), pack(kept), pack(payload) if payload else b""]


def pack(value):
    return msgpack.packb(value, unicode_errors="replace")


def sound(value, depth=1):
    """Whether a decoded value has the shape that §2 asks of any field, known or not."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list) and value:
        return depth <= 6 and all(sound(item, depth + 1) for item in value)
    return not isinstance(value, (msgpack.ExtType, msgpack.Timestamp))


def unpack(raw):
    """The map of an envelope, a payload or a tap's meta."""
    try:
        value = msgpack.unpackb(raw, strict_map_key=False, unicode_errors="surrogateescape")  # unknown texts may be no UTF-8
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise Malformed(str(error)) from error
    if not isinstance(value, dict) or not sound(value):
        raise Malformed("not a sound map")
    return value


def is_text(value, most):
    try:
        return isinstance(value, str) and "\0" not in value and len(value.encode()) <= most
    except UnicodeEncodeError:
        return False


def fits(name, value):
    if name in TEXTS:
        return is_text(value, TEXTS[name])
    if name in NUMBERS:
        low, high = NUMBERS[name]
        return type(value) is int and low <= value <= high  # a bool is an int to isinstance
    if name in FLAGS:
        return isinstance(value, bool)
    if name == "must":
        return isinstance(value, list) and len(value) <= 32 and all(isinstance(item, str) and item in KNOWN for item in value)
    return True


def decode(frames):
    """(kind, envelope, payload as it came) of a message; what the envelope leaves out reads as 0, "" or False."""
    if len(frames) != 4 or frames[0] != MAGIC or len(frames[1]) != 1:
        raise Malformed("frames")
    envelope = unpack(frames[2])
    for name, value in envelope.items():
        if not fits(name, value):
            raise Malformed(name)
    whole = dict.fromkeys(TEXTS, "") | dict.fromkeys(NUMBERS, 0) | dict.fromkeys(FLAGS, False) | envelope
    return frames[1][0], whole, frames[3]


def maps_of(payload, name):
    """An array of maps in a payload."""
    value = unpack(payload).get(name, []) if payload else []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Malformed(name)
    return value


def part(envelope, *names):
    return {name: envelope[name] for name in names}


# --- Sockets and keys (§1) ---

def keys_from(folder):
    """(public, secret, server) of a role's folder. ValueError while it is being written, OSError while it is not there."""
    found = []
    for name in ("public.key", "secret.key", "server.key"):
        with open(os.path.join(folder, name), "rb") as file:
            found.append(file.read().strip())
    if any(len(key) != 40 for key in found) or zmq.curve_public(found[1]) != found[0]:
        raise ValueError(f"{folder}: not a pair of keys")
    return tuple(found)


def dealer(endpoint, keys=None, kind=zmq.DEALER):
    sock = zmq.Context.instance().socket(kind)
    sock.linger = 0
    sock.sndhwm = 0  # a send never waits; window, credit and the wait for PONG bound what lies here
    if kind == zmq.DEALER:
        sock.maxmsgsize = FRAME_MAX
    if keys:
        sock.curve_publickey, sock.curve_secretkey, sock.curve_serverkey = keys
    sock.connect(endpoint)
    return sock


# --- Sessions (§4) ---

class Client:
    """One session at a time, kept by a thread that alone touches the socket. What happens is told as facts, tuples that begin
    with a word; expect() waits for them."""

    def __init__(self, endpoint, role, service, keys_dir, name):
        self.endpoint, self.role, self.service, self.name = endpoint, role, service, name
        self.folder = os.path.join(keys_dir, "kubeflex-bus-" + role.replace(":", "-")) if keys_dir else None
        self.keys, self.keys_again = None, 0  # when they may be read again
        self.state = "AWAY"
        self.sock = None
        self.lease, self.lease_end = 0, None
        self.seq, self.hello_seq, self.hello_sent = 0, 0, 0
        self.pings = {}  # seq: when it was sent
        self.attempt_at, self.backoff = 0, BACKOFF_FIRST
        self.heard = self.pinged = 0
        self.facts, self.calls = queue.Queue(), queue.Queue()
        self.ended = False
        self.wake_read, self.wake_write = socket.socketpair()
        for end in (self.wake_read, self.wake_write):
            end.setblocking(False)
        self.thread = threading.Thread(target=self._run, daemon=True)

    # For tests

    def expect(self, *fact, timeout=30):
        """The next fact that begins like this; those before it are dropped."""
        end, seen = now() + timeout, []
        while (left := end - now()) > 0:
            try:
                got = self.facts.get(timeout=left)
            except queue.Empty:
                break
            if got[:len(fact)] == fact:
                return got
            seen.append(got)
        raise AssertionError(f"{self.name}: no {fact} within {timeout} s, but {seen[-20:]}")

    def close(self, bye=False):
        if self.thread.is_alive():
            self._call(self._end, bye)
            self.thread.join(timeout=10)

    # The thread

    def _call(self, function, *arguments):
        self.calls.put((function, arguments))
        try:
            self.wake_write.send(b"x")
        except BlockingIOError:
            pass  # enough of them wait there

    def _run(self):
        while not self.ended:
            poller = zmq.Poller()
            poller.register(self.wake_read, zmq.POLLIN)
            if self.sock:
                poller.register(self.sock, zmq.POLLIN)
            poller.poll(20)
            self._tick()
            self._receive()
            self._run_calls()

    def _run_calls(self):
        try:
            self.wake_read.recv(65536)
        except BlockingIOError:
            return
        while not self.calls.empty():
            function, arguments = self.calls.get()
            function(*arguments)

    def _receive(self):
        while self.sock:
            try:
                kind, envelope, payload = decode(self.sock.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            except Malformed as error:
                self._tell("MALFORMED", str(error))
                continue
            self._handle(kind, envelope, payload)

    def _tell(self, *fact):
        self.facts.put(fact)

    def _send(self, kind, envelope, payload=None):
        self.sock.send_multipart(message(kind, {"sender": self.name, "lease": self.lease, **envelope}, payload), zmq.NOBLOCK)

    def _end(self, bye=False):
        if self.sock:
            if bye and self.state == "UP":
                self._send(BYE, {})
            self.sock.close(linger=1000 if bye else 0)
        self.sock, self.ended = None, True

    # The session's states

    def _tick(self):
        time_now = now()
        if self.state == "AWAY" and time_now >= self.attempt_at:
            self._attempt()
        elif self.state == "GREETING" and time_now >= self.hello_sent + GREETING_LASTS:
            self._away()
        elif self.state == "UP" and time_now >= self.heard + PONG_LASTS:
            self._away()
        elif self.state == "UP" and time_now >= self.pinged + PING_EVERY:
            self._ping()

    def _away(self, at_once=False):
        self.sock.close(linger=0)
        self.sock, self.state = None, "AWAY"
        self._tell("AWAY")
        self.attempt_at = now() + (0 if at_once else self.backoff * random.uniform(0.5, 1))
        self.backoff = min(2 * self.backoff, BACKOFF_LAST)

    def _attempt(self):
        if self.folder:
            self._read_keys()
            if not self.keys:
                self.attempt_at = now() + BACKOFF_FIRST
                return
        self.sock = dealer(self.endpoint, self.keys)
        self._greet()

    def _read_keys(self):
        """Whether other keys were read. The first good read does not count for the ten seconds."""
        if now() < self.keys_again:
            return False
        try:
            keys = keys_from(self.folder)
        except (OSError, ValueError):
            return False
        self.keys_again = now() + KEYS_EVERY if self.keys else 0
        other, self.keys = keys != self.keys, keys
        return other

    def _greet(self):
        self.state, self.pings = "GREETING", {}
        self.seq += 1
        self.hello_seq, self.hello_sent = self.seq, now()
        self._send(HELLO, {"role": self.role, "service": self.service, "seq": self.seq, "vmin": 1, "vmax": 1, **self._hello()})

    def _ping(self):
        if self.state == "UP":
            self.seq += 1
            self.pinged = self.pings[self.seq] = now()
            self._send(PING, {"seq": self.seq, **self._load()})

    def _handle(self, kind, envelope, payload):
        """A message is handled in the state in which it comes; what is not for it is dropped."""
        if self.state == "GREETING":
            if kind == WELCOME and envelope["seq"] == self.hello_seq:
                self._welcome(envelope)
            elif kind == ERROR and envelope["code"] == CONFLICT:
                self._error(envelope)
        elif kind == PONG:
            self._pong(envelope)
        elif kind == ERROR and envelope["code"] == UNAUTHORIZED:
            self._greet()
        elif kind == ERROR:
            self._error(envelope)
        else:
            self._session(kind, envelope, payload)

    def _welcome(self, envelope):
        self._before_session()
        self.lease, self.lease_end = envelope["lease"], self.hello_sent + envelope["lease_ms"] / 1000
        self.heard = self.pinged = now()
        self.state, self.backoff = "UP", BACKOFF_FIRST
        self._tell("CONNECTED")
        self._begin_session(envelope)
        self._ping()  # WELCOME may have come late

    def _pong(self, envelope):
        sent = self.pings.get(envelope["seq"])
        if sent is None:
            return
        self.pings = {seq: at for seq, at in self.pings.items() if seq > envelope["seq"]}
        self.heard, self.lease_end = now(), sent + envelope["lease_ms"] / 1000
        if envelope["renew"] and self.folder and self._read_keys():
            self._tell("RENEW")
            self._away(at_once=True)

    # What the roles differ in

    def _hello(self):
        """Further fields of HELLO."""
        return {}

    def _load(self):
        """Further fields of PING."""
        return {}

    def _before_session(self):
        pass

    def _begin_session(self, welcome):
        raise NotImplementedError

    def _session(self, kind, envelope, payload):
        raise NotImplementedError

    def _error(self, envelope):
        self._tell("ERROR", envelope["code"], envelope["text"])


# --- The watcher (§5) ---

class Watcher(Client):
    """Facts: CONNECTED, AWAY, RENEW, (STATE, service, state), (DONE, service, key, uid, gen, outcome, message),
    (PROGRESS, service, key, uid, gen, text), (STALE, epoch), (ERROR, code, text).
    snapshot: envelopes of EVENTs that every session begins with, beside those sent since; None: no snapshot, so nothing is swept."""

    def __init__(self, endpoint, keys_dir=None, epoch=1, name="py-watcher", snapshot=(), acks=True):
        super().__init__(endpoint, "watcher", "", keys_dir, name)
        self.epoch, self.acks = epoch, acks
        self.sweeps = snapshot is not None
        self.known = {(event["service"], event["key"]): (event, self._digest(event["service"])) for event in snapshot or ()}
        self.window, self.waiting, self.unacked = 0, collections.deque(), set()
        self.thread.start()

    def event(self, key, seq, service="reconcile.k8s", uid="u1", deleting=False, children=()):
        event = {"service": service, "key": key, "uid": uid, "gen": seq, "seq": seq, "deleting": deleting}
        self._call(self._event, event, self._digest(service, deleting, children))

    @staticmethod
    def _digest(service, deleting=False, children=()):
        digest = {"type": service.removeprefix("reconcile."), "deleting": deleting, "children": [{"k": k, "n": n} for k, n in children]}
        return {name: value for name, value in digest.items() if value}

    def _event(self, event, digest):
        self.known[event["service"], event["key"]] = event, digest
        if self.state == "UP":  # else the next session's snapshot has it
            self.waiting.append((EVENT, event, digest))
            self._pump()

    def _pump(self):
        """Sends in order what the window has room for. A SYNC takes no room, yet must not overtake its EVENTs."""
        while self.waiting and (self.waiting[0][0] == SYNC or len(self.unacked) < self.window):
            kind, envelope, digest = self.waiting.popleft()
            if kind == EVENT:
                self.unacked.add((envelope["service"], envelope["key"], envelope["seq"]))
            self._send(kind, {**envelope, "epoch": self.epoch}, digest)

    def _hello(self):
        return {"epoch": self.epoch}

    def _begin_session(self, welcome):
        self.window, self.unacked = welcome["window"], set()
        snapshot = [(EVENT, *event) for event in self.known.values()]
        if self.sweeps:
            snapshot = [(SYNC, {"state": BEGIN}, None), *snapshot, (SYNC, {"state": END}, None)]
        self.waiting = collections.deque(snapshot)
        self._pump()

    def _session(self, kind, envelope, payload):
        if kind == ACK:
            self._free(envelope)
        elif kind == DONE:
            self._done(envelope, payload)
        elif kind == STATUS and envelope["state"]:
            self._tell("STATE", envelope["service"], envelope["state"])
        elif kind == STATUS:
            self._tell("PROGRESS", *part(envelope, "service", "key", "uid", "seq", "text").values())

    def _free(self, envelope):
        self.unacked.discard((envelope["service"], envelope["key"], envelope["seq"]))
        self._pump()

    def _done(self, envelope, payload):
        if envelope["outcome"] == GONE:
            self.known.pop((envelope["service"], envelope["key"]), None)
        if self.acks:
            self._send(ACK, part(envelope, "service", "key", "uid", "gen", "epoch", "seq", "task"))
        try:
            conditions = maps_of(payload, "conditions")
        except Malformed as error:  # has its ACK all the same, or it would come again for ever
            self._tell("MALFORMED", str(error))
            return
        text = conditions[0].get("message", "") if conditions else ""
        self._tell("DONE", *part(envelope, "service", "key", "uid", "seq", "outcome").values(), text)

    def _error(self, envelope):
        if envelope["code"] == CONFLICT and envelope["epoch"] > self.epoch:
            self._tell("STALE", envelope["epoch"])
            self._end()  # another leads
            return
        super()._error(envelope)
        if envelope["key"] and envelope["seq"]:
            self._free(envelope)


# --- The worker (§4, §5) ---

class Worker(Client):
    """Facts: CONNECTED, AWAY, RENEW, (TASK, key, uid, gen, attempt, number of children), (CANCEL, key), (CONFIRMED, key),
    (ERROR, code, text). Its tasks do nothing until the test says how they ended."""

    def __init__(self, endpoint, keys_dir=None, name="py-worker", kind="k8s", revision=1, credit=8):
        super().__init__(endpoint, f"reconciler:{kind}", f"reconcile.{kind}", keys_dir, name)
        self.revision, self.credit, self.target, self.why = revision, credit, UP, ""
        self.tasks = {}  # task: envelope, of what runs
        self.lost = set()  # of these, the ones whose results are worth nothing
        self.results = {}  # task: [envelope, payload, when to say it again], until ACK
        self.thread.start()

    def set_credit(self, credit, target=UP, why=""):
        self._call(self._set_credit, credit, target, why)

    def finish(self, key, outcome=OK, message="", retry_ms=0):
        task = next(task for task, envelope in list(self.tasks.items()) if envelope["key"] == key)
        self._call(self._finish, task, outcome, message, retry_ms)

    def may_write(self):
        """Whether a task may start a write."""
        return self.lease_end is not None and now() < self.lease_end and not self.lost

    def _set_credit(self, *load):
        self.credit, self.target, self.why = load
        self._ping()

    def _finish(self, task, outcome, text, retry_ms):
        envelope = self.tasks.pop(task, None)
        if not envelope:
            return  # finished twice
        if task in self.lost:
            self.lost.discard(task)
            if not self.lost:
                self._ping()  # credit is back
            return
        conditions = [{"type": "Ready", "status": "True" if outcome == OK else "False", "reason": "Test", "message": text}]
        done = part(envelope, "service", "key", "uid", "gen", "epoch", "seq", "task", "attempt", "deleting")
        self.results[task] = [{**done, "outcome": outcome, "retry_ms": retry_ms}, {"conditions": conditions} if text else None, 0]
        self._say_results()

    def _say_results(self):
        if self.state != "UP":
            return
        for result in self.results.values():
            done, payload, at = result
            if now() >= at:
                self._send(DONE, {name: value for name, value in done.items() if name not in ("attempt", "deleting")}, payload)
                result[2] = now() + DONE_EVERY

    def _tick(self):
        self._give_up()
        super()._tick()
        self._say_results()

    def _give_up(self):
        """A lease that ended more than the grace ago: the bus has given its tasks to others, or will."""
        if self.lease_end is not None and now() > self.lease_end + GRACE:
            for task in self.tasks.keys() - self.lost:
                self.lost.add(task)
                self._tell("CANCEL", self.tasks[task]["key"])
            self.results.clear()

    def _hello(self):
        return {"rev": self.revision, **self._load()}

    def _load(self):
        return {"credit": 0 if self.lost else self.credit, "state": self.target, "text": self.why if self.target == TARGET_DOWN else ""}

    def _before_session(self):
        self._give_up()

    def _begin_session(self, welcome):
        if self.lost:
            self._ping()  # before SYNC end: HELLO may have said another credit
        fields = ("service", "key", "uid", "gen", "epoch", "seq", "task", "attempt", "deleting")
        for task in self.tasks.keys() - self.lost:
            self._send(EVENT, {**part(self.tasks[task], *fields), "running": True})
        for result in self.results.values():
            self._send(EVENT, {**part(result[0], *fields, "outcome"), "running": True})
            result[2] = 0
        self._send(SYNC, {"state": END})
        self._say_results()

    def _session(self, kind, envelope, payload):
        task, key = envelope["task"], envelope["key"]
        if kind == TASK and task not in self.tasks:
            self._task(task, envelope, payload)
        elif kind == CANCEL and task in self.tasks:
            self._tell("CANCEL", key)
        elif kind == ACK and self.results.pop(task, None):
            self._tell("CONFIRMED", key)

    def _task(self, task, envelope, payload):
        self.tasks[task] = envelope
        try:
            children = maps_of(payload, "children")
        except Malformed as error:
            self._finish(task, RETRY, f"digest: {error}", 0)
            return
        self._tell("TASK", *part(envelope, "key", "uid", "seq", "attempt").values(), len(children))

    def _error(self, envelope):
        super()._error(envelope)
        self.results.pop(envelope["task"], None)  # it would be refused again
