"""An API server in memory for whole processes: every collection, get, list, watch, create, replace, patch, delete. Plain
HTTP on 127.0.0.1. It checks nothing and runs no controllers; a patch merges, whatever its kind. Standard library only."""
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TIME = "2026-11-23T10:00:00Z"
PLURALS = {"status", "finalizers"}  # subresources that are patched


def status(code, reason):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code}


def merge(target, patch):
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def split(path):
    """Collection and name: /api/v1/namespaces/x/secrets/y -> (/api/v1/namespaces/x/secrets, y)."""
    parts = path.strip("/").split("/")
    root = 2 if parts[0] == "api" else 3
    rest = parts[root:]
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in PLURALS:
        root, rest = root + 2, rest[2:]
    return "/" + "/".join(parts[:root] + rest[:1]), rest[1] if len(rest) > 1 else ""


class FakeCluster:
    def __init__(self, port=0):
        self.objects = {}  # collection -> name -> object
        self.events = []  # (revision, collection, type, object)
        self.revision = 100
        self.changed = threading.Condition()
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def answer(self, code, body):
                data = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def handle_request(self):
                url = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                if url.path in ("/version", "/readyz"):
                    self.answer(200, {"gitVersion": "v1.36.3"})
                elif url.path.startswith("/apis/route.openshift.io"):
                    self.answer(404, status(404, "NotFound"))
                elif query.get("watch") in ("true", "1"):
                    self.watch(split(url.path)[0], query)
                else:
                    self.answer(*cluster.act(self.command, *split(url.path), query, body))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

            def watch(self, collection, query):
                name = query.get("fieldSelector", "").rpartition("=")[2]
                at = int(query.get("resourceVersion") or 0)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while True:
                    with cluster.changed:
                        news = [e for e in cluster.events if e[0] > at and e[1] == collection and
                                name in ("", e[3]["metadata"]["name"])]
                        if not news:
                            cluster.changed.wait(1)
                    for revision, _, kind, item in news:
                        at = revision
                        data = (json.dumps({"type": kind, "object": item}) + "\n").encode()
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                        self.wfile.flush()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # a client that ended

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def note(self, collection, kind, item):
        self.revision += 1
        item["metadata"]["resourceVersion"] = str(self.revision)
        self.events.append((self.revision, collection, kind, json.loads(json.dumps(item))))
        self.changed.notify_all()

    def put(self, collection, item):
        with self.changed:
            return self.act("POST", collection, "", {}, item)

    def act(self, verb, collection, name, query, body):
        with self.changed:
            here = self.objects.setdefault(collection, {})
            if verb == "GET" and not name:
                only = query.get("fieldSelector", "").rpartition("=")[2]
                items = [o for n, o in here.items() if only in ("", n)]
                return 200, {"kind": "List", "metadata": {"resourceVersion": str(self.revision)}, "items": items}
            if verb == "POST" or (verb == "PATCH" and name not in here and "fieldManager" in query):
                meta = body["metadata"]
                if meta["name"] in here:
                    return 409, status(409, "AlreadyExists")
                meta.update(uid=str(uuid.uuid4()), creationTimestamp=TIME, generation=1)
                if collection.endswith("/services"):
                    body["spec"]["clusterIP"] = "127.9.9.9"
                here[meta["name"]] = body
                self.note(collection, "ADDED", body)
                return 201, body
            if name not in here:
                return 404, status(404, "NotFound")
            if verb == "DELETE":
                item = here.pop(name)
                self.note(collection, "DELETED", item)
                return 200, item
            if verb != "GET":
                body.get("metadata", {}).pop("resourceVersion", None)
                merge(here[name], body)
                self.note(collection, "MODIFIED", here[name])
            return 200, here[name]

    def secrets(self):
        """Every value in a Secret, as the API has it (base64)."""
        with self.changed:
            return [value for collection, objects in self.objects.items() if collection.endswith("/secrets")
                    for item in objects.values() for value in (item.get("data") or {}).values()]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def kubeconfig(path, port):
    with open(path, "w", encoding="ascii") as file:
        json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "x",
                   "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                   "users": [{"name": "x", "user": {}}],
                   "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}, file)
