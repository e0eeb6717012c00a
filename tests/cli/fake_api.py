"""A small Kubernetes API server for tests of kflex: ControlPlanes, Namespaces and Secrets in memory, list and watch, over
TLS on 127.0.0.1. Its "operator" makes a plane ready, step by step, as soon as it is created; a name that starts with a
word of BEHAVIOUR goes another way. Every request is kept in `requests`.
"""

import base64
import json
import os
import queue
import socketserver
import ssl
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bus"))
import fake_forward  # noqa: E402

GROUP = "tenancy.kflex.kubestellar.org"
PLANES = f"/apis/{GROUP}/v1alpha1/controlplanes"
NAMESPACES = "/api/v1/namespaces"
TIME = "2026-11-23T10:00:00Z"

BEHAVIOUR = {
    "unbuilt": ("NotSupported", "type vcluster is not built yet"),
    "taken": ("NameConflict", "namespace taken-system belongs to somebody else"),
    "stuck": ("WaitingForStorage", "waiting for Secret kine-dsn"),
}


def plane_kubeconfig(name, server, ca):
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": f"{name}-cluster", "cluster": {
            "server": server, "certificate-authority-data": base64.b64encode(ca.encode()).decode()}}],
        "contexts": [{"name": name, "context": {
            "cluster": f"{name}-cluster", "user": f"{name}-admin", "namespace": "default"}}],
        "users": [{"name": f"{name}-admin", "user": {"token": "tenant"}}],
    })


