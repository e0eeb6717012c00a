"""What the tests of kflex share: a kubeconfig, a fake hosting cluster and a fake plane, kflex as a process."""

import base64
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_api import Api  # noqa: E402

LIMIT = 60  # seconds: only a test that hangs gets there
PROGRAM = [""]


def main(doc):
    """FILE PATH-OF-KFLEX [unittest arguments]"""
    if len(sys.argv) < 2:
        sys.exit(doc)
    PROGRAM[0] = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tls = tempfile.mkdtemp(prefix="kfx-cli-tls-")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.tls)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kfx-cli-")
        self.path = f"{self.dir}/config"
        self.api = Api(self.tls)
        self.tenant = Api(self.tls, hosting=False)
        self.api.tenant_server = self.tenant.url
        self.env = {"HOME": self.dir, "KUBECONFIG": self.path, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        for name in os.environ:
            if name.endswith("SAN_OPTIONS"):
                self.env[name] = os.environ[name]
        self.write_config("host")

    def tearDown(self):
        self.api.close()
        self.tenant.close()
        shutil.rmtree(self.dir)

    def write_config(self, current, path=None, **more):
        def cluster(name, api):
            return {"name": name, "cluster": {"server": api.url, "certificate-authority-data":
                                              base64.b64encode(api.ca.encode()).decode()}}
        config = {
            "apiVersion": "v1", "kind": "Config", "x-mine": [1, None, "two"],
            "extensions": [{"name": "other-tool", "extension": {"keep": "me"}}],
            "clusters": [cluster("hc", self.api), cluster("tc", self.tenant)],
            "contexts": [{"name": "host", "context": {"cluster": "hc", "user": "hu", "extensions": [
                {"name": "lens", "extension": {"colour": "red"}}]}},
                {"name": "tenant", "context": {"cluster": "tc", "user": "tu"}}],
            "users": [{"name": "hu", "user": {"token": "host"}}, {"name": "tu", "user": {"token": "tenant"}}],
            "current-context": current,
        }
        config.update(more)
        with open(path or self.path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        os.chmod(path or self.path, 0o600)

    def config(self, path=None):
        """What is in the kubeconfig now, read by kflex's own reader's opposite: kubectl-like JSON from a YAML subset."""
        with open(path or self.path, encoding="utf-8") as f:
            return read_yaml(f.read())

    def kflex(self, *args, code=0, stdin="", env=None):
        done = subprocess.run([PROGRAM[0], *args], env=dict(self.env, **(env or {})), input=stdin, text=True,
                              capture_output=True, timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, code, f"kflex {args}: {done.stdout}{done.stderr}")
        return done

    def context(self, name):
        return next((c["context"] for c in self.config()["contexts"] if c["name"] == name), None)

    def ext(self, holder):
        return next((e["extension"]["data"] for e in holder.get("extensions", []) if e["name"] == "kubeflex"), {})

    def start(self, *args, **more):
        """kflex in the background; the test ends it."""
        return subprocess.Popen([PROGRAM[0], *args], env=self.env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **more)

    def create(self, name="cp1"):
        return self.kflex("create", name)

    def error(self, done, *words):
        """The reason comes first on stderr, alone; stdout has no usage."""
        self.assertTrue(done.stderr.splitlines()[0].startswith("Error: "), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertNotIn("Usage:", done.stdout)

    def on_terminal(self, *args, env=None, answer="", seen=()):
        """Runs kflex with stdin and stdout on a terminal; returns what was shown on stdout. answer: what is typed at once.
        seen: pairs of a text and what is called with the process as soon as it is on the screen, in this order."""
        seen = list(seen)
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 160))
        child = subprocess.Popen([PROGRAM[0], *args], env={**self.env, "TERM": "xterm", **(env or {})}, stdin=slave,
                                 stdout=slave, stderr=subprocess.DEVNULL)
        os.close(slave)
        os.write(master, answer.encode())
        shown = b""
        while True:
            ready, _, _ = select.select([master], [], [], LIMIT)
            try:
                data = os.read(master, 65536) if ready else b""
            except OSError:
                break
            if not data:
                break
            shown += data
            while seen and seen[0][0] in shown.decode(errors="replace"):
                seen.pop(0)[1](child)
        os.close(master)
        child.wait(LIMIT)
        return shown.decode()


def read_yaml(text):
    """kflex writes block-style YAML; Python's library has no YAML, so let kubectl's stand-in, our own printer, do it."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    return parse_block([line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")], 0)[0]


def scalar(text):
    text = text.strip()
    if text.startswith('"'):
        return json.loads(text)
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def indent_of(line):
    return len(line) - len(line.lstrip(" "))


def parse_block(lines, at):
    """(value, next line) of the block that starts at lines[at]."""
    if at >= len(lines):
        return {}, at
    depth = indent_of(lines[at])
    if lines[at].lstrip().startswith("- ") or lines[at].strip() == "-":
        items = []
        while at < len(lines) and indent_of(lines[at]) == depth and lines[at].lstrip().startswith("-"):
            rest = lines[at][depth + 1:]
            if re.match(r"\s+[^\s\"'{\[][^:]*:(\s|$)", rest):
                lines[at] = " " * (depth + 1) + rest
                value, at = parse_block(lines, at)
            else:
                value, at = scalar(rest), at + 1
            items.append(value)
        return items, at
    out = {}
    while at < len(lines) and indent_of(lines[at]) == depth and not lines[at].lstrip().startswith("- "):
        key, _, rest = lines[at].strip().partition(":")
        at += 1
        if rest.strip():
            out[scalar(key)] = scalar(rest)
            continue
        nested = at < len(lines) and (indent_of(lines[at]) > depth or
                                      (indent_of(lines[at]) == depth and lines[at].lstrip().startswith("- ")))
        if nested:
            out[scalar(key)], at = parse_block(lines, at)
        else:
            out[scalar(key)] = None
    return out, at
