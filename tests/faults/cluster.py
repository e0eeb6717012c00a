"""An instance of the local cluster as a fault test sees it: its API server, its Postgres, its audit log, its folders.
Standard library only. Whatever is asked may be away for a while: each wait has a deadline, and says what it waited for.
"""
import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.parse

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
GROUP = "tenancy.kflex.kubestellar.org"
PLANES = f"/apis/{GROUP}/v1alpha1/controlplanes"
SYSTEM = "kubeflex-system"
LABEL = "kflex.kubestellar.org/controlplane"
CALL_S = 5      # one request; a server that is stopped answers later
PAUSE_S = 0.1   # between attempts on something that is away
TENANT_NOISE = "password authentication failed"  # what the kine of a plane that goes away meets, many times a second
LOOK_S = 2      # a watch that says nothing for this long is opened again, from a fresh list


class Failure(Exception):
    """What a round found wrong, in words."""


class Refused(Exception):
    """An answer of an API server other than 2xx."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text[:300]}")
        self.code = code


# What a server that dies, starts or is stopped looks like from here.
AWAY = (OSError, http.client.HTTPException, ssl.SSLError, ValueError)


class Deadline:
    def __init__(self, seconds):
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()

    def check(self, what):
        if self.left() <= 0:
            raise Failure(f"not within {self.seconds} s: {what}")


class Api:
    """An API server by a kubeconfig: a host's or a plane's. Safe to use from several threads."""

    def __init__(self, kubectl, kubeconfig):
        # No cache folder and no current folder is touched: a text goes in, JSON comes out.
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(kubeconfig)
            file.flush()
            view = subprocess.run([kubectl, "--kubeconfig", file.name, "config", "view", "--raw", "--minify", "--flatten",
                                   "-o", "json"], capture_output=True, timeout=20, check=True)
        config = json.loads(view.stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        server = urllib.parse.urlsplit(cluster["server"])
        self.host, self.port = server.hostname, server.port or 443
        self.name = cluster.get("tls-server-name") or self.host
        self.context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            self.context.load_cert_chain(pem.name)

    def _connect(self, timeout):
        raw = socket.create_connection((self.host, self.port), timeout)
        try:
            tls = self.context.wrap_socket(raw, server_hostname=self.name)
        except BaseException:
            raw.close()
            raise
        connection = http.client.HTTPConnection(self.name)
        connection.sock = tls
        return connection

    def call(self, verb, path, body=None, timeout=CALL_S):
        """The answer as JSON. Raises Refused, or one of AWAY."""
        connection = self._connect(timeout)
        try:
            data = json.dumps(body).encode() if body is not None else None
            connection.request(verb, path, data, {"Content-Type": "application/json", "User-Agent": "kubeflex-faults"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            if not 200 <= answer.status < 300:
                raise Refused(answer.status, text)
            return json.loads(text) if text.startswith("{") else text
        finally:
            connection.close()

    def sure(self, verb, path, body=None, seconds=60, missing=False):
        """call, again while the server is away. A write may have landed although its answer was lost, so 409 after
        such an attempt is success, and so is 404 of a DELETE. missing: 404 of a GET is None."""
        deadline, blind, last = Deadline(seconds), False, ""
        while True:
            deadline.check(f"{verb} {path}: {last}")
            try:
                return self.call(verb, path, body)
            except Refused as error:
                if error.code == 404 and (missing or verb == "DELETE"):
                    return None
                if error.code == 409 and blind and verb == "POST":
                    return None
                if error.code not in (401, 403, 429) and error.code < 500:
                    raise
                last = str(error)  # 401, 403: an API server that starts does not know its roles yet
            except AWAY as error:
                last, blind = repr(error), True
            time.sleep(PAUSE_S)

    def items(self, path, seconds=60):
        return self.sure("GET", path, seconds=seconds)["items"]

    def await_object(self, path, name, good, seconds, what):
        """Until good(object, None where there is none) is true; returns what it says. Lists, watches, and lists again where
        the watch ends."""
        deadline = Deadline(seconds)
        select = urllib.parse.urlencode({"fieldSelector": f"metadata.name={name}"})
        while True:
            deadline.check(what() if callable(what) else what)
            try:
                found = self.call("GET", f"{path}?{select}")
                value = good(found["items"][0] if found["items"] else None)
                if value:
                    return value
                value = self._watch(f"{path}?{select}&watch=1&resourceVersion={found['metadata']['resourceVersion']}", good,
                                    min(LOOK_S, max(0.1, deadline.left())))
                if value:
                    return value
            except Refused as error:
                if error.code < 500 and error.code not in (401, 403, 410, 429):
                    raise
                time.sleep(PAUSE_S)
            except AWAY:
                time.sleep(PAUSE_S)

    def _watch(self, path, good, silence):
        connection = self._connect(silence)
        try:
            connection.request("GET", path, headers={"User-Agent": "kubeflex-faults"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise Refused(answer.status, answer.read().decode(errors="replace"))
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return None
                value = good(None if event["type"] == "DELETED" else event["object"])
                if value:
                    return value
            return None
        except TimeoutError:
            return None
        finally:
            connection.close()


class Audit:
    """The writes of our own programs in the API server's audit log, from now on. The file rotates."""

    def __init__(self, path):
        self.path, self.file, self.rest = path, open(path, "rb"), b""
        self.file.seek(0, os.SEEK_END)

    def _read(self):
        while True:
            data = self.file.read()
            try:
                moved = os.stat(self.path).st_ino != os.fstat(self.file.fileno()).st_ino
            except FileNotFoundError:
                moved = False  # between rename and create
            if not moved:
                return data
            data += self.file.read()  # what came between the read and the rotation
            self.file.close()
            self.file = open(self.path, "rb")
            return data + self.file.read()

    def writes(self):
        """Mutating requests since the last call, Leases apart."""
        lines = (self.rest + self._read()).split(b"\n")
        self.rest, found = lines.pop(), []
        for line in lines:
            if b'"userAgent":"kubeflex-' not in line or b'"userAgent":"kubeflex-faults' in line:
                continue
            event = json.loads(line)
            thing = event.get("objectRef", {})
            if event.get("stage") == "ResponseComplete" and event["verb"] in (
                    "create", "update", "patch", "delete", "deletecollection") and thing.get("resource") != "leases":
                found.append({"agent": event["userAgent"].split("/")[0], "verb": event["verb"],
                              "resource": "/".join(filter(None, (thing.get("resource"), thing.get("subresource")))),
                              "namespace": thing.get("namespace", ""), "name": thing.get("name", ""),
                              "code": event.get("responseStatus", {}).get("code"), "time": event["stageTimestamp"]})
        return found