class Store:
    """Objects by collection and name, and the open watches on them."""

    def __init__(self):
        self.lock = threading.RLock()
        self.version = 100
        self.objects = {PLANES: {}, NAMESPACES: {}}
        self.secrets = {}
        self.extra = {}  # path -> what a GET of it answers; a text is answered as text
        self.watches = []  # (collection, name or None, queue)
        self.watch_opened = threading.Condition(self.lock)

    def stamp(self, obj):
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)

    def tell(self, kind, collection, obj):
        text = json.dumps({"type": kind, "object": obj})
        for where, name, events in self.watches:
            if where == collection and name in (None, obj["metadata"]["name"]):
                events.put(text)

    def put(self, collection, obj):
        with self.lock:
            self.stamp(obj)
            name = obj["metadata"]["name"]
            kind = "MODIFIED" if name in self.objects[collection] else "ADDED"
            self.objects[collection][name] = obj
            self.tell(kind, collection, obj)

    def remove(self, collection, name):
        with self.lock:
            obj = self.objects[collection].pop(name, None)
            if obj:
                self.stamp(obj)
                self.tell("DELETED", collection, obj)

    def end_watches(self):
        with self.lock:
            for _, _, events in self.watches:
                events.put(None)

    def wait_watched(self, collection, name, seconds=10):
        """Until somebody watches that object."""
        with self.lock:
            return self.watch_opened.wait_for(
                lambda: any(w[0] == collection and w[1] == name for w in self.watches), seconds)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # without HTTPServer's look-up of the host's name
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request, client_address):
        """A client that goes away in the middle is part of the tests; anything else is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Api:
    """One server: hosting=True serves ControlPlanes, else it stands for a tenant plane."""

    def __init__(self, folder, hosting=True, client_ca=None):
        """client_ca: a file; who has a certificate of it needs no token."""
        self.client_ca = client_ca
        self.store = Store()
        self.requests = []  # (verb, path with query, body or None)
        self.hosting = hosting
        self.hold_deletion = False
        self.hooks = None  # status, reason and message of condition HooksApplied of planes to come
        self.hold_logs = False  # a log that is followed does not end
        self.refuse = {}  # collection -> HTTP status of every answer
        self.token = "host" if hosting else "tenant"
        self.ca = make_certificate(folder)
        self.tenant_server = "https://127.0.0.1:1"
        self.extra_user = {}
        self.page = None
        self.forward_to = None  # what listens in every pod
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
        if client_ca:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(client_ca)
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.api = self
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.store.end_watches()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def writes(self):
        return [r for r in self.requests if r[0] != "GET"]

    # ---- the operator ----

    def condition(self, plane, kind, status, reason, message="", told=True):
        conditions = plane.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [c for c in conditions if c["type"] != kind]
        conditions.append({"type": kind, "status": status, "reason": reason, "message": message,
                           "lastTransitionTime": TIME, "lastUpdateTime": TIME})
        if told:
            self.store.put(PLANES, plane)

    def add_plane(self, name, kind="k8s", **status):
        plane = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ControlPlane",
                 "metadata": {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": TIME, "generation": 1},
                 "spec": {"type": kind}, "status": dict({"conditions": []}, **status)}
        self.store.put(PLANES, plane)
        return plane

    def add_event(self, plane, kind, reason, message, pod=None, minute=0):
        """About the plane (in namespace default) or about a pod of its namespace."""
        name = plane["metadata"]["name"]
        ns = f"{name}-system" if pod else "default"
        about = {"kind": "Pod", "name": pod} if pod else {"kind": "ControlPlane", "name": name,
                                                          "uid": plane["metadata"]["uid"]}
        path = f"{NAMESPACES}/{ns}/events"
        for where in (f"{NAMESPACES}/default/events", f"{NAMESPACES}/{name}-system/events", path):
            self.store.extra.setdefault(where, {"kind": "EventList", "items": []})
        self.store.extra[path]["items"].append({
            "metadata": {"name": f"e{len(self.store.extra[path]['items'])}", "namespace": ns}, "involvedObject": about,
            "type": kind, "reason": reason, "message": message, "eventTime": f"2026-11-23T10:{minute:02}:00.000000Z"})

    def add_pod(self, plane, name, containers, log="", **status):
        """containers: name -> its status beside the name; the log is every container's."""
        where = f"{NAMESPACES}/{plane['metadata']['name']}-system/pods"
        pods = self.store.extra.setdefault(where, {"kind": "PodList", "items": []})["items"]
        pods.append({"metadata": {"name": name, "namespace": where.split("/")[4], "creationTimestamp": TIME},
                     "spec": {"containers": [{"name": c} for c in containers]},
                     "status": dict(status, containerStatuses=[dict(s, name=c) for c, s in containers.items()])})
        self.store.extra[f"{where}/{name}/log"] = log

    def add_namespace(self, plane, owner_uid=None):
        name = plane["metadata"]["name"]
        self.store.put(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": f"{name}-system", "uid": str(uuid.uuid4()), "ownerReferences": [{
                "kind": "ControlPlane", "name": name, "uid": owner_uid or plane["metadata"]["uid"]}]}})

    def add_secret(self, name):
        config = json.loads(plane_kubeconfig(name, self.tenant_server, self.ca))
        config["users"][0]["user"].update(self.extra_user)
        self.store.secrets[f"{NAMESPACES}/{name}-system/secrets/admin-kubeconfig"] = {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "admin-kubeconfig", "namespace": f"{name}-system"},
            "data": {"kubeconfig": base64.b64encode(json.dumps(config).encode()).decode()}}

    def make_ready(self, plane):
        name = plane["metadata"]["name"]
        self.condition(plane, "StorageReady", "False", "WaitingForNamespace")
        self.add_namespace(plane)
        self.condition(plane, "StorageReady", "True", "DatabaseReady")
        self.condition(plane, "Exposed", "True", "Ingress", f"Ingress {name}")
        self.condition(plane, "Ready", "False", "Creating", "0 of 1 replicas")
        self.condition(plane, "Synced", "True", "ReconcileSuccess")
        self.add_secret(name)
        plane["status"]["secretRef"] = {"namespace": f"{name}-system", "name": "admin-kubeconfig", "key": "kubeconfig",
                                        "inClusterKey": "kubeconfig-incluster"}
        if self.hooks:
            self.condition(plane, "HooksApplied", *self.hooks, told=False)  # one write says both
        self.condition(plane, "Ready", "True", "Available")

    def on_create(self, plane):
        if plane["metadata"]["name"].startswith("silent"):
            return  # nobody is at work
        for word, (reason, message) in BEHAVIOUR.items():
            if plane["metadata"]["name"].startswith(word):
                self.condition(plane, "Synced", "False", reason, message)
                return
        self.make_ready(plane)

    def may(self, attributes):
        return True

    def on_apply(self, obj):
        """Workloads run and kinds are served at once."""
        if obj["kind"] in ("Deployment", "StatefulSet"):
            n = obj["spec"].get("replicas", 1)
            obj["status"] = {"observedGeneration": 1, "replicas": n, "updatedReplicas": n, "readyReplicas": n}
        if obj["kind"] == "CustomResourceDefinition":
            obj["status"] = {"conditions": [{"type": "Established", "status": "True"}]}

    def on_delete(self, plane):
        name = plane["metadata"]["name"]
        plane["metadata"]["deletionTimestamp"] = TIME
        self.condition(plane, "Synced", "False", "Deleting", "dropping the database")
        self.store.remove(PLANES, name)
        if not self.hold_deletion:
            self.store.remove(NAMESPACES, f"{name}-system")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # headers and body leave together
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, code, body):
        text = isinstance(body, str)
        data = body.encode() if text else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, code, reason, message):
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message,
                           "code": code})

    def handle_one(self, verb):
        api = self.server.api
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urlparse(self.path)
        query = parse_qs(url.query)
        api.requests.append((verb, self.path, body))
        certified = api.client_ca and self.connection.getpeercert()
        if not certified and self.headers.get("Authorization") != f"Bearer {api.token}":
            return self.fail(401, "Unauthorized", "Unauthorized")
        for collection, code in api.refuse.items():
            if url.path.startswith(collection):
                return self.fail(code, {403: "Forbidden"}.get(code, "InternalError"), f"user x cannot do that ({code})")
        if url.path == "/version":
            return self.answer(200, {"gitVersion": "v1.36.3"})
        if url.path.startswith(f"/apis/{GROUP}") and not api.hosting:
            return self.fail(404, "NotFound", "the server could not find the requested resource")
        if url.path == f"/apis/{GROUP}/v1alpha1":
            return self.answer(200, {"kind": "APIResourceList", "resources": [{"name": "controlplanes"}]})
        return self.objects(api, verb, url.path, query, body)

    def objects(self, api, verb, path, query, body):
        store = api.store
        if path.endswith("/portforward"):
            return fake_forward.relay(self, int(query["ports"][0]), api.forward_to)
        if path in store.objects:
            if verb == "POST":
                return self.create(api, body)
            if "watch" in query:
                return self.watch(store, path, query)
            return self.list(api, store, path, query)
        if verb == "PATCH" and "/secrets/" in path:  # server-side apply
            store.secrets[path] = body
            return self.answer(201, body)
        if path.endswith("/selfsubjectaccessreviews"):
            return self.answer(201, dict(body, status={"allowed": api.may(body["spec"]["resourceAttributes"])}))
        if verb == "PATCH":
            return self.patch(api, path, query, body)
        if path in store.secrets:
            return self.answer(200, store.secrets.pop(path) if verb == "DELETE" else store.secrets[path])
        if path in store.extra:
            if api.hold_logs and "follow" in query:
                return self.stream(store, store.extra[path])
            return self.answer(200, store.extra[path])
        collection, _, name = path.rpartition("/")
        obj = store.objects.get(collection, {}).get(name)
        if obj is None:
            return self.fail(404, "NotFound", f'"{name}" not found')
        if verb == "DELETE":
            return self.delete(api, obj, body)
        return self.answer(200, obj)

    def patch(self, api, path, query, body):
        """Server-side apply of anything; a JSON patch is only looked at."""
        if "dryRun" in query or isinstance(body, list) or "merge-patch" in self.headers["Content-Type"]:
            return self.answer(200, body if isinstance(body, dict) else {})
        collection, _, name = path.rpartition("/")
        with api.store.lock:
            there = api.store.objects.setdefault(collection, {}).get(name)
            body["metadata"]["uid"] = there["metadata"]["uid"] if there else str(uuid.uuid4())
            body["metadata"]["generation"] = 1
            api.on_apply(body)
            api.store.put(collection, body)
        self.answer(200, body)

    def create(self, api, body):
        name = body["metadata"]["name"]
        with api.store.lock:
            if name in api.store.objects[PLANES]:
                return self.fail(409, "AlreadyExists", f'controlplanes "{name}" already exists')
            body["metadata"].update(uid=str(uuid.uuid4()), creationTimestamp=TIME, generation=1)
            api.store.put(PLANES, body)
        self.answer(201, body)
        api.on_create(body)

    def delete(self, api, obj, body):
        wanted = ((body or {}).get("preconditions") or {}).get("uid")
        if wanted and wanted != obj["metadata"]["uid"]:
            return self.fail(409, "Conflict", "the UID in the precondition does not match")
        self.answer(200, obj)
        if obj.get("kind") == "ControlPlane":
            return api.on_delete(obj)
        api.store.remove(self.path.split("?")[0].rpartition("/")[0], obj["metadata"]["name"])

    @staticmethod
    def wanted_name(query):
        selector = query.get("fieldSelector", [""])[0]
        return selector[len("metadata.name="):] if selector.startswith("metadata.name=") else None

    def list(self, api, store, path, query):
        name = self.wanted_name(query)
        with store.lock:
            items = [o for n, o in store.objects[path].items() if name in (None, n)]
            version = str(store.version)
        meta = {"resourceVersion": version}
        if api.page and name is None:
            start = int(query.get("continue", ["0"])[0])
            if start + api.page < len(items):
                meta["continue"] = str(start + api.page)
            items = items[start:start + api.page]
        self.answer(200, {"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items})

    def stream(self, store, text):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()
        events = queue.Queue()
        with store.lock:
            store.watches.append((None, None, events))
        events.get()
        self.close_connection = True

    def watch(self, store, path, query):
        name = self.wanted_name(query)
        events = queue.Queue()
        since = int(query.get("resourceVersion", ["0"])[0] or 0)
        with store.lock:
            # What happened between the list and this watch: at most the newest state of each object.
            for key, obj in store.objects[path].items():
                if name in (None, key) and int(obj["metadata"]["resourceVersion"]) > since:
                    events.put(json.dumps({"type": "MODIFIED", "object": obj}))
            if name and name not in store.objects[path] and store.version > since:
                events.put(json.dumps({"type": "DELETED", "object": {"metadata": {
                    "name": name, "uid": "gone", "resourceVersion": str(store.version)}}}))
            entry = (path, name, events)
            store.watches.append(entry)
            store.watch_opened.notify_all()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        try:
            self.end_headers()
            self.wfile.flush()
            while (text := events.get()) is not None:
                data = (text + "\n").encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except OSError:
            pass
        finally:
            with store.lock:
                store.watches.remove(entry)
            self.close_connection = True

    def do_GET(self):
        self.handle_one("GET")

    def do_POST(self):
        self.handle_one("POST")

    def do_DELETE(self):
        self.handle_one("DELETE")

    def do_PATCH(self):
        self.handle_one("PATCH")


def make_certificate(folder, names="IP:127.0.0.1"):
    """A self-signed certificate, once per folder. Returns it as PEM."""
    if not os.path.exists(f"{folder}/tls.crt"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt", "-days", "2", "-subj", "/CN=fake",
                        "-addext", f"subjectAltName={names}"], check=True, capture_output=True)
    with open(f"{folder}/tls.crt", encoding="ascii") as f:
        return f.read()
