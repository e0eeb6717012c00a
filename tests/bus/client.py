"""A second implementation of the bus protocol, from docs/protocol.md: both client roles, for tests. It shares nothing with the C
one, so that each finds the other's mistakes and the page's gaps. pyzmq and msgpack."""
import queue
import random
import threading
import time

import msgpack
import zmq

HELLO, WELCOME, PING, PONG, SYNC, EVENT, TASK, CANCEL, DONE, STATUS, ACK, BYE, ERROR = range(1, 14)
OK, WAITING, RETRY, GONE, DOWN = range(1, 6)
UP, TARGET_DOWN, NO_WORKER, BEGIN, END = range(1, 6)
INVALID, NOT_FOUND, CONFLICT, FORBIDDEN, UNAUTHORIZED, BUSY, FENCED, PROTOCOL = 1, 2, 4, 5, 6, 8, 11, 13
MAGIC = b"KFX/1"
PING_S, SILENCE_S, WELCOME_S, RESEND_S, GRACE_S = 0.5, 2.5, 3.0, 5.0, 2.0


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pack(fields):
    """Fields that are zero, empty or false are left out."""
    return msgpack.packb({name: value for name, value in fields.items() if value})


def unpack(data):
    return msgpack.unpackb(data) if data else {}


def message(kind, fields, payload=None):
    return [MAGIC, bytes([kind]), pack(fields), pack(payload) if payload else b""]


def keys_from(folder):
    found = []
    for name in ("public.key", "secret.key", "server.key"):
        with open(f"{folder}/{name}", "rb") as file:
            found.append(file.read().strip())
    return found


def dealer(endpoint, keys=None, kind=zmq.DEALER):
    sock = zmq.Context.instance().socket(kind)
    sock.linger = 0
    sock.maxmsgsize = 65536
    if keys:
        sock.curve_publickey, sock.curve_secretkey, sock.curve_serverkey = keys
    sock.connect(endpoint)
    return sock