def show_write(write):
    place = "/".join(filter(None, (write["namespace"], write["name"])))
    return f"{write['time']} {write['agent']} {write['verb']} {write['resource']} {place} -> {write['code']}"


class Cluster:
    """One instance of the local cluster."""

    def __init__(self, instance):
        self.instance = instance
        self.state = os.path.join(os.environ.get("KUBEFLEX_STATE", "/var/lib/kubeflex-local"), instance)
        try:
            with open(os.path.join(self.state, "config/node.env"), encoding="utf-8") as file:
                self.env = dict(line.rstrip("\n").split("=", 1) for line in file)
            with open(os.path.join(self.state, "admin.kubeconfig"), encoding="utf-8") as file:
                kubeconfig = file.read()
        except OSError as error:
            raise SystemExit(f"instance {instance} is not up ({error}): run deploy/local/up --no-plane {instance}") from None
        self.kubectl = os.path.join(self.env["KF_BIN_kubernetes"], "kubectl")
        self.api = Api(self.kubectl, kubeconfig)
        self.audit = Audit(os.path.join(self.state, "logs/audit.log"))
        secret = self.api.sure("GET", f"/api/v1/namespaces/{SYSTEM}/secrets/postgres-postgresql")
        service = self.api.sure("GET", f"/api/v1/namespaces/{SYSTEM}/services/postgres-postgresql")
        self.sql_address = service["spec"]["clusterIP"]
        self.sql_env = dict(os.environ, PGCONNECT_TIMEOUT="2",
                            PGPASSWORD=base64.b64decode(secret["data"]["postgres-password"]).decode())

    def sql(self, text, seconds=60):
        """Lines of an answer, as the superuser; again while Postgres is away."""
        deadline, last = Deadline(seconds), ""
        while True:
            deadline.check(f"an answer of Postgres to {text}: {last}")
            try:
                done = subprocess.run(
                    [os.path.join(REPO, "deploy/local/node-exec"), self.instance, "psql", "-qAtX", "-v", "ON_ERROR_STOP=1",
                     "-c", text, f"host={self.sql_address} user=postgres dbname=postgres sslmode=require"],
                    env=self.sql_env, capture_output=True, text=True, timeout=CALL_S, check=False)
                if done.returncode == 0:
                    return done.stdout.split()
                last = done.stderr.strip()
            except subprocess.TimeoutExpired:
                last = "no answer"
            time.sleep(PAUSE_S)

    def storage_of(self, uid):
        """Names of databases and roles that hold the uid."""
        end = uid.replace("-", "")
        return self.sql(f"select datname from pg_database where datname like '%{end}%'"
                        f" union all select rolname from pg_roles where rolname like '%{end}%'")

    def plane_api(self, name):
        """The plane as its owner reaches it: by the kubeconfig in its Secret."""
        secret = self.api.sure("GET", f"/api/v1/namespaces/{name}-system/secrets/admin-kubeconfig")
        return Api(self.kubectl, base64.b64decode(secret["data"]["kubeconfig"]).decode())

    def pods(self, namespace):
        return self.api.items(f"/api/v1/namespaces/{namespace}/pods")

    def log_tails(self, since, namespaces, lines=25):
        """The last lines of the containers' logs written after `since` (seconds of the epoch), by container."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
        folder, found = os.path.join(self.state, "logs/pods"), {}
        for pod in sorted(os.listdir(folder)):
            if pod.split("_")[0] not in namespaces:
                continue
            for place, _, files in os.walk(os.path.join(folder, pod)):
                for name in sorted(files, key=lambda n: (len(n), n)):
                    with open(os.path.join(place, name), encoding="utf-8", errors="replace") as file:
                        fresh = [line.rstrip("\n") for line in file if line[:19] >= stamp and TENANT_NOISE not in line]
                    if fresh:
                        found[f"{pod.split('_')[1]}/{os.path.basename(place)}/{name}"] = fresh[-lines:]
        return found
