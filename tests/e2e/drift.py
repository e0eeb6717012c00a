#!/usr/bin/env python3
"""Deletes and edits every object of Ready control planes and expects each one back, as it was, within 5 s. Standard library
only; kubectl on PATH, KUBECONFIG with the hosting cluster's context.

usage: drift.py CONTEXT PLANE…     prints what it did to each object; exit code 1 where something did not come back

Nothing is listed here: the objects are those that carry the plane's label and its controller reference, of every kind that the
API server lets us delete; the fields are those that the object's managedFields call ours. So a new child is tried without a word.
EXCEPT, KEPT and LEFT_OUT say what is not done, and why.
"""
import http.client
import json
import re
import subprocess
import sys
import threading
import time

LIMIT = 5.0  # seconds, as docs/architecture.md has it
LABEL = "kflex.kubestellar.org/controlplane"
# What is not deleted. The edits are made all the same.
EXCEPT = {
    "Namespace": "goes with all that is in it",
    "PersistentVolumeClaim": "goes with the plane's data",
    "Secret/k8s-certs": "a new identity: tests/e2e/plane.bats",
    "Secret/k3s-certs": "a new identity, which the data do not fit",
    "Secret/controlplane-ca": "a new identity",
}
# What is not edited, but for its label.
KEPT = {"Secret/k8s-certs": {("data", key) for key in ("ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "front-proxy-client.crt",
                                                       "front-proxy-client.key", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key",
                                                       "sa.key", "sa.pub")}}  # keys that nobody could restore
# Not tried at all.
LEFT_OUT = {"ConfigMap/kubeflex-hooks": "the record of what hooks made: it is written again with the next change of a hook"}
# Last, as the plane's program ends: all these together cost one start.
HARSH = ("ServiceAccount", "Deployment", "StatefulSet")


class Api:
    """The hosting cluster's API server, through kubectl proxy; a connection for each thread."""

    def __init__(self, context):
        self.proxy = subprocess.Popen(["kubectl", "--context", context, "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+)", self.proxy.stdout.readline()).group(1))
        self.local = threading.local()

    def call(self, method, path, body=None, kind="application/merge-patch+json"):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = None if body is None else json.dumps(body)
        self.local.connection.request(method, path, data, {"Content-Type": kind} if data else {})
        answer = self.local.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def get(self, path):
        status, found = self.call("GET", path)
        return found if status == 200 else None

    def collections(self):
        """(group and version's path, resource) of all kinds that can be listed, deleted and changed."""
        groups = ["/api/v1"] + [f"/apis/{g['preferredVersion']['groupVersion']}" for g in self.get("/apis")["groups"]]
        for base in groups:
            for resource in (self.get(base) or {"resources": []})["resources"]:
                if "/" not in resource["name"] and {"list", "delete", "patch"} <= set(resource["verbs"]):
                    yield base, resource


class Child:
    """One object of a plane."""

    def __init__(self, base, resource, item):
        meta = item["metadata"]
        self.kind, self.name, self.plane = resource["kind"], meta["name"], meta["labels"][LABEL]
        where = f"/namespaces/{meta['namespace']}" if resource["namespaced"] else ""
        self.path = f"{base}{where}/{resource['name']}/{self.name}"

    def __str__(self):
        return f"{self.kind}/{self.name}"


def children(api, planes):
    uids = {p: api.get(f"/apis/tenancy.kflex.kubestellar.org/v1alpha1/controlplanes/{p}")["metadata"]["uid"] for p in planes}
    found = []
    for base, resource in api.collections():
        listed = api.get(f"{base}/{resource['name']}?labelSelector={LABEL}%20in%20({','.join(planes)})")
        for item in (listed or {}).get("items") or []:
            owner = [r["uid"] for r in item["metadata"].get("ownerReferences", []) if r.get("controller")]
            child = Child(base, resource, item)
            if owner == [uids[child.plane]] and str(child) not in LEFT_OUT:
                found.append(child)
    return found