class Session(threading.Thread):
    """AWAY, GREETING, UP, in a thread of its own. What happens is put into `facts`; others say what to do by `do`."""
    role = service = ""

    def __init__(self, endpoint, name, keys_dir=None):
        super().__init__(daemon=True)
        self.endpoint, self.name_, self.keys_dir = endpoint, name, keys_dir
        self.facts, self.orders = queue.Queue(), queue.Queue()
        self.lease = self.seq = self.hello_seq = 0
        self.lease_until = 0.0
        self.state, self.sock = "AWAY", None
        self.retry_at, self.attempts = now(), 0
        self.hello_at = self.heard_at = self.ping_at = 0.0
        self.pings = {}
        self.renewed_at = 0.0
        self.ended = False
        self.start()

    # what others call
    def expect(self, *start, timeout=15):
        """The next fact that begins so; those before it are dropped."""
        deadline = time.monotonic() + timeout
        seen = []
        while True:
            try:
                fact = self.facts.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {start} within {timeout} s, only {seen}") from None
            if fact[:len(start)] == start:
                return fact
            seen.append(fact)

    def do(self, function, *args):
        self.orders.put((function, args))

    def close(self, bye=False):
        self.do(self._close, bye)
        self.join(10)

    # the thread
    def tell(self, *fact):
        self.facts.put(fact)

    def send(self, kind, payload=None, **fields):
        if self.sock:
            fields = {"sender": self.name_, "lease": self.lease, **fields}
            self.sock.send_multipart(message(kind, fields, payload))

    def hello_fields(self):
        return {}

    def ping_fields(self):
        return {}

    def hello(self):
        self.seq += 1
        self.hello_seq, self.hello_at, self.state = self.seq, now(), "GREETING"
        self.send(HELLO, role=self.role, service=self.service, seq=self.seq, vmin=1, vmax=1, **self.hello_fields())

    def ping(self):
        self.seq += 1
        self.pings[self.seq] = self.ping_at = now()
        self.send(PING, seq=self.seq, **self.ping_fields())

    def keys(self):
        return keys_from(f"{self.keys_dir}/kubeflex-bus-{self.role.replace(':', '-')}") if self.keys_dir else None

    def connect(self):
        self.sock = dealer(self.endpoint, self.keys())
        self.hello()

    def away(self, pause):
        was_up, self.state = self.state == "UP", "AWAY"
        if self.sock:
            self.sock.close()
        self.sock = None
        self.retry_at = now() + pause
        if was_up:
            self.tell("DISCONNECTED")
            self.on_down()

    def give_up(self):
        self.away(min(2.0, 0.1 * 2 ** self.attempts) * random.uniform(0.5, 1))
        self.attempts += 1

    def tend(self):
        at = now()
        if self.state == "AWAY" and at >= self.retry_at:
            self.connect()
        elif self.state == "GREETING" and at - self.hello_at > WELCOME_S:
            self.give_up()
        elif self.state == "HELLO AGAIN" and at >= self.retry_at:
            self.hello()
        elif self.state == "UP" and at - self.heard_at > SILENCE_S:
            self.give_up()
        elif self.state == "UP" and at - self.ping_at >= PING_S:
            self.ping()
        self.on_tend(at)

    def run(self):
        while not self.ended:
            while not self.orders.empty():
                function, args = self.orders.get()
                function(*args)
            if self.ended:
                break
            self.tend()
            if self.sock and self.sock.poll(20):
                self.take(self.sock.recv_multipart())
            elif not self.sock:
                time.sleep(0.02)

    def take(self, frames):
        magic, kind, envelope, payload = frames
        assert magic == MAGIC and len(kind) == 1
        kind, env = kind[0], unpack(envelope)
        if kind == WELCOME and self.state == "GREETING" and env.get("seq") == self.hello_seq:
            self.state, self.attempts = "UP", 0
            self.on_lease_lost_maybe()
            self.lease, self.heard_at, self.ping_at = env["lease"], now(), now()
            self.lease_until = self.hello_at + env["lease_ms"] / 1000
            self.pings = {}
            self.on_up(env)
            self.tell("CONNECTED")
        elif kind == PONG and self.state == "UP" and env.get("lease") == self.lease and env.get("seq") in self.pings:
            self.heard_at = now()
            self.lease_until = self.pings.pop(env["seq"]) + env["lease_ms"] / 1000
            if env.get("renew") and now() - self.renewed_at > 1:
                self.renewed_at = now()
                self.tell("RENEW")
                self.away(0)
        elif kind == ERROR and env.get("code") == UNAUTHORIZED:
            self.tell("UNAUTHORIZED")
            if self.state == "UP":
                self.state, self.retry_at = "HELLO AGAIN", now() + 0.1
                self.on_down()
        elif self.state == "UP" or kind == ERROR:
            self.on_message(kind, env, unpack(payload))

    def _close(self, bye):
        if bye and self.sock:
            self.sock.linger = 1000
            self.send(BYE)
        if self.sock:
            self.sock.close()
        self.ended = True

    def on_up(self, welcome):
        pass

    def on_down(self):
        pass

    def on_lease_lost_maybe(self):
        pass

    def on_tend(self, at):
        pass

    def on_message(self, kind, env, payload):
        raise NotImplementedError


