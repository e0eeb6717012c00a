#!/usr/bin/env python3
"""The client of kube/ against API servers that misbehave: one file of cases/ a case, all at the same time. Prints TAP.

usage: run_cases.py DRIVER [CASE…]        DRIVER: kube-driver (driver.c); CASE: file name without .case

A case is lines of words; `#` begins a comment, the first one is the case's name. What the client does:

  run COMMAND              at the start (commands: driver.c; $PODS is /api/v1/pods)
  when TOKEN…: COMMAND     when the driver has said all these; `server STEP`: accept, tls, token, freeze all, put, drop

What the server does, a rule for each request (method, and texts that its path contains), taken in order, each once:

  on METHOD TEXT… [times N | always] [optional]
    with HEADER: VALUE     the request has to have it; `without HEADER`
    status N · header NAME: VALUE · gzip · chunk BYTES · pad BYTES (in each object)       for what follows in this rule
    list RV NAME@RV… [next=TOKEN]    object NAME@RV    body TEXT    failure CODE REASON [SECONDS]     an answer
    event TYPE NAME@RV     bookmark RV      error CODE REASON     raw TEXT (with \\n, \\x00)             part of a stream
    end · hang             the stream ends; stays open (the default after a part of a stream is: end)
    reset CODE · goaway [CODE] [last=N] · close (FIN) · abort (RST) · freeze [all]        the stream, the connection
    lose [all]             packets vanish, both ways and unacknowledged
    refuse · deaf · accept new connections (deaf: no TLS); tls NAME: the certificate of new ones (good, stranger, expired, other)
    token TEXT             the client's token file
    inform STATUS          an interim answer
    delay MS               until TOKEN: goes on when the driver has said it
    do COMMAND             to the driver

What has to come of it (all of it, before `deadline SECONDS`, default 30):

  expect TOKEN…            exactly these, in this order; TOKEN+ is once or more, … is anything
  state NAME@RV…           what a consumer of the (first) watch holds in the end
  never TOKEN              no token that begins so
  connections N            at most so many were made
  least MS                 it took at least so long
  peak N                   at most so many requests, watches apart, were under way at a time

  tries N                  as often it may fail: for what a machine without time for us rightly loses (a Lease)

Besides, every request has to meet a rule (heartbeats are answered anyway), every rule has to be met, and the driver has to
end well. `tls NAME`, `streams N` (a connection), `token TEXT` and `put PATH JSON` may stand
before the first rule.
"""
import asyncio
import gzip
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time

import h2server
from store import Store

PARALLEL = 16
PODS = "/api/v1/pods"
CODES = {"no": 0, "protocol": 1, "internal": 2, "refused": 7, "cancel": 8, "calm": 11}


class Bad(Exception):
    pass


# ---- certificates -----------------------------------------------------------------------------------------------------

CERTIFICATES = """
set -e; cd "$1"
new() { openssl ecparam -genkey -name prime256v1 -noout -out "$1.key"; }
ca() { new "$1"; openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 2 -out "$1.pem" \\
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign; }
sign() { new "$1"; openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf 'subjectAltName=%s\\n' "$3" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "$4" -extfile "$1.ext" -out "$1.pem"; }
ca authority; ca foreign
sign good authority IP:127.0.0.1 2
sign stranger foreign IP:127.0.0.1 2
sign other authority DNS:other.example 2
sign expired authority IP:127.0.0.1 -1
"""


