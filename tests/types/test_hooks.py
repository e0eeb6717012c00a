#!/usr/bin/env python3
"""PostCreateHooks, with a real API server and our programs with the rights that deploy/manifests gives them. The planes are of
type host, which are ready at once; no node is needed, so what Jobs and Deployments come to is written by the test.

  test_hooks.py KFLEX WATCHER BUS RECONCILER [TEST…]

Skipped (77) where the Kubernetes programs have not been built (deploy/local/up does).
"""
import base64
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import unittest

import control
from world import REPO, World, wait

API = "tenancy.kflex.kubestellar.org/v1alpha1"
ACCOUNT = "system:serviceaccount:kubeflex-system:kubeflex-controller-manager"


PATHS = {"controlplane": f"/apis/{API}/controlplanes", "postcreatehook": f"/apis/{API}/postcreatehooks",
         "configmap": "/api/v1/namespaces/{}/configmaps", "secret": "/api/v1/namespaces/{}/secrets",
         "deployment": "/apis/apps/v1/namespaces/{}/deployments", "job": "/apis/batch/v1/namespaces/{}/jobs",
         "resourcequota": "/api/v1/namespaces/{}/resourcequotas",
         "networkpolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
         "role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
         "clusterrole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
         "customresourcedefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"}


class Rest:
    """The administrator on one connection: a kubectl for each question would take most of the time."""

    def __init__(self, cluster):
        context = ssl.create_default_context(cafile=f"{cluster.folder}/ca.crt")
        context.load_cert_chain(f"{cluster.folder}/admin.crt", f"{cluster.folder}/admin.key")
        self.connection = http.client.HTTPSConnection(cluster.address, cluster.port, context=context, timeout=30)

    def call(self, verb, path, body=None, content="application/json"):
        self.connection.request(verb, path, json.dumps(body) if body is not None else None, {"Content-Type": content})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status == 404:  # of a path that is not served at all it is no JSON
            return None
        found = json.loads(text)
        if answer.status >= 300:
            raise AssertionError(f"{verb} {path}: {found.get('message')}")
        return found


class HookWorld(World):
    def start(self):
        self.host.start()
        self.install()
        self.rest = Rest(self.host)
        for name in ("bus", "watcher", "host"):
            self.start_ours(name)


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "creationTimestamp": None}, "data": data}


def job(name="job", **labels):
    pod = {"metadata": {"labels": labels},
           "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none", "command": ["true"]}]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": pod}}


def deployment(name):
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}}}


def role(name, verb="get"):
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": [verb]}]}