class Worker(Session):
    """Runs a task until finish() says how it ended. Facts: TASK key uid seq attempt, CANCEL key, CONFIRMED key, FENCED key."""

    def __init__(self, endpoint, role="reconciler:k8s", service="reconcile.k8s", name="py-worker", credit=4, revision=1,
                 keys_dir=None):
        self.role, self.service = role, service
        self.credit, self.revision, self.target = credit, revision, UP
        self.tasks = {}  # task -> [env, digest, done or None, sent_at]
        super().__init__(endpoint, name, keys_dir)

    def hello_fields(self):
        return {"credit": self.credit, "state": self.target, "rev": self.revision}

    def ping_fields(self):
        return {"credit": self.credit, "state": self.target}

    def on_lease_lost_maybe(self):
        if now() > self.lease_until + GRACE_S:
            self.tasks.clear()

    def on_up(self, welcome):
        for task, (env, *_) in self.tasks.items():
            about = {name: env.get(name) for name in ("key", "uid", "gen", "epoch", "seq", "attempt", "deleting")}
            self.send(EVENT, task=task, running=True, **about)
        self.send(SYNC, state=END)
        for task in self.tasks:
            self.send_done(task)

    def send_done(self, task):
        env, _, done, _ = self.tasks[task]
        if done:
            self.tasks[task][3] = now()
            about = {name: env.get(name) for name in ("service", "key", "uid", "gen", "epoch", "seq")}
            outcome, retry_ms, result = done
            self.send(DONE, result, task=task, outcome=outcome, retry_ms=retry_ms, **about)

    def on_tend(self, at):
        for task, (_, _, done, sent_at) in list(self.tasks.items()):
            if done and self.state == "UP" and at - sent_at > RESEND_S:
                self.send_done(task)

    def _finish(self, key, outcome, retry_ms, result):
        for task, (env, _, done, _) in self.tasks.items():
            if env["key"] == key and not done:
                self.tasks[task][2] = (outcome, retry_ms, result)
                if self.state == "UP":
                    self.send_done(task)
                return
        self.tell("NO SUCH TASK", key)

    def finish(self, key, outcome=OK, retry_ms=0, message="done"):
        status = "True" if outcome == OK else "False"
        result = {"conditions": [{"type": "Synced", "status": status, "reason": "Py", "message": message}]}
        self.do(self._finish, key, outcome, retry_ms, result)

    def set_credit(self, credit, target=UP):
        def change():
            self.credit, self.target = credit, target
            self.ping()
        self.do(change)

    def on_message(self, kind, env, payload):
        task = env.get("task", 0)
        if kind == TASK and task not in self.tasks:
            self.tasks[task] = [env, payload, None, 0]
            self.tell("TASK", env["key"], env["uid"], env["seq"], env.get("attempt", 0), len(payload.get("children", [])))
        elif kind == CANCEL and task in self.tasks:
            self.tell("CANCEL", env["key"])
        elif kind == ACK and task in self.tasks:
            del self.tasks[task]
            self.tell("CONFIRMED", env["key"])
        elif kind == ERROR:
            self.tell("ERROR", env["code"], env.get("key", ""))
            if env["code"] == FENCED:
                self.tasks.pop(task, None)


class Watcher(Session):
    """Keeps the window. Facts: DONE service key uid seq outcome message, STATE service state, STALE epoch, ERROR code key."""
    role = "watcher"

    def __init__(self, endpoint, epoch=1, name="py-watcher", keys_dir=None, acks=True, snapshot=()):
        self.epoch, self.acks, self.snapshot = epoch, acks, snapshot
        self.window = self.unacked = 0
        self.waiting = []
        super().__init__(endpoint, name, keys_dir)

    def hello_fields(self):
        return {"epoch": self.epoch}

    def on_up(self, welcome):
        self.window, self.unacked, self.waiting = welcome["window"], 0, []
        if self.snapshot is not None:
            self.waiting = [(SYNC, {"state": BEGIN, "epoch": self.epoch}, None)]
            self.waiting += [(EVENT, {"epoch": self.epoch, **env}, {"type": "k8s"}) for env in self.snapshot]
            self.waiting.append((SYNC, {"state": END, "epoch": self.epoch}, None))
            self.flush()

    def flush(self):
        while self.state == "UP" and self.waiting and (self.waiting[0][0] == SYNC or self.unacked < self.window):
            kind, env, payload = self.waiting.pop(0)
            self.unacked += kind == EVENT
            self.send(kind, payload, **env)

    def event(self, key, seq, uid="u1", gen=1, service="reconcile.k8s", deleting=False, children=()):
        env = {"service": service, "key": key, "uid": uid, "gen": gen, "seq": seq, "epoch": self.epoch, "deleting": deleting}
        digest = {"type": "k8s", "deleting": deleting,
                  "children": [{"k": kind, "n": name, "r": True} for kind, name in children]}

        def add():
            self.waiting.append((EVENT, env, digest))
            self.flush()
        self.do(add)

    def on_message(self, kind, env, payload):
        if kind == ACK or (kind == ERROR and env.get("key") and env.get("seq")):
            self.unacked = max(0, self.unacked - 1)
            self.flush()
        if kind == DONE:
            words = [c.get("message", "") for c in payload.get("conditions", [])]
            self.tell("DONE", env["service"], env["key"], env["uid"], env["seq"], env["outcome"], *words)
            if self.acks:
                self.send(ACK, **{name: env.get(name) for name in ("service", "key", "uid", "gen", "epoch", "seq", "task")})
        elif kind == STATUS and env.get("state"):
            self.tell("STATE", env["service"], env["state"])
        elif kind == STATUS:
            self.tell("PROGRESS", env["key"], env.get("text", ""))
        elif kind == ERROR and env["code"] == CONFLICT and env.get("epoch", 0) > self.epoch:
            self.tell("STALE", env["epoch"])
            self._close(False)
        elif kind == ERROR:
            self.tell("ERROR", env["code"], env.get("key", ""))
