"""What an API server keeps, for fakes: objects by path, lists in pages, watches, writes with their conditions (uid,
resourceVersion, finalizers, status apart). No schema, no admission, no server-side apply beyond "merge, create where it is
missing". Answers over h2server.

    store = Store()
    await store.answer(exchange)          any request
    store.put(path, object)               as somebody else would: created or replaced, with an event
"""
import asyncio
import bisect
import copy
import datetime
import json
import uuid

HISTORY = 100000  # events that a watch may begin behind


def now():
    return datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%SZ")


def failure(code, reason, message=""):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}


class Refused(Exception):
    def __init__(self, code, reason, message=""):
        super().__init__(reason)
        self.code, self.status = code, failure(code, reason, message)


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge(target.get(key), value)
    return target


class Path:
    """/apis/GROUP/VERSION/[namespaces/NS/]PLURAL[/NAME[/SUB]]; kind: group, version and plural ("" where there is none)."""

    def __init__(self, path):
        words = path.strip("/").split("/")
        size = 2 if words[0] == "api" else 3
        group, words = tuple(words[:size]), words[size:]
        self.ns = None
        if len(words) > 2 and words[0] == "namespaces":
            self.ns, words = words[1], words[2:]
        self.kind = group + (words[0] if words else "",)
        self.name = words[1] if len(words) > 1 else None
        self.sub = words[2] if len(words) > 2 else None
        self.key = (self.ns, self.name)