def leaves(fields, path=()):
    """What a managedFields entry calls ours; lists whose items have owners of their own are left out."""
    for key, inner in fields.items():
        if key.startswith("f:"):
            if inner:
                yield from leaves(inner, (*path, key[2:]))
            else:
                yield (*path, key[2:])


def owned(item):
    """The fields of ours that may be edited."""
    found = set()
    for entry in item["metadata"].get("managedFields", []):
        if entry["manager"].startswith("kubeflex-") and entry["manager"] != "kubeflex-restart" and not entry.get("subresource"):
            found.update(leaves(entry["fieldsV1"]))
    # A change of the pods' template is an exchange of the pods; replicas have a turn of their own.
    return sorted(p for p in found if p[0] != "metadata" and p[:2] not in (("spec", "template"), ("spec", "replicas")))


def value_at(item, path):
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def patch_at(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def other(value, secret):
    """Another value that the API server might accept."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return "cnViYmlzaA==" if secret else value + "x"
    if isinstance(value, dict):
        return {**value, "drift": "x"}
    return []


class Round:
    """The objects of one plane, one after another."""

    def __init__(self, api, plane, objects):
        self.api, self.plane, self.said, self.failed = api, plane, [], 0
        self.objects = sorted(objects, key=lambda o: (o.kind in HARSH, o.kind, o.name))

    def comes(self, child, what, condition):
        start = time.monotonic()
        while not condition(self.api.get(child.path) or {"metadata": {}}):
            if time.monotonic() - start > LIMIT:
                self.failed += 1
                self.said.append(f"FAILED {self.plane} {child}: {what}: not back within {LIMIT:.0f} s")
                return False
            time.sleep(0.02)
        return True

    def edit(self, child, path, value):
        """True where the API server took it."""
        before = value_at(self.api.get(child.path), path)
        status, answer = self.api.call("PATCH", child.path + "?fieldManager=e2e-drift", patch_at(path, value))
        if status != 200:
            return False
        if value_at(answer, path) == before:  # a field that takes no other value
            return False
        # A certificate is issued anew, and is another one then.
        new = path[0] == "data" and child.kind == "Secret"
        self.comes(child, f"edited {'.'.join(path)}",
                   lambda now: value_at(now, path) not in (None, value) if new else value_at(now, path) == before)
        return True

    def edits(self, child):
        done, refused = [], []
        item = self.api.get(child.path)
        for path in owned(item):
            if path in KEPT.get(str(child), ()):
                continue
            taken = self.edit(child, path, other(value_at(item, path), child.kind == "Secret"))
            (done if taken else refused).append(".".join(path))
        self.edit(child, ("metadata", "labels", LABEL), None)
        return done, refused

    def delete(self, child):
        reason = EXCEPT.get(child.kind) or EXCEPT.get(str(child))
        if reason:
            return f"not deleted ({reason})"
        uid = self.api.get(child.path)["metadata"]["uid"]
        status, answer = self.api.call("DELETE", child.path)
        if status not in (200, 202):
            self.failed += 1
            return f"FAILED to delete: {answer.get('message')}"
        self.comes(child, "deleted", lambda now: now["metadata"].get("uid", uid) != uid)
        return "deleted"

    def run(self):
        for child in self.objects:
            done, refused = self.edits(child)
            more = f"; refused by the API server: {' '.join(refused)}" if refused else ""
            self.said.append(f"{self.plane} {child}: edited label {' '.join(done)}{more}; {self.delete(child)}")
        for child in self.objects:
            if child.kind in ("Deployment", "StatefulSet"):
                self.edit(child, ("spec", "replicas"), 0)


def main(context, planes):
    api = Api(context)
    try:
        found = children(api, planes)
        rounds = [Round(api, plane, [c for c in found if c.plane == plane]) for plane in planes]
        threads = [threading.Thread(target=r.run) for r in rounds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        api.proxy.terminate()
        api.proxy.wait()
    for done in rounds:
        print("\n".join(done.said))
        if not done.objects:
            print(f"FAILED {done.plane}: it has no objects")
    return 1 if any(r.failed or not r.objects for r in rounds) else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
