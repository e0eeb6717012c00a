#!/usr/bin/env python3
"""The rules of deploy/crds/controlplanes.yaml on the API server of KFX_TEST_KUBECONFIG (else skipped): what they refuse, and
that they lock nothing which was there before them. On a copy of the definition in a group of the test's own, so that nobody
else's ControlPlanes are touched.

usage: test_definition.py CRD.yaml
"""
import copy
import json
import os
import subprocess
import sys
import traceback
import urllib.error

from cluster import Api, wait

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = f"t{os.getpid()}.kubeflex.test"
PLANES = f"/apis/{GROUP}/v1alpha1/controlplanes"
LONGEST = "x" * 56
BAD_NAMES = ("kube", "kubeflex", "1cp", "a.b", "9", "x" * 57, "1." + "y" * 200)


def refusal(call, *args):
    """The message with which the API server refuses it; "" where it does not."""
    try:
        call(*args)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        message = json.loads(text)["message"] if text.startswith("{") else text
        assert error.code in (400, 403, 404, 409, 422, 429), f"{error.code}: {message}"
        return message
    return ""


def body(name, **spec):
    plane = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ControlPlane", "metadata": {"name": name}}
    return {**plane, "spec": spec} if spec else plane


class Tests:
    def __init__(self, api, ours):
        self.api = api
        ours["metadata"] = {"name": f"controlplanes.{GROUP}"}
        ours["spec"]["group"] = GROUP
        ours["spec"]["names"].pop("shortNames")
        self.ours = ours
        self.bare = copy.deepcopy(ours)
        self.bare["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {
            "type": "object", "x-kubernetes-preserve-unknown-fields": True}
        api.create(CRDS, self.bare)
        # 404 until the API server knows the group, 429 while it makes its storage.
        wait("it is served", lambda: not refusal(api.call, "GET", PLANES))

    def test_1_before_the_rules(self):
        """Objects that break every rule, and one without a spec."""
        for name in BAD_NAMES:
            self.api.create(PLANES, body(name, type="mainframe", kubernetesVersion="newest", backend="tape"))
        self.api.create(PLANES, body("bare"))
        self.api.create(PLANES, body("held", type="mainframe"))
        crd = self.api.get(f"{CRDS}/{self.ours['metadata']['name']}")
        crd["spec"] = self.ours["spec"]
        self.api.call("PUT", f"{CRDS}/{crd['metadata']['name']}", crd)
        wait("the rules are in force",
             lambda: refusal(self.api.create, PLANES + "?dryRun=All", body("kube-kube.kube", type="k8s")))

    def test_2_old_objects_live(self):
        """Whatever they are called and say: status, label, finalizer and deletion."""
        status = {"observedGeneration": 1, "kubernetesVersion": "v1.36.3", "conditions": [
            {"type": "Synced", "status": "False", "reason": "InvalidName", "message": "x",
             "lastTransitionTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:00Z"}]}
        for name in BAD_NAMES + ("bare",):
            path = f"{PLANES}/{name}"
            self.api.merge(f"{path}/status", {"status": status})
            self.api.merge(path, {"metadata": {"labels": {"a": "b"}}})
            self.api.merge(path, {"metadata": {"finalizers": ["example.org/hold"]}})
            whole = self.api.get(path)
            whole["metadata"]["annotations"] = {"c": "d"}
            self.api.call("PUT", path, whole)  # as kubectl edit does
            seen = self.api.get(path)
            assert seen["status"] == status and seen["metadata"]["labels"] == {"a": "b"}, seen
            assert seen["metadata"]["annotations"] == {"c": "d"}, seen
            self.api.delete(path)
            assert self.api.get(path)["metadata"]["deletionTimestamp"]
            self.api.merge(path, {"metadata": {"finalizers": None}})
            assert self.api.get(path) is None, f"{name} cannot be deleted"

    def test_3_names(self):
        for name in BAD_NAMES:
            message = refusal(self.api.create, PLANES, body(name, type="k8s"))
            assert "name" in message, f"{name}: {message or 'was taken'}"
        for name in ("kube-a", "a", "x1", LONGEST):
            self.api.create(PLANES, body(name, type="k8s"))

    def test_4_type_is_fixed(self):
        path = f"{PLANES}/a"

        def put(change):
            whole = self.api.get(path)
            change(whole)
            return self.api.call("PUT", path, whole)
        ways = {
            "changed": lambda: self.api.merge(path, {"spec": {"type": "k3s"}}),
            "removed": lambda: self.api.merge(path, {"spec": {"type": None}}),
            "spec removed": lambda: self.api.merge(path, {"spec": None}),
            "spec emptied": lambda: put(lambda whole: whole.update(spec={})),
            "put without spec": lambda: put(lambda whole: whole.pop("spec")),
            "put with another": lambda: put(lambda whole: whole["spec"].update(type="host")),
            "applied": lambda: self.api.call("PATCH", f"{path}?fieldManager=m&force=true", body("a", type="ocm"),
                                             "application/apply-patch+yaml"),
        }
        for way, call in ways.items():
            message = refusal(call)
            assert "type" in message or "spec" in message, f"{way}: {message or 'was taken'}"
            assert self.api.get(path)["spec"]["type"] == "k8s", way
        # The one who applied it leaves it out later: that would remove spec.
        applied = f"{PLANES}/applied?fieldManager=m"
        self.api.call("PATCH", applied, body("applied", type="k8s"), "application/apply-patch+yaml")
        assert refusal(self.api.call, "PATCH", applied, body("applied"), "application/apply-patch+yaml")
        # Through the subresource it is not even looked at.
        status = {"observedGeneration": 1, "conditions": []}
        self.api.merge(f"{path}/status", {"spec": {"type": "k3s"}, "status": status})
        assert self.api.get(path)["spec"]["type"] == "k8s"
        # All else may change.
        self.api.merge(path, {"spec": {"kubernetesVersion": "v1.36.3", "globalVars": {"x": "y"}}})

    def test_5_unknown_values(self):
        for spec in ({"type": "mainframe"}, {"backend": "shared"}, {"type": "k8s", "kubernetesVersion": "newest"},
                     {"type": "k8s", "backend": "tape"}):
            assert refusal(self.api.create, PLANES, body("never", **spec)), spec
        # An old object keeps a type that nobody knows; it may go, not change.
        assert refusal(self.api.merge, f"{PLANES}/held", {"spec": {"type": "k8s"}})
        self.api.merge(f"{PLANES}/held", {"metadata": {"labels": {"a": "b"}}})

    def close(self):
        self.api.delete(f"{CRDS}/{self.ours['metadata']['name']}")


def main():
    kubeconfig = os.environ.get("KFX_TEST_KUBECONFIG")
    if not kubeconfig:
        print("skipped: KFX_TEST_KUBECONFIG names no cluster")
        return 77
    ours = json.loads(subprocess.check_output(
        ["kubectl", "--kubeconfig", kubeconfig, "create", "--dry-run=client", "-o", "json", "-f", sys.argv[1]]))
    tests = Tests(Api(kubeconfig), ours)
    try:
        for name in sorted(n for n in dir(tests) if n.startswith("test_")):
            print(name, flush=True)
            getattr(tests, name)()
        return 0
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stdout)
        return 1
    finally:
        tests.close()


sys.exit(main())