def selected(obj, query):
    labels = obj["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, equals, value = term.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = term.partition("=")
        if key == "metadata.name" and obj["metadata"]["name"] != value:
            return False
    return True


class Store:
    def __init__(self):
        self.kinds = {}  # kind -> {(ns, name): object}
        self.rv = 1
        self.history, self.versions = {}, {}  # kind -> [(type, object, the one before)], [version]
        self.oldest = 0
        self.news = {}  # kind -> Event that is replaced when it was set
        self.writes = []  # (method, path, user agent) of what was taken
        self.shapes = {}  # kind -> (Kind, apiVersion), from what was written

    # ---- state

    def event(self, kind, what, obj, before):
        history = self.history.setdefault(kind, [])
        versions = self.versions.setdefault(kind, [])
        history.append((what, obj, before))
        versions.append(self.rv)
        if len(history) > HISTORY:
            self.oldest = max(self.oldest, versions[len(history) // 2])
            del history[:len(history) // 2], versions[:len(versions) // 2]
        news = self.news.pop(kind, None)
        if news:
            news.set()

    def keep(self, path, obj, before=None):
        self.rv += 1
        obj["metadata"]["resourceVersion"] = str(self.rv)
        obj["metadata"].setdefault("uid", str(uuid.uuid4()))
        obj["metadata"].setdefault("creationTimestamp", now())
        obj["metadata"]["name"] = path.name
        if path.ns:
            obj["metadata"]["namespace"] = path.ns
        if "kind" in obj:
            self.shapes[path.kind] = obj["kind"], obj.get("apiVersion", "v1")
        meta = obj["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            return self.remove(path, obj)
        self.kinds.setdefault(path.kind, {})[path.key] = obj
        self.event(path.kind, "MODIFIED" if before else "ADDED", obj, before)
        return obj

    def remove(self, path, obj):
        before = self.kinds[path.kind].pop(path.key)
        self.rv += 1
        gone = copy.deepcopy(obj)
        gone["metadata"]["resourceVersion"] = str(self.rv)
        self.event(path.kind, "DELETED", gone, before)
        return gone

    def get(self, text):
        path = Path(text)
        return self.kinds.get(path.kind, {}).get(path.key)

    def put(self, text, obj):
        path = Path(text)
        before = self.get(text)
        obj = copy.deepcopy(obj)
        obj.setdefault("metadata", {})
        if before:
            obj["metadata"].setdefault("uid", before["metadata"]["uid"])
        return self.keep(path, obj, before)

    def drop(self, text):
        path = Path(text)
        obj = self.get(text)
        if obj:
            self.remove(path, obj)

    def patch(self, text, patch):
        path = Path(text)
        return self.write_merge(path, patch, None)

    def compact(self):
        """Watches that begin earlier are told 410 from now on."""
        self.oldest = self.rv
        for kind in self.history:
            self.history[kind], self.versions[kind] = [], []

    # ---- writes

    def check(self, obj, meta):
        for key in ("uid", "resourceVersion"):
            if meta.get(key) and meta[key] != obj["metadata"][key]:
                raise Refused(409, "Conflict", f"{key} is {obj['metadata'][key]}")

    def find(self, path):
        obj = self.kinds.get(path.kind, {}).get(path.key)
        if obj is None:
            raise Refused(404, "NotFound", f"{path.kind[-1]} {path.name}")
        return obj

    def change(self, path, obj, fresh):
        """fresh replaces obj; what the subresource does not own stays."""
        if path.sub == "status":
            fresh = {**obj, "status": fresh.get("status", {})}
            fresh["metadata"] = dict(obj["metadata"])
        else:
            fresh["metadata"] = {**fresh.get("metadata", {}), **{
                key: obj["metadata"][key] for key in ("uid", "creationTimestamp", "deletionTimestamp")
                if key in obj["metadata"]}}
            if "status" in obj:
                fresh["status"] = obj["status"]
            generation = obj["metadata"].get("generation", 1)
            fresh["metadata"]["generation"] = generation + (fresh.get("spec") != obj.get("spec"))
        fresh["metadata"]["resourceVersion"] = obj["metadata"]["resourceVersion"]
        if fresh == obj:
            return obj
        return self.keep(path, fresh, obj)

    def write_merge(self, path, patch, _query):
        obj = self.find(path)
        self.check(obj, patch.get("metadata", {}))
        return self.change(path, obj, merge(obj, patch))

    def write_apply(self, path, body, _query):
        if path.key in self.kinds.get(path.kind, {}):
            return self.write_merge(path, body, None)
        body["metadata"].setdefault("generation", 1)
        return self.keep(path, body)

    def write_put(self, path, body, _query):
        obj = self.find(path)
        self.check(obj, body.get("metadata", {}))
        return self.change(path, obj, body)

    def write_post(self, path, body, _query):
        path.name = body["metadata"].get("name") or body["metadata"]["generateName"] + uuid.uuid4().hex[:5]
        path.key = (path.ns, path.name)
        if path.key in self.kinds.get(path.kind, {}):
            raise Refused(409, "AlreadyExists", path.name)
        body["metadata"]["generation"] = 1
        body["metadata"].pop("resourceVersion", None)
        return self.keep(path, body)

    def write_delete(self, path, body, _query):
        obj = self.find(path)
        self.check(obj, (body or {}).get("preconditions", {}))
        if not obj["metadata"].get("finalizers"):
            return self.remove(path, obj)
        if obj["metadata"].get("deletionTimestamp"):
            return obj
        fresh = copy.deepcopy(obj)
        fresh["metadata"]["deletionTimestamp"] = now()
        fresh["metadata"]["generation"] = obj["metadata"].get("generation", 1) + 1
        return self.keep(path, fresh, obj)

    def write(self, exchange, path):
        kind = exchange.headers.get("content-type", "")
        body = json.loads(exchange.body) if exchange.body else None
        writers = {"POST": self.write_post, "PUT": self.write_put, "DELETE": self.write_delete,
                   "PATCH": self.write_apply if "apply-patch" in kind else self.write_merge}
        answer = writers[exchange.method](path, body, exchange.query)
        self.writes.append((exchange.method, exchange.plain_path, exchange.headers.get("user-agent", "")))
        return answer

    # ---- reads

    @staticmethod
    def shaped(obj, partial):
        if not partial:
            return obj
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}

    def snapshot(self, path, query):
        return [o for (ns, _), o in self.kinds.get(path.kind, {}).items()
                if (path.ns is None or ns == path.ns) and selected(o, query)]

    def list(self, path, query, partial):
        """The continue token is the version of the first page and how many came before; good while nothing was compacted."""
        objects = self.snapshot(path, query)
        rv, at = self.rv, 0
        if query.get("continue"):
            rv, at = (int(n) for n in query["continue"].split("-"))
            if rv < self.oldest:
                raise Refused(410, "Expired")
        limit = int(query.get("limit", 0)) or len(objects)
        meta = {"resourceVersion": str(rv)}
        if at + limit < len(objects):
            meta["continue"] = f"{rv}-{at + limit}"
        kind = "PartialObjectMetadataList" if partial else "List"
        return {"kind": kind, "apiVersion": "v1", "metadata": meta,
                "items": [self.shaped(o, partial) for o in objects[at:at + limit]]}

    def events_since(self, kind, rv):
        versions = self.versions.get(kind, [])
        at = bisect.bisect_right(versions, rv)
        return list(zip(versions[at:], self.history.get(kind, [])[at:]))

    def visible(self, path, query, what, obj, before):
        """As a watch with these selectors sees the event; None: not at all."""
        if path.ns is not None and obj["metadata"].get("namespace") != path.ns:
            return None
        is_in = what != "DELETED" and selected(obj, query)
        was_in = before is not None and selected(before, query)
        if is_in:
            return "MODIFIED" if was_in else "ADDED"
        return "DELETED" if was_in else None

    async def changed(self, kind, exchange):
        news = self.news.setdefault(kind, asyncio.Event())
        over = asyncio.ensure_future(exchange.over.wait())
        new = asyncio.ensure_future(news.wait())
        await asyncio.wait([over, new], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        new.cancel()
        exchange.check()

    async def watch(self, exchange, path, partial):
        rv = int(exchange.query.get("resourceVersion") or self.rv)
        exchange.start(200, [("content-type", "application/json")])
        if rv < self.oldest:
            await self.line(exchange, "ERROR", failure(410, "Expired"))
            exchange.end()
            return
        while True:
            for version, (what, obj, before) in self.events_since(path.kind, rv):
                rv = version
                seen = self.visible(path, exchange.query, what, obj, before)
                if seen:
                    await self.line(exchange, seen, self.shaped(obj, partial))
            if not self.events_since(path.kind, rv):
                await self.changed(path.kind, exchange)

    async def line(self, exchange, what, obj):
        """One event; a fake that disturbs its streams does it here."""
        await exchange.send(json.dumps({"type": what, "object": obj}).encode() + b"\n")

    async def answer(self, exchange):
        path = Path(exchange.plain_path)
        if not path.kind[-1]:
            await exchange.answer(404, json.dumps(failure(404, "NotFound")).encode())
            return
        partial = "PartialObjectMetadata" in exchange.headers.get("accept", "")
        try:
            if exchange.method != "GET":
                answer = self.write(exchange, path)
            elif path.name:
                answer = self.shaped(self.find(path), partial)
            elif exchange.query.get("watch"):
                await self.watch(exchange, path, partial)
                return
            else:
                answer = self.list(path, exchange.query, partial)
        except Refused as refused:
            await exchange.answer(refused.code, json.dumps(refused.status).encode())
            return
        await exchange.answer(201 if exchange.method == "POST" else 200, json.dumps(answer).encode())