def make_certificates(folder):
    subprocess.run(["sh", "-c", CERTIFICATES, "sh", folder], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def tls(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
    context.set_alpn_protocols(["h2"])
    return context


# ---- reading a case -----------------------------------------------------------------------------------------------------

class Rule:
    def __init__(self, words):
        self.times = 1
        self.optional = words[-1] == "optional"
        if self.optional:
            words = words[:-1]
        if words[-1] == "always":
            self.times, words = -1, words[:-1]
        elif len(words) > 2 and words[-2] == "times":
            self.times, words = int(words[-1]), words[:-2]
        self.method, self.texts, self.steps, self.met = words[0], words[1:], [], 0

    def fits(self, exchange):
        return (self.method in ("*", exchange.method) and (self.times < 0 or self.met < self.times) and
                all(text in exchange.path for text in self.texts))

    def done(self):
        return self.optional or (self.met > 0 if self.times < 0 else self.met == self.times)

    def __str__(self):
        return " ".join(["on", self.method, *self.texts])


class Case:
    SETTINGS = {"deadline": 30, "streams": 100, "connections": 0, "peak": 0, "least": 0, "tries": 1, "tls": "good", "token": "first"}

    def __init__(self, path):
        self.file = os.path.basename(path)[:-len(".case")]
        self.title, self.runs, self.whens, self.rules = "", [], [], []
        self.expect = self.state = None
        self.never, self.puts = [], []
        self.settings = dict(self.SETTINGS)
        with open(path) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    self.read_line(line.rstrip("\n"))
                except (ValueError, IndexError) as error:
                    raise Bad(f"{path}:{number}: {error}") from None

    def read_line(self, line):
        line = line.replace("$PODS", PODS)
        if line.lstrip().startswith("#"):
            self.title = self.title or line.strip("# ")
            return
        word, _, rest = line.strip().partition(" ")
        if not word:
            return
        if line[0] == " ":
            self.rules[-1].steps.append((word, rest))
        elif word == "run":
            self.runs.append(rest)
        elif word == "when":
            tokens, _, command = rest.partition(": ")
            self.whens.append((tokens.split(), command))
        elif word == "on":
            self.rules.append(Rule(rest.split()))
        elif word == "expect":
            self.expect = rest
        elif word == "state":
            self.state = sorted(rest.split())
        elif word == "never":
            self.never.append(rest)
        elif word == "put":
            self.puts.append(rest)
        elif word in self.settings:
            self.settings[word] = type(self.SETTINGS[word])(rest)
        else:
            raise ValueError(f"no such word: {word}")


def pattern(text):
    words = []
    for word in text.split():
        if word == "…":
            words.append(r"(?:\S+ )*?")
        elif len(word) > 1 and word.endswith("+"):
            words.append("(?:%s )+" % re.escape(word[:-1]))
        else:
            words.append(re.escape(word) + " ")
    return re.compile("".join(words))


# ---- a case that runs -------------------------------------------------------------------------------------------------------

def thing(text, pad=0, kind="Pod"):
    name, _, rv = text.partition("@")
    made = {"kind": kind, "apiVersion": "v1", "metadata": {"name": name, "resourceVersion": rv}}
    if pad:
        made["data"] = "ä" * (pad // 2)
    return made


def status(code, reason, seconds=None):
    made = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": int(code), "reason": reason,
            "message": f"scripted {reason}"}
    if seconds:
        made["details"] = {"retryAfterSeconds": int(seconds)}
    return made


def encode(value):
    return json.dumps(value, ensure_ascii=False).encode()


class Answer:
    """The steps of one rule for one request."""

    def __init__(self, running, exchange):
        self.running, self.exchange = running, exchange
        self.status, self.headers, self.gzip, self.chunk, self.pad = 200, [], False, 0, 0
        self.streaming = self.finished = False

    async def run(self, steps):
        for word, rest in steps:
            await getattr(self, "do_" + word.replace("-", "_"))(rest)
        if self.streaming and not self.finished:
            self.exchange.end()
        elif not self.finished:
            await self.whole(b"{}")

    async def send(self, data):
        size = self.chunk or max(len(data), 1)
        for at in range(0, len(data), size):
            await self.exchange.send(data[at:at + size])

    async def whole(self, body):
        headers = list(self.headers)
        if self.gzip:
            body = gzip.compress(body)
            headers.append(("content-encoding", "gzip"))
        self.finished = True
        self.exchange.start(self.status, [("content-type", "application/json"), *headers])
        await self.send(body)
        self.exchange.end()

    async def part(self, data):
        if not self.streaming:
            self.streaming = True
            headers = [("content-type", "application/json"), *self.headers]
            if self.gzip:
                headers.append(("content-encoding", "gzip"))
            self.exchange.start(self.status, headers)
        await self.send(gzip.compress(data) if self.gzip else data)

    async def do_with(self, rest):
        name, _, value = rest.partition(": ")
        got = self.exchange.headers.get(name.lower())
        if got != value:
            self.running.fault(f"{self.exchange.path}: header {name} is {got!r}, not {value!r}")

    async def do_without(self, rest):
        if rest.lower() in self.exchange.headers:
            self.running.fault(f"{self.exchange.path}: header {rest} is there")

    async def do_status(self, rest):
        self.status = int(rest)

    async def do_header(self, rest):
        name, _, value = rest.partition(": ")
        self.headers.append((name, value))

    async def do_gzip(self, _rest):
        self.gzip = True

    async def do_chunk(self, rest):
        self.chunk = int(rest)

    async def do_pad(self, rest):
        self.pad = int(rest)

    async def do_list(self, rest):
        words = rest.split()
        meta = {"resourceVersion": words[0]} if words[0] != "none" else {}
        for word in words:
            if word.startswith("next="):
                meta["continue"] = word[5:]
        items = [thing(w, self.pad) for w in words[1:] if not w.startswith("next=")]
        await self.whole(encode({"kind": "PodList", "metadata": meta, "items": items}))

    async def do_object(self, rest):
        await self.whole(encode(thing(rest, self.pad)))

    async def do_body(self, rest):
        await self.whole(unescape(rest))

    async def do_failure(self, rest):
        code, reason, *seconds = rest.split()
        self.status = int(code)
        await self.whole(encode(status(code, reason, *seconds)))

    async def do_event(self, rest):
        kind, name = rest.split()
        await self.part(encode({"type": kind, "object": thing(name, self.pad)}) + b"\n")

    async def do_bookmark(self, rest):
        await self.part(encode({"type": "BOOKMARK", "object": thing("_@" + rest)}) + b"\n")

    async def do_error(self, rest):
        await self.part(encode({"type": "ERROR", "object": status(*rest.split())}) + b"\n")

    async def do_raw(self, rest):
        await self.part(unescape(rest))

    async def do_end(self, _rest):
        await self.part(b"")
        self.finished = True
        self.exchange.end()

    async def do_hang(self, _rest):
        await self.part(b"")
        await self.exchange.hang()

    async def do_silence(self, _rest):
        await self.exchange.hang()

    async def do_trailers(self, _rest):
        await self.part(b"")
        self.finished = True
        self.exchange.trailers([("x-end", "1")])

    async def do_inform(self, rest):
        self.exchange.inform(int(rest))

    async def do_reset(self, rest):
        self.finished = True
        self.exchange.reset(CODES[rest])
        raise h2server.Gone

    async def do_goaway(self, rest):
        words = rest.split()
        last = [int(w[5:]) for w in words if w.startswith("last=")]
        codes = [CODES[w] for w in words if not w.startswith("last=")]
        self.exchange.connection.goaway(codes[0] if codes else 0, last[0] if last else None)

    async def do_close(self, _rest):
        self.exchange.connection.close()
        raise h2server.Gone

    async def do_abort(self, _rest):
        self.exchange.connection.abort()
        raise h2server.Gone

    async def do_freeze(self, rest):
        for connection in self.running.server.connections if rest == "all" else [self.exchange.connection]:
            connection.freeze()

    async def do_lose(self, rest):
        for connection in list(self.running.server.connections) if rest == "all" else [self.exchange.connection]:
            await connection.lose()

    async def do_refuse(self, _rest):
        self.running.server.refuse()

    async def do_deaf(self, _rest):
        self.running.server.deaf()

    async def do_accept(self, _rest):
        await self.running.server.listen()

    async def do_tls(self, rest):
        self.running.use_tls(rest)

    async def do_token(self, rest):
        self.running.write_token(rest)

    async def do_delay(self, rest):
        await asyncio.sleep(int(rest) / 1000)

    async def do_until(self, rest):
        await self.running.said(rest.split())

    async def do_do(self, rest):
        self.running.tell(rest)

    async def do_store(self, _rest):
        self.finished = True
        await self.running.store.answer(self.exchange)

    async def do_put(self, rest):
        path, _, text = rest.partition(" ")
        self.running.store.put(path, json.loads(text))

    async def do_drop(self, rest):
        self.running.store.drop(rest)


def unescape(text):
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


class Running:
    def __init__(self, case, driver, certificates, folder):
        self.case, self.driver, self.certificates, self.folder = case, driver, certificates, folder
        self.tokens, self.faults, self.log = [], [], []
        self.news = asyncio.Condition()
        self.under_way = self.most = 0
        self.complete_at, self.ending = None, False
        self.store = Store()
        self.whens = [(list(tokens), command) for tokens, command in case.whens]

    def fault(self, text):
        self.faults.append(text)

    def write_token(self, text):
        with open(f"{self.folder}/token.new", "w") as file:
            file.write(text + "\n")
        os.rename(f"{self.folder}/token.new", f"{self.folder}/token")

    def use_tls(self, name):
        self.server.context.load_cert_chain(f"{self.certificates}/{name}.pem", f"{self.certificates}/{name}.key")

    def tell(self, command):
        self.process.stdin.write((command + "\n").encode())

    async def obey(self, command):
        if not command.startswith("server "):
            self.tell(command)
            return
        word, _, rest = command[len("server "):].partition(" ")
        await getattr(Answer(self, None), "do_" + word)(rest)

    # ---- the server's side

    async def handle(self, exchange):
        rule = next((r for r in self.case.rules if r.fits(exchange)), None)
        self.log.append(f"{time.monotonic() - self.started:6.2f} {exchange.method} {exchange.path} -> {rule}")
        if exchange.headers.get("user-agent") != "kube-driver/1":
            self.fault(f"{exchange.path}: user agent {exchange.headers.get('user-agent')!r}")
        if rule is None:
            if exchange.path != "/livez":
                self.fault(f"no rule for {exchange.method} {exchange.path}")
                await exchange.answer(404, encode(status(404, "NotFound")))
            else:
                await exchange.answer(200, b"ok", kind="text/plain")
            return
        rule.met += 1
        await self.notify()
        request = "watch=1" not in exchange.path and exchange.path != "/livez"
        self.under_way += request
        self.most = max(self.most, self.under_way)
        try:
            await Answer(self, exchange).run(rule.steps)
        except (AttributeError, ValueError, KeyError) as error:
            self.fault(f"{rule}: {error!r}")
        finally:
            self.under_way -= request
            await self.notify()

    # ---- the driver's side

    async def notify(self):
        async with self.news:
            self.news.notify_all()

    async def said(self, tokens):
        async with self.news:
            await self.news.wait_for(lambda: all(t in self.tokens for t in tokens))

    async def read_output(self):
        while True:
            line = await self.process.stdout.readline()
            if not line:
                break
            if self.ending:
                continue  # what it says when it is told to end
            self.tokens.append(line.decode().rstrip("\n"))
            for when in list(self.whens):
                if all(t in self.tokens for t in when[0]):
                    self.whens.remove(when)
                    await self.obey(when[1])
            await self.notify()
        await self.notify()

    def state(self):
        """What a consumer holds: objects that a list did not show again are gone."""
        held, fresh = {}, None
        for token in self.tokens:
            mark, (name, _, rv) = token[0], token[1:].partition("@")
            if token == "[":
                fresh = set()
            elif token == "]":
                held = {n: v for n, v in held.items() if n in fresh}
                fresh = None
            elif mark in "+*" and rv:
                held[name] = rv
                if fresh is not None:
                    fresh.add(name)
            elif mark == "-" and rv:
                held.pop(name, None)
        return sorted(f"{n}@{v}" for n, v in held.items())

    def missing(self):
        """What is not as the case wants it; empty: all is."""
        case, out = self.case, []
        text = "".join(t + " " for t in self.tokens)
        if case.expect is not None and not pattern(case.expect).fullmatch(text):
            out.append(f"expected: {case.expect}")
        if case.state is not None and self.state() != case.state:
            out.append(f"state is {' '.join(self.state())}, not {' '.join(case.state)}")
        out += [f"not met: {rule}" for rule in case.rules if not rule.done()]
        out += [f"never came: {' '.join(tokens)}" for tokens, _ in self.whens]
        return out

    def wrong(self):
        out = list(self.faults)
        out += [f"said {t}" for word in self.case.never for t in self.tokens if t.startswith(word)]
        made = len(self.server.connections)
        if self.case.settings["connections"] and made > self.case.settings["connections"]:
            out.append(f"{made} connections were made")
        if self.case.settings["peak"] and self.most > self.case.settings["peak"]:
            out.append(f"{self.most} requests were under way at a time")
        if self.complete_at and 1000 * (self.complete_at - self.started) < self.case.settings["least"]:
            out.append(f"it took {self.complete_at - self.started:.2f} s only")
        return out

    async def end_driver(self):
        self.ending = True
        self.process.stdin.close()
        try:
            code = await asyncio.wait_for(self.process.wait(), 15)
            if code != 0:
                self.fault(f"the driver ended with {code}")
        except asyncio.TimeoutError:
            self.process.kill()
            self.fault("the driver did not end")

    async def run(self):
        self.started = time.monotonic()
        self.write_token(self.case.settings["token"])
        self.server = h2server.Server(tls(self.certificates, self.case.settings["tls"]), self.handle,
                                      self.case.settings["streams"])
        await self.server.listen()
        stderr = open(f"{self.folder}/stderr", "wb")
        self.process = await asyncio.create_subprocess_exec(
            self.driver, f"https://127.0.0.1:{self.server.port}", f"{self.certificates}/authority.pem",
            f"{self.folder}/token", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"})
        reader = asyncio.ensure_future(self.read_output())
        for text in self.case.puts:
            await Answer(self, None).do_put(text)
        for command in self.case.runs:
            self.tell(command)
        try:
            async with self.news:
                await asyncio.wait_for(self.news.wait_for(
                    lambda: not self.missing() or self.wrong() or self.process.returncode is not None),
                    self.case.settings["deadline"])
            self.complete_at = time.monotonic()
        except asyncio.TimeoutError:
            pass
        await self.end_driver()
        await reader
        self.server.stop()
        stderr.close()
        self.took = time.monotonic() - self.started
        return self.wrong() + self.missing()

    def report(self):
        with open(f"{self.folder}/stderr", errors="replace") as file:
            errors = file.read().splitlines()[-12:]
        return ["said: " + " ".join(self.tokens)[:2000]] + self.log[-40:] + errors


async def run_one(case, driver, certificates, turn):
    async with turn:
        with tempfile.TemporaryDirectory(prefix="kfx-case-") as folder:
            for left in range(case.settings["tries"] - 1, -1, -1):
                running = Running(case, driver, certificates, folder)
                for rule in case.rules:
                    rule.met = 0
                try:
                    problems = await running.run()
                except Exception as error:  # pylint: disable=broad-except
                    return case, 0, [f"{type(error).__name__}: {error}"], []
                if not problems:
                    return case, running.took, [], []
                if left:
                    print(f"# {case.file}: once more, it failed: {problems[0]}", flush=True)
            return case, running.took, problems, running.report()


async def run_all(driver, cases):
    turn = asyncio.Semaphore(PARALLEL)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kfx-cases-") as certificates:
        make_certificates(certificates)
        print(f"1..{len(cases)}", flush=True)
        # Those that wait long begin first.
        order = sorted(cases, key=lambda c: not c.file.startswith("slow-"))
        work = [run_one(case, driver, certificates, turn) for case in order]
        for number, done in enumerate(asyncio.as_completed(work), 1):
            case, took, problems, report = await done
            failed += bool(problems)
            print(f"{'not ok' if problems else 'ok'} {number} - {case.file}: {case.title}", flush=True)
            for line in [f"{took:.2f} s"] + problems + report if problems else [f"{took:.2f} s"]:
                print(f"#   {line}", flush=True)
    return failed


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
    names = [n + ".case" for n in sys.argv[2:]] or sorted(n for n in os.listdir(folder) if n.endswith(".case"))
    cases = [Case(os.path.join(folder, n)) for n in names]
    return 1 if asyncio.run(run_all(sys.argv[1], cases)) else 0


if __name__ == "__main__":
    sys.exit(main())