class Hooks(unittest.TestCase):
    world = None

    @classmethod
    def setUpClass(cls):
        """What takes a minute begins here and is looked at by the last test."""
        self = cls("test_zz_inside_is_put_right")
        self.number, self.planes, self.hooks = "inside-kept", [], []
        self.plane(self.hook(config_map("edited", v="{{.ControlPlaneName}}"), config_map("deleted", v="1"), target="ControlPlane"))
        wait(20, "its objects are there", lambda: self.in_default("edited") and self.in_default("deleted"))
        path = "/api/v1/namespaces/default/configmaps"
        cls.world.rest.call("PATCH", f"{path}/edited", {"data": {"v": "x", "w": "theirs"}}, "application/merge-patch+json")
        cls.world.rest.call("DELETE", f"{path}/deleted")

    def setUp(self):
        self.host = self.world.host
        self.planes, self.hooks = [], []
        self.number = self.id().rsplit(".", 1)[-1].replace("test_", "").replace("_", "-")

    def tearDown(self):
        for plane in self.planes:
            self.delete("controlplane", plane)
        for hook in self.hooks:
            self.delete("postcreatehook", hook)

    # ---- short words ----

    def path(self, kind, name, plane=""):
        return f"{PATHS[kind].format(plane + '-system')}/{name}"

    def read(self, kind, name, plane=""):
        return self.world.rest.call("GET", self.path(kind, name, plane))

    def merge(self, kind, name, patch, plane="", more=""):
        self.world.rest.call("PATCH", self.path(kind, name, plane) + more, patch, "application/merge-patch+json")

    def delete(self, kind, name, plane=""):
        self.world.rest.call("DELETE", self.path(kind, name, plane), {"propagationPolicy": "Background"})

    def apply(self, obj):
        self.world.rest.call("PATCH", self.path(obj["kind"].lower(), obj["metadata"]["name"]) + "?fieldManager=test&force=true", obj,
                             "application/apply-patch+yaml")

    def kubectl_apply(self, obj):
        self.host.kubectl("apply", "-f", "-", input=json.dumps(obj))

    def hook(self, *templates, name="", labels=None, defaults=None, **spec):
        name = f"{self.number}{name}"
        spec["templates"] = list(templates)
        if defaults:
            spec["defaultVars"] = [{"name": k, "value": v} for k, v in defaults.items()]
        self.apply({"apiVersion": API, "kind": "PostCreateHook", "metadata": {"name": name, "labels": labels or {}}, "spec": spec})
        if name not in self.hooks:
            self.hooks.append(name)
        return name

    def plane(self, *uses, name="", **spec):
        name = f"{self.number}{name}"
        spec["postCreateHooks"] = [u if isinstance(u, dict) else {"hookName": u} for u in uses]
        self.apply({"apiVersion": API, "kind": "ControlPlane", "metadata": {"name": name}, "spec": {"type": "host", **spec}})
        if name not in self.planes:
            self.planes.append(name)
        return name

    def status(self, plane):
        return (self.read("controlplane", plane) or {}).get("status", {})

    def condition(self, plane, kind="HooksApplied"):
        return next((c for c in self.status(plane).get("conditions", []) if c["type"] == kind), {})

    def state(self, plane, hook):
        return next((h for h in self.status(plane).get("postCreateHookStatus", []) if h["hookName"] == hook), {})

    def applied(self, plane, seconds=10):
        wait(seconds, f"hooks of {plane} are applied", lambda: self.condition(plane).get("status") == "True")

    def says(self, plane, hook, reason, *words, seconds=10):
        def right():
            state = self.state(plane, hook)
            return state.get("reason") == reason and all(w in state["message"] for w in words)
        try:
            wait(seconds, f"{hook} says {reason} {words}", right)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {self.status(plane)}") from None

    def get(self, plane, kind, name):
        return self.read(kind, name, plane)

    def in_default(self, name):
        return (self.world.rest.call("GET", f"/api/v1/namespaces/default/configmaps/{name}") or {}).get("data")

    def data(self, plane, name):
        return (self.get(plane, "configmap", name) or {}).get("data")

    def has(self, plane, name, **data):
        wait(10, f"{name} of {plane} has {data}", lambda: self.data(plane, name) == data)

    def gone(self, plane, kind, name):
        wait(10, f"{kind} {name} of {plane} is gone", lambda: not self.get(plane, kind, name))

    def set_status(self, plane, kind, name, status):
        self.merge(kind, name, {"status": status}, plane, "/status")

    def finish(self, plane, name, outcome, reason=""):
        now = "2026-01-01T00:00:00Z"
        first = "SuccessCriteriaMet" if outcome == "Complete" else "FailureTarget"
        conditions = [{"type": t, "status": "True", "reason": reason, "message": "", "lastTransitionTime": now} for t in (first, outcome)]
        self.set_status(plane, "job", name, {"startTime": now, "conditions": conditions[:1], "uncountedTerminatedPods": {}})
        done = {"succeeded": 1, "completionTime": now} if outcome == "Complete" else {"failed": 1}
        self.set_status(plane, "job", name, {"conditions": conditions, **done})

    def restart(self):
        for name in ("host", "watcher", "bus"):
            self.world.stop_ours(name)
        for name in ("bus", "watcher", "host"):
            self.world.start_ours(name)

    # ---- what is applied, with which values ----

    def test_variables(self):
        """Precedence: the hook's defaults, the plane's globalVars, its vars, our own."""
        values = {k: "{{.%s}}" % k for k in ("A", "B", "C", "Namespace", "ControlPlaneName", "HookName")}
        hook = self.hook(config_map("{{.HookName}}", **values), defaults={"A": "d", "B": "d", "C": "d", "HookName": "no"},
                         labels={"kflex.kubestellar.io/cptype": "wds"})
        plane = self.plane({"hookName": hook, "vars": {"C": "u", "Namespace": "no"}}, globalVars={"B": "g", "C": "g"})
        self.applied(plane)
        self.has(plane, hook, A="d", B="g", C="u", Namespace=f"{plane}-system", ControlPlaneName=plane, HookName=hook)
        status = self.status(plane)
        self.assertEqual(status["postCreateHooks"], {hook: True})
        self.assertTrue(status["postCreateHookCompleted"])
        self.assertEqual(self.read("controlplane", plane)["metadata"]["labels"], {"kflex.kubestellar.io/cptype": "wds"})
        fields = self.get(plane, "configmap", hook)["metadata"]
        made = json.loads(self.host.kubectl("get", "configmap", hook, "-n", f"{plane}-system", "-o", "json", "--show-managed-fields"))
        self.assertEqual([m["manager"] for m in made["metadata"]["managedFields"]], ["kubeflex"])
        self.assertEqual(fields["ownerReferences"][0]["name"], plane)
        self.assertNotIn("controller", fields["ownerReferences"][0])

    def test_old_field_comes_first(self):
        """postCreateHook before postCreateHooks; of two of a name the first counts."""
        hook = self.hook(config_map("once", v="{{.V}}"))
        plane = self.plane({"hookName": hook, "vars": {"V": "list"}}, postCreateHook=hook, postCreateHookVars={"V": "old"})
        self.applied(plane)
        self.has(plane, "once", v="old")
        self.assertEqual(len(self.status(plane)["postCreateHookStatus"]), 1)

    def test_values_change_no_structure(self):
        """S-08."""
        nasty = '"},"kind":"Secret","x":"{{.Namespace}}'
        hook = self.hook(config_map("safe", v="a {{.V}}"))
        plane = self.plane({"hookName": hook, "vars": {"V": nasty}})
        self.has(plane, "safe", v="a " + nasty)

    def test_late_hook(self):
        plane = self.plane(self.number)
        self.says(plane, self.number, "HookNotFound", "create it")
        self.assertEqual(self.condition(plane)["reason"], "HookNotFound")
        wait(10, "Ready does not wait", lambda: self.condition(plane, "Ready").get("status") == "True")
        self.hook(config_map("late", v="1"))
        self.applied(plane, 3)
        self.has(plane, "late", v="1")
        events = self.host.kubectl("get", "events", "-o", "jsonpath={range .items[*]}{.involvedObject.name} {.reason}{\"\\n\"}{end}")
        self.assertIn(f"{plane} HookFail", events)
        self.assertIn(f"{plane} HooksApplied", events)

    def test_invalid_template(self):
        """One that is broken stops nothing else, and says where; a missing variable is named."""
        bad = self.hook(config_map("bad", v="{{.V"), name="-bad")
        lacks = self.hook(config_map("lacks", v="{{.Token | upper}}"), name="-lacks")
        good = self.hook(config_map("good", v="{{if .Token}}x{{else}}none{{end}}{{default \"d\" .Token}}"), name="-good")
        plane = self.plane(bad, lacks, good)
        self.says(plane, bad, "InvalidTemplate", "templates[0]: data.v", "}} is missing")
        self.says(plane, lacks, "InvalidTemplate", "templates[0]: data.v", "variable Token has no value")
        self.has(plane, "good", v="noned")
        self.assertEqual(self.status(plane)["postCreateHooks"], {good: True})
        self.assertFalse(self.status(plane)["postCreateHookCompleted"])
        self.assertIsNone(self.data(plane, "lacks"))
        valid = {}
        for one in (bad, lacks):
            wait(10, "it is said", lambda one=one: self.read("postcreatehook", one).get("status"))
            valid[one] = self.read("postcreatehook", one)["status"]["conditions"][0]
        self.assertEqual([valid[h]["status"] for h in (bad, lacks)], ["False", "True"])
        self.assertIn("}} is missing", valid[bad]["message"])
        self.hook(config_map("lacks", v="{{.Token | upper}}"), name="-lacks", missingVariables="NoValue")
        self.has(plane, "lacks", v="<NO VALUE>")

    def test_typed_values(self):
        hook = self.hook({**deployment("d"), "spec": {**deployment("d")["spec"], "replicas": "{{asInt .N}}"}})
        plane = self.plane({"hookName": hook, "vars": {"N": "3"}})
        wait(10, "the Deployment has 3 replicas", lambda: (self.get(plane, "deployment", "d") or {}).get("spec", {}).get("replicas") == 3)

    def said_of(self, hook):
        conditions = (self.read("postcreatehook", hook) or {}).get("status", {}).get("conditions", [])
        return next(((c["status"], c["reason"], c["message"]) for c in conditions if c["type"] == "Applied"), ())

    def test_status_of_the_hook_itself(self):
        """It counts the planes that name it and says what is wrong in the first of the others."""
        hook = self.hook(job())
        wait(10, "it is said to be valid", lambda: (self.read("postcreatehook", hook).get("status") or {}).get("conditions"))
        self.assertFalse(self.said_of(hook))
        well, ill = self.plane(hook, name="-1"), self.plane(hook, name="-2")
        for plane in (well, ill):
            wait(10, "the Job is made", lambda plane=plane: self.get(plane, "job", "job"))
        self.finish(well, "job", "Complete")
        self.finish(ill, "job", "Failed", "BackoffLimitExceeded")
        wait(10, "one of two", lambda: self.said_of(hook)[:2] == ("False", "ObjectFailed") and
             self.said_of(hook)[2].startswith(f"in 1 of 2 control planes; {ill}: Job job: "))
        self.plane(name="-2")
        wait(10, "one of one", lambda: self.said_of(hook) == ("True", "Applied", "in 1 control plane"))
        self.delete("controlplane", well)
        wait(10, "nothing is said any more", lambda: not self.said_of(hook))

    # ---- what follows changes ----

    def test_edited_hook(self):
        hook = self.hook(config_map("a", v="1"), config_map("b", v="1"))
        plane = self.plane(hook)
        self.has(plane, "b", v="1")
        self.hook(config_map("a", v="2"), config_map("c", v="2"))
        self.has(plane, "a", v="2")
        self.has(plane, "c", v="2")
        self.gone(plane, "configmap", "b")

    def test_changed_variable(self):
        hook = self.hook(config_map("a-{{.V}}", v="{{.V}}"))
        plane = self.plane({"hookName": hook, "vars": {"V": "1"}})
        self.has(plane, "a-1", v="1")
        self.plane({"hookName": hook, "vars": {"V": "2"}})
        self.has(plane, "a-2", v="2")
        self.gone(plane, "configmap", "a-1")

    def test_objects_are_kept(self):
        hook = self.hook(config_map("a", v="1"), {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
                                                  "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})
        plane = self.plane(hook)
        self.applied(plane)
        self.merge("configmap", "a", {"data": {"v": "x", "w": "theirs"}}, plane)
        self.has(plane, "a", v="1", w="theirs")
        self.delete("configmap", "a", plane)
        self.has(plane, "a", v="1")
        # A kind that is watched because a hook made it.
        self.delete("role", "r", plane)
        wait(10, "the Role is back", lambda: self.get(plane, "role", "r"))

    def test_removed_hook(self):
        first, second = self.hook(config_map("a", v="1"), name="-1"), self.hook(config_map("b", v="1"), name="-2")
        plane = self.plane(first, second)
        self.applied(plane)
        self.host.kubectl("create", "configmap", "theirs", "-n", f"{plane}-system")
        self.plane(second)
        self.gone(plane, "configmap", "a")
        wait(10, "the status has one hook", lambda: self.status(plane)["postCreateHooks"] == {second: True})
        self.plane()
        self.gone(plane, "configmap", "b")
        self.gone(plane, "configmap", "kubeflex-hooks")
        wait(10, "the status has none", lambda: not self.status(plane)["postCreateHooks"])
        self.assertEqual(self.data(plane, "theirs"), None)
        self.assertIsNotNone(self.get(plane, "configmap", "theirs"))

    def test_once(self):
        hook = self.hook(config_map("a", v="1"), policy="Once")
        plane = self.plane(hook)
        self.has(plane, "a", v="1")
        self.applied(plane)
        other = self.hook(config_map("b", v="1"), name="-2")
        self.hook(config_map("a", v="2"), policy="Once")
        self.plane(hook, other)
        self.has(plane, "b", v="1")
        self.applied(plane)
        self.assertEqual(self.data(plane, "a"), {"v": "1"})
        self.plane(other)
        wait(10, "the hook is out of the status", lambda: self.status(plane)["postCreateHooks"] == {other: True})
        self.assertEqual(self.data(plane, "a"), {"v": "1"})

    def test_nothing_is_written_twice(self):
        """A worker and a watcher that were just started find that all is as it should be."""
        hook = self.hook(config_map("a", v="1"), deployment("d"), role(f"{self.number}-role"), job())
        plane = self.plane(hook)
        wait(10, "all is there", lambda: self.status(plane).get("postCreateHooks") == {hook: True})

        def versions():
            found = [self.get(plane, "configmap", n) for n in ("a", "kubeflex-hooks")]
            found += [self.get(plane, "deployment", "d"), self.get(plane, "job", "job")]
            found += [self.read("clusterrole", f"{self.number}-role"), self.read("controlplane", plane)]
            return [o["metadata"]["resourceVersion"] for o in found]
        before = versions()
        self.restart()
        late = self.plane(self.hook(config_map("b", v="1"), name="-2"), name="-2")
        self.applied(late, 30)
        self.assertEqual(versions(), before)

    def test_done_by_the_go_operator(self):
        """Its mark counts: nothing is made until the hook changes."""
        plane = self.plane(self.number)
        self.says(plane, self.number, "HookNotFound")
        for name in ("host", "watcher", "bus"):
            self.world.stop_ours(name)
        self.merge("controlplane", plane, {"status": {"postCreateHooks": {self.number: True}, "postCreateHookStatus": []}}, "", "/status")
        self.hook(config_map("a", v="1"))
        for name in ("bus", "watcher", "host"):
            self.world.start_ours(name)
        self.says(plane, self.number, "Applied", "done before", seconds=30)
        self.assertIsNone(self.data(plane, "a"))
        self.assertEqual(self.status(plane)["postCreateHooks"], {self.number: True})
        self.hook(config_map("a", v="2"))
        self.has(plane, "a", v="2")

    # ---- waiting ----

    def test_waits(self):
        hook = self.hook(deployment("d"), job())
        plane = self.plane(hook, waitForPostCreateHooks=True)
        self.says(plane, hook, "ObjectsNotReady", "Deployment d: 0 of 1 replicas are ready")
        ready = self.condition(plane, "Ready")
        self.assertEqual((ready["status"], ready["reason"]), ("False", "WaitingForPostCreateHooks"))
        self.assertIn("Waiting for PostCreateHook completion", ready["message"])
        self.assertFalse(self.status(plane)["postCreateHookCompleted"])
        self.assertEqual(self.status(plane)["postCreateHooks"], {})
        self.set_status(plane, "deployment", "d", {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1,
                                                  "availableReplicas": 1, "updatedReplicas": 1})
        self.says(plane, hook, "ObjectsNotReady", "Job job: it has not succeeded yet")
        self.finish(plane, "job", "Complete")
        wait(5, "Ready", lambda: self.condition(plane, "Ready").get("status") == "True")
        self.assertTrue(self.status(plane)["postCreateHookCompleted"])
        self.assertEqual(self.status(plane)["postCreateHooks"], {hook: True})

    def test_failing_job(self):
        hook = self.hook(job())
        waits, goes_on = self.plane(hook, waitForPostCreateHooks=True), self.plane(hook, name="-2")
        for plane in (waits, goes_on):
            wait(10, "the Job is there", lambda p=plane: self.get(p, "job", "job"))
            self.finish(plane, "job", "Failed", "BackoffLimitExceeded")
            self.says(plane, hook, "ObjectFailed", "Job job", "BackoffLimitExceeded")
        self.assertEqual(self.condition(waits, "Ready")["status"], "False")
        self.assertEqual(self.condition(goes_on, "Ready")["status"], "True")
        self.assertEqual(self.condition(goes_on)["status"], "False")
        # Tidied away, it stays failed; another template is another Job.
        self.delete("job", "job", waits)
        self.says(waits, hook, "ObjectFailed", "it failed, and is gone")
        self.hook(job(retry="2"))
        wait(10, "another Job", lambda: self.get(waits, "job", "job"))
        self.finish(waits, "job", "Complete")
        wait(5, "Ready", lambda: self.condition(waits, "Ready").get("status") == "True")

    def test_finished_job(self):
        hook = self.hook(job(), config_map("a", v="1"))
        plane = self.plane(hook)
        wait(10, "the Job is there", lambda: self.get(plane, "job", "job"))
        self.finish(plane, "job", "Complete")
        self.applied(plane)
        self.delete("job", "job", plane)
        self.delete("configmap", "a", plane)
        self.has(plane, "a", v="1")
        self.assertIsNone(self.get(plane, "job", "job"))

    def test_waits_for_nothing(self):
        """B-02."""
        plane = self.plane(waitForPostCreateHooks=True)
        wait(10, "Ready", lambda: self.condition(plane, "Ready").get("status") == "True")
        self.assertTrue(self.status(plane)["postCreateHookCompleted"])

    # ---- whose ----

    def test_shared_cluster_scoped(self):
        """B-19: the first one keeps it, the second has a share; a different one is refused, and says whose it is."""
        name = f"{self.number}-role"
        hook = self.hook(role(name, "{{default \"get\" .Verb}}"))
        first = self.plane(hook, name="-1")
        self.applied(first)
        second = self.plane(hook, name="-2")
        self.applied(second)
        third = self.plane({"hookName": hook, "vars": {"Verb": "delete"}}, name="-3")
        self.says(third, hook, "NameConflict", f"belongs to the hook of control plane {first}")
        found = self.read("clusterrole", name)
        self.assertEqual(found["metadata"]["annotations"]["meta.helm.sh/release-namespace"], f"{first}-system")
        self.assertEqual(found["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm")
        self.assertEqual({o["name"] for o in found["metadata"]["ownerReferences"]}, {first, second})
        self.assertEqual(found["rules"][0]["verbs"], ["get"])
        self.delete("controlplane", first)
        self.delete("controlplane", third)
        self.planes = [second]
        wait(60, "the first one's share is gone", lambda: {o["name"] for o in self.read("clusterrole", name)["metadata"]["ownerReferences"]} == {second})
        self.delete("controlplane", second)
        self.planes = []
        wait(60, "it goes with the last one", lambda: not self.read("clusterrole", name))

    def test_others_objects(self):
        self.host.kubectl("create", "clusterrole", self.number, "--verb=get", "--resource=secrets")
        own = self.hook({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "admin-kubeconfig"}}, name="-own")
        foreign = self.hook(role(self.number), name="-foreign")
        elsewhere = config_map("a", v="1")
        elsewhere["metadata"]["namespace"] = "kube-system"
        away = self.hook(elsewhere, name="-away")
        plane = self.plane(own, foreign, away)
        self.says(plane, own, "NameConflict", "Secret admin-kubeconfig is the control plane's own")
        self.says(plane, foreign, "NameConflict", "made by no hook")
        self.says(plane, away, "InvalidTemplate", "its namespace is kube-system")
        self.assertEqual(self.read("clusterrole", self.number)["rules"][0]["resources"], ["secrets"])
        self.host.kubectl("delete", "clusterrole", self.number)

    def test_record_is_not_trusted(self):
        """Whoever writes ConfigMaps there cannot have other objects removed."""
        hook = self.hook(config_map("a", v="1"))
        plane = self.plane(hook)
        self.applied(plane)
        self.host.kubectl("create", "clusterrole", self.number, "--verb=get", "--resource=secrets")
        self.host.kubectl("create", "configmap", "theirs", "-n", f"{plane}-system")
        record = json.loads(self.data(plane, "kubeflex-hooks")["hooks.json"])
        record[hook]["objects"] += [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": self.number},
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs"},
            {"apiVersion": "v1", "kind": "Secret", "name": "admin-kubeconfig"},
            {"apiVersion": "v1/../..", "kind": "x", "name": "../.."}]
        self.merge("configmap", "kubeflex-hooks", {"data": {"hooks.json": json.dumps(record)}}, plane)
        self.hook(config_map("b", v="1"))
        self.has(plane, "b", v="1")
        self.gone(plane, "configmap", "a")
        for kind, name in (("clusterrole", self.number), ("configmap", "theirs"), ("secret", "admin-kubeconfig")):
            self.assertIsNotNone(self.get(plane, kind, name))
        self.host.kubectl("delete", "clusterrole", self.number)

    # ---- inside the plane, and the hooks that come with KubeFlex ----

    def test_inside_the_plane(self):
        """As the plane's administrator, in any namespace; what is removed from the hook goes there, too."""
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "inside-in"}}
        inside = config_map("a", v="{{.ControlPlaneName}}")
        inside["metadata"]["namespace"] = "inside-in"
        hook = self.hook(space, inside, config_map("b", v="1"), target="ControlPlane")
        plane = self.plane(hook)
        self.applied(plane)
        path = "/api/v1/namespaces/inside-in/configmaps/a"
        self.assertEqual(self.world.rest.call("GET", path)["data"], {"v": plane})
        default = "/api/v1/namespaces/default/configmaps/b"
        made = self.world.rest.call("GET", default)
        self.assertNotIn("ownerReferences", made["metadata"])
        self.assertIsNone(self.data(plane, "a"))
        self.hook(space, inside, target="ControlPlane")
        wait(10, "b is gone", lambda: not self.world.rest.call("GET", default))
        self.plane()
        wait(60, "all is gone", lambda: not self.world.rest.call("GET", "/api/v1/namespaces/inside-in"))

    def test_hooks_of_ours(self):
        """deploy/hooks: they need no download."""
        self.host.kubectl("apply", "-k", f"{REPO}/deploy/hooks")
        self.hooks += ["hello", "limits", "postgres", "openshift-crds"]
        plane = self.plane("hello", "limits", "postgres", "openshift-crds")
        self.says(plane, "hello", "Applied")
        self.has(plane, "hello", message=f"Hello from {plane} in {plane}-system")
        self.says(plane, "postgres", "InvalidTemplate", "PostgreSQL needs a password")
        self.says(plane, "openshift-crds", "Applied")
        self.says(plane, "limits", "Applied")
        for kind in ("resourcequota", "networkpolicy"):  # watched too
            self.host.kubectl("delete", kind, "limits", "-n", f"{plane}-system")
            wait(10, f"{kind} is back", lambda kind=kind: self.get(plane, kind, "limits"))
        self.assertIn("routes", self.host.kubectl("api-resources", "--api-group=route.openshift.io"))
        labels = self.read("controlplane", plane)["metadata"]["labels"]
        self.assertEqual(labels, {"mylabelkey": "mylabelvalue", "kflex.kubestellar.io/flavor": "openshift"})
        self.plane("hello", {"hookName": "postgres", "vars": {"PASSWORD": "p4ss-w0rd"}})
        self.says(plane, "postgres", "ObjectsNotReady", "StatefulSet postgres")
        secret = self.get(plane, "secret", "postgres")
        self.assertEqual(base64.b64decode(secret["data"]["password"]), b"p4ss-w0rd")
        crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/routes.route.openshift.io"
        wait(10, "the definitions are gone", lambda: not self.world.rest.call("GET", crd))

    # ---- kinds and rights ----

    def test_forbidden_then_granted(self):
        """Rights that others bind to kubeflex-controller-manager hold; a version that is not preferred is as good as any."""
        scaler = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "s"},
                  "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}
        hook = self.hook(scaler)
        plane = self.plane(hook)
        self.says(plane, hook, "Forbidden", "HorizontalPodAutoscaler s", ACCOUNT)
        self.host.kubectl("create", "clusterrole", self.number, "--verb=*", "--resource=horizontalpodautoscalers.autoscaling")
        self.host.kubectl("create", "clusterrolebinding", self.number, f"--clusterrole={self.number}",
                          "--serviceaccount=kubeflex-system:kubeflex-controller-manager")
        self.applied(plane, 30)
        self.host.kubectl("delete", "clusterrole,clusterrolebinding", self.number)

    def test_narrow_account(self):
        ns = "kubeflex-system"
        hook = self.hook(config_map("a", v="1"), deployment("d"), serviceAccount={"name": "narrow"})
        plane = self.plane(hook)
        self.says(plane, hook, "Forbidden", "impersonate", "narrow")
        self.host.kubectl("create", "serviceaccount", "narrow", "-n", ns)
        self.host.kubectl("create", "role", "narrow", "-n", ns, "--verb=impersonate", "--resource=serviceaccounts", "--resource-name=narrow")
        self.host.kubectl("create", "rolebinding", "narrow", "-n", ns, "--role=narrow", f"--serviceaccount={ns}:kubeflex-reconciler-host")
        self.host.kubectl("create", "clusterrole", "narrow", "--verb=get,create,patch,delete", "--resource=configmaps")
        self.host.kubectl("create", "clusterrolebinding", "narrow", "--clusterrole=narrow", f"--serviceaccount={ns}:narrow")
        self.says(plane, hook, "Forbidden", "Deployment d", "narrow", seconds=30)
        self.assertEqual(self.data(plane, "a"), {"v": "1"})

    def test_broken_aggregated_api(self):
        self.kubectl_apply({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.broken.example.com"},
                    "spec": {"group": "broken.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
                             "insecureSkipTLSVerify": True, "service": {"name": "none", "namespace": "default"}}})
        broken = self.hook({"apiVersion": "broken.example.com/v1", "kind": "Thing", "metadata": {"name": "t"}}, name="-broken")
        good = self.hook(config_map("a", v="1"), name="-good")
        plane = self.plane(broken, good)
        self.has(plane, "a", v="1")
        self.says(plane, broken, "ApplyFailed", "broken.example.com/v1")
        self.host.kubectl("delete", "apiservice", "v1.broken.example.com")

    def test_definition_and_object_in_one_hook(self):
        """A kind that the hook brings itself."""
        group = f"{self.number}.example.com"
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"things.{group}"},
               "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
                        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]}}
        self.kubectl_apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": self.number},
                    "rules": [{"apiGroups": [group], "resources": ["things"], "verbs": ["*"]}]})
        self.host.kubectl("create", "clusterrolebinding", self.number, f"--clusterrole={self.number}",
                          "--serviceaccount=kubeflex-system:kubeflex-controller-manager")
        hook = self.hook(crd, {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "t"}})
        plane = self.plane(hook)
        self.applied(plane, 20)
        self.assertIsNotNone(self.world.rest.call("GET", f"/apis/{group}/v1/namespaces/{plane}-system/things/t"))
        # Another definition of the kind: its path is another one.
        crd["metadata"]["name"], crd["spec"]["names"]["plural"] = f"thingies.{group}", "thingies"
        self.kubectl_apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": self.number},
                            "rules": [{"apiGroups": [group], "resources": ["*"], "verbs": ["*"]}]})
        self.hook(crd, {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "t"}})
        wait(20, "the new definition", lambda: self.read("customresourcedefinition", f"thingies.{group}"))
        self.delete("customresourcedefinition", f"things.{group}")  # one group has one definition of a kind
        wait(60, "the object of the new definition", lambda: self.world.rest.call("GET", f"/apis/{group}/v1/namespaces/{plane}-system/thingies/t"))
        self.host.kubectl("delete", "clusterrole,clusterrolebinding", self.number)

    def test_no_token_in_messages(self):
        """The API server quotes what it refuses."""
        token = "S3cret/Token+with=odd"
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
                   "spec": {"ports": [{"port": 80, "name": "{{.Token}}"}]}}
        hook = self.hook(service)
        plane = self.plane({"hookName": hook, "vars": {"Token": token}})
        self.says(plane, hook, "ApplyFailed", "Service s", "***")
        self.assertNotIn(token, json.dumps(self.status(plane)))
        self.assertNotIn(token, self.host.kubectl("get", "events", "-o", "json"))
        for log in ("watcher", "host", "bus"):
            with open(f"{self.world.folder}/{log}.log", encoding="utf-8", errors="replace") as f:
                self.assertNotIn(token, f.read())

    def test_planes_in_parallel(self):
        hook = self.hook(config_map("a", v="{{.ControlPlaneName}}"), deployment("d"))
        planes = [self.plane(hook, name=f"-{i}") for i in range(10)]
        for plane in planes:
            self.has(plane, "a", v=plane)


    def test_zz_inside_is_put_right(self):
        """Nothing tells of changes there: it is looked at within a minute. The last test, so that it waits less."""
        self.planes, self.hooks = ["inside-kept"], ["inside-kept"]
        wait(70, "what was deleted is there again", lambda: self.in_default("deleted"))
        wait(5, "what was edited is as it was", lambda: self.in_default("edited") == {"v": "inside-kept", "w": "theirs"})


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    kubernetes = control.find_programs()
    if not kubernetes or os.geteuid() != 0 or not shutil.which("ip"):
        print("skipped: needs root, ip, and the programs that deploy/local/up builds")
        sys.exit(77)
    programs = {name: os.path.abspath(sys.argv.pop(1)) for name in ("kflex", "watcher", "bus", "reconciler")}
    try:
        world = HookWorld(kubernetes, programs)
    except subprocess.CalledProcessError as error:
        print(f"skipped: {error.stderr}")
        sys.exit(77)
    failed = True
    try:
        world.start()
        Hooks.world = world
        failed = not unittest.main(verbosity=2, exit=False).result.wasSuccessful()
    finally:
        world.close(failed)
    sys.exit(failed)


main()
