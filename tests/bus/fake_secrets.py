"""A little API server that knows Secrets of one namespace: get, create, merge-patch, list and watch by name; and one pod, whose
tap port it forwards. Plain HTTP on 127.0.0.1, for the bus's keystore and kflex tap."""
import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import fake_forward

BASE = "/api/v1/namespaces/kubeflex-system/secrets"
PODS = "/api/v1/namespaces/kubeflex-system/pods"
GROUP = "/apis/tenancy.kflex.kubestellar.org/v1alpha1"


def status(code, reason):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code}


class Store:
    """The Secrets, what happened to them, and the server in front."""

    def __init__(self):
        self.secrets = {}
        self.events = []  # (revision, type, object)
        self.revision = 100
        self.requests = []
        self.pods = []  # names
        self.forward_to = None  # (host, port) behind the pod's tap port
        self.forbidden = False  # nobody may forward
        self.changed = threading.Condition()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def answer(self, code, body):
                data = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def chunk(self, body):
                data = (json.dumps(body) + "\n").encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            def handle_request(self):
                url = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                store.requests.append((self.command, url.path))
                if url.path == GROUP:
                    self.answer(200, {"kind": "APIResourceList", "resources": [{"name": "controlplanes"}]})
                elif url.path == PODS:
                    self.answer(200, {"kind": "PodList", "items": [{"metadata": {"name": n}} for n in store.pods]})
                elif url.path.endswith("/portforward"):
                    self.forward(url.path, query)
                elif not url.path.startswith(BASE):
                    self.answer(404, status(404, "NotFound"))
                elif query.get("watch") in ("true", "1"):
                    self.watch(query)
                else:
                    self.answer(*store.act(self.command, url.path[len(BASE):].strip("/"), query, body))

            def forward(self, path, query):
                if store.forbidden:
                    self.answer(403, status(403, "Forbidden"))
                elif path[len(PODS) + 1:].split("/")[0] not in store.pods:
                    self.answer(404, status(404, "NotFound"))
                else:
                    fake_forward.relay(self, int(query["ports"]), store.forward_to)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_request

            def watch(self, query):
                name = query.get("fieldSelector", "").rpartition("=")[2]
                at = int(query.get("resourceVersion") or 0)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while True:
                    with store.changed:
                        news = [e for e in store.events if e[0] > at and e[2]["metadata"]["name"] == name]
                        if not news:
                            store.changed.wait(1)
                    for revision, kind, item in news:
                        at = revision
                        try:
                            self.chunk({"type": kind, "object": store.partial(item)})
                        except OSError:
                            return

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # a client that was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def partial(item):
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}

    def _note(self, kind, item):
        self.revision += 1
        item["metadata"]["resourceVersion"] = str(self.revision)
        self.events.append((self.revision, kind, json.loads(json.dumps(item))))
        self.changed.notify_all()

    def act(self, verb, name, query, body):
        with self.changed:
            if verb == "GET" and not name:
                only = query.get("fieldSelector", "").rpartition("=")[2]
                items = [self.partial(s) for n, s in self.secrets.items() if n == only]
                return 200, {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                             "metadata": {"resourceVersion": str(self.revision)}, "items": items}
            if verb == "POST":
                name = body["metadata"]["name"]
                if name in self.secrets:
                    return 409, status(409, "AlreadyExists")
                self.secrets[name] = body
                self._note("ADDED", body)
                return 201, body
            if name not in self.secrets:
                return 404, status(404, "NotFound")
            if verb == "PATCH":
                self.secrets[name]["data"].update(body["data"])
                self._note("MODIFIED", self.secrets[name])
            return 200, self.secrets[name]

    def delete(self, name):
        with self.changed:
            self._note("DELETED", self.secrets.pop(name))

    def wait_for(self, name, deadline=15):
        with self.changed:
            if not self.changed.wait_for(lambda: name in self.secrets, deadline):
                raise AssertionError(f"no Secret {name}")

    def kubeconfig(self, path):
        with open(path, "w", encoding="ascii") as file:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "x",
                       "clusters": [{"name": "x", "cluster":
                                     {"server": f"http://127.0.0.1:{self.server.server_address[1]}"}}],
                       "users": [{"name": "x", "user": {}}],
                       "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}, file)

    def dump(self, folder):
        """As mounted Secrets: what the clients of the tests read."""
        for name, secret in self.secrets.items():
            os.makedirs(os.path.join(folder, name), exist_ok=True)
            for key, value in secret["data"].items():
                with open(os.path.join(folder, name, key), "wb") as file:
                    file.write(base64.b64decode(value))

    def close(self):
        self.server.shutdown()
        self.server.server_close()
