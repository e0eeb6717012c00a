#!/usr/bin/env python3
"""kflex create with every field of the spec, what it says when something goes wrong, logs and events.
test_create.py PATH-OF-KFLEX [unittest arguments]"""

import json
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import LIMIT, PROGRAM, Case, main, read_yaml  # noqa: E402
from fake_api import GROUP, NAMESPACES, PLANES  # noqa: E402

NETWORKING = "/apis/networking.k8s.io/v1"


class Spec(Case):
    def asked(self, *args, stdin=""):
        """The ControlPlane that this asks for."""
        self.api.requests.clear()
        self.kflex("create", *args, "--no-wait", stdin=stdin)
        posts = [r for r in self.api.requests if r[0] == "POST"]
        self.assertEqual(len(posts), 1)
        return posts[0][2]

    def manifest(self, **spec):
        return json.dumps({"apiVersion": f"{GROUP}/v1alpha1", "kind": "ControlPlane", "metadata": {
            "name": "cp1", "labels": {"team": "a"}, "uid": "1", "resourceVersion": "7"}, "spec": spec, "status": {"x": 1}})

    def test_every_flag(self):
        body = self.asked("silent", "-t", "external", "--bootstrap-secret", "ns/secret/key", "-x", "3600",
                          "--kubernetes-version", "v1.35.0", "-p", "old", "-e", "a=1", "--hook", "one", "--hook", "two",
                          "--hook-set", "one:k=v=w", "--hook-set", "one:l=", "--global-set", "g=1", "--wait-for-hooks")
        self.assertEqual(body["spec"], {
            "type": "external", "bootstrapSecretRef": {"namespace": "ns", "name": "secret", "inClusterKey": "key"},
            "tokenExpirationSeconds": 3600, "kubernetesVersion": "v1.35.0", "postCreateHook": "old",
            "postCreateHookVars": {"a": "1"}, "postCreateHooks": [{"hookName": "one", "vars": {"k": "v=w", "l": ""}},
                                                                  {"hookName": "two"}],
            "globalVars": {"g": "1"}, "waitForPostCreateHooks": True})

    def test_storage(self):
        body = self.asked("silent", "-b", "dedicated", "--storage-members", "3", "--storage-size", "4Gi", "--storage-class",
                          "fast", "--storage-server", "pg2", "--storage-secret", "ns/dsn", "--storage-deletion-policy", "Delete")
        self.assertEqual(body["spec"], {"type": "k8s", "backend": "dedicated", "storage": {
            "server": "pg2", "size": "4Gi", "storageClassName": "fast", "deletionPolicy": "Delete", "members": 3,
            "secretRef": {"namespace": "ns", "name": "dsn"}}})
        self.error(self.kflex("create", "x", "--storage-secret", "dsn", code=1), "NAMESPACE/NAME")

    def test_defaults(self):
        self.assertEqual(self.asked("silent")["spec"], {"type": "k8s", "backend": "shared"})

    def test_file(self):
        path = f"{self.dir}/plane.json"
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.manifest(type="host", anyField={"deep": [1]}, postCreateHooks=[{"hookName": "one"}]))
        body = self.asked("-f", path, "--hook", "two", "--hook-set", "one:a=b")
        self.assertEqual(body["metadata"]["labels"], {"team": "a"})
        self.assertNotIn("resourceVersion", json.dumps(self.api.requests[0][2] or {}))
        self.assertEqual(body["spec"], {"type": "host", "backend": "shared", "anyField": {"deep": [1]}, "postCreateHooks": [
            {"hookName": "one", "vars": {"a": "b"}}, {"hookName": "two"}]})

    def test_standard_input_and_flags_win(self):
        body = self.asked("cp1", "-f", "-", "-t", "k8s", "-b", "dedicated", stdin=self.manifest(type="host"))
        self.assertEqual(body["spec"], {"type": "k8s", "backend": "dedicated"})

    def test_what_get_prints_can_be_created(self):
        self.create("cp1")
        text = self.kflex("get", "cp1", "-o", "yaml").stdout
        self.kflex("delete", "cp1")
        self.assertEqual(self.asked("-f", "-", stdin=text)["spec"], read_yaml(text)["spec"])

    def test_bad_input_asks_nobody(self):
        cases = (((), "", '"kflex create" needs an argument: NAME'),
                 (("x", "-f", "/nowhere"), "", "/nowhere"),
                 (("x", "-f", "-"), "a: [", "standard input"),
                 (("x", "-f", "-"), "kind: Secret", "is no ControlPlane"),
                 (("x", "-f", "-"), self.manifest(), "is about control plane cp1, not x"),
                 (("-f", "-"), self.manifest().replace('"name": "cp1", ', ""), "has no metadata.name"),
                 (("-f", "-"), self.manifest(type=7), "spec.type is no text"),
                 (("-f", "-"), self.manifest(type="nope"), "unknown control plane type: nope"),
                 (("x", "-f", "-"), "x" * (1 << 20) + "yy", "larger than 1 MiB"),
                 (("x", "-t", "external"), "", "--bootstrap-secret"),
                 (("x", "-t", "external", "--bootstrap-secret", "a"), "", "NAMESPACE/NAME/KEY"),
                 (("x", "--hook-set", "one:a=b"), "", "name that hook with --hook"),
                 (("x", "--hook", "one", "--hook-set", "a=b"), "", "HOOK:KEY=VALUE"),
                 (("x", "-e", "a=1"), "", "--postcreate-hook"))
        for args, stdin, words in cases:
            with self.subTest(args):
                self.error(self.kflex("create", *args, stdin=stdin, code=1), words)
        self.assertEqual(self.api.requests, [])

    def test_no_wait(self):
        done = self.kflex("create", "cp1", "--no-wait")
        self.assertIn("kflex ctx cp1", done.stdout)
        self.assertIsNone(self.context("cp1"))
        self.kflex("create", "cp2", "--wait=false")
        self.assertIsNone(self.context("cp2"))


class Failure(Case):
    def test_events_and_log_of_the_failing_pod(self):
        child = self.start("create", "stuck", "--timeout", "3s")
        self.assertTrue(self.api.store.wait_watched(PLANES, "stuck"))
        plane = self.api.store.objects[PLANES]["stuck"]
        self.api.add_event(plane, "Normal", "Fine", "nothing")
        self.api.add_event(plane, "Warning", "BackOff", "back-off restarting", pod="kube-apiserver-1")
        self.api.add_pod(plane, "good", {"kube-controller-manager": {"ready": True, "state": {"running": {}}}}, "not this")
        self.api.add_pod(plane, "kube-apiserver-1", {
            "kine": {"ready": False, "state": {"running": {}}},
            "kube-apiserver": {"ready": False, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                               "lastState": {"terminated": {"exitCode": 1}}}}, "first\nlast words\033[31m\n")
        _, err = child.communicate(timeout=LIMIT)
        self.assertEqual(child.returncode, 1)
        lines = err.splitlines()
        self.assertEqual(lines[:4], ["Event: Pod/kube-apiserver-1 BackOff: back-off restarting",
                                     "Last lines of pod kube-apiserver-1, container kube-apiserver (its run before):",
                                     "  first", "  last words [31m"], err)
        self.assertTrue(lines[-1].startswith("Error: control plane stuck is not ready after 3s"), err)
        asked = [r[1] for r in self.api.requests if "/log" in r[1]]
        self.assertEqual(asked, [f"{NAMESPACES}/stuck-system/pods/kube-apiserver-1/log?container=kube-apiserver"
                                 "&tailLines=10&previous=true"])

    def reach(self, ingresses, *extra):
        self.api.tenant_server = "https://127.0.0.1:2"
        self.api.store.extra[f"{NETWORKING}/namespaces/cp1-system/ingresses"] = {"items": ingresses}
        for path, body in extra:
            self.api.store.extra[NETWORKING + path] = body
        done = self.kflex("create", "cp1", "--timeout", "1s")
        self.assertIn("nothing listens on port 2 of 127.0.0.1", done.stderr)
        self.assertIn("`kubectl --context host port-forward -n cp1-system service/cp1 8443:443`", done.stderr)
        self.assertIn("--tls-server-name 127.0.0.1", done.stderr)
        return done.stderr

    def test_no_ingress(self):
        self.assertIn("there is no Ingress in namespace cp1-system", self.reach([]))

    def test_class_absent(self):
        self.assertIn("ingress class 'nginx' does not exist", self.reach([{"spec": {"ingressClassName": "nginx"}}]))

    def test_no_default_class(self):
        self.assertIn("no default one", self.reach([{"spec": {}}], ("/ingressclasses", {"items": []})))

    def test_no_address(self):
        words = self.reach([{"spec": {"ingressClassName": "nginx"}}], ("/ingressclasses/nginx", {}))
        self.assertIn("its Ingress has no address: the controller of class 'nginx'", words)

    def test_ingress_is_in_order(self):
        words = self.reach([{"spec": {"ingressClassName": "nginx"}, "status": {"loadBalancer": {"ingress": [{}]}}}],
                           ("/ingressclasses/nginx", {}))
        self.assertNotIn("Ingress", words)

    def test_name_without_address(self):
        self.api.tenant_server = "https://nowhere.invalid:9443"
        words = self.kflex("create", "cp1", "--timeout", "1s").stderr
        self.assertIn("nowhere.invalid", words)
        self.assertIn("--tls-server-name nowhere.invalid", words)


class Live(Case):
    """What a person sees on a terminal."""

    CLEAR = "\r\033[K"

    def plane(self, name):
        return self.api.store.objects[PLANES][name]

    def test_what_how_long_and_why(self):
        """The moving line says what is waited for and why, and for how long; a finished step takes its place."""
        shown = self.on_terminal("create", "stuck", env={"NO_COLOR": "1"}, seen=(
            ("Synced is False (WaitingForStorage: waiting for Secret kine-dsn) (", lambda _: self.api.condition(
                self.plane("stuck"), "StorageReady", "False", "PostgresUnavailable", "no route")),
            ("StorageReady is False (PostgresUnavailable: no route) (", lambda _: self.api.make_ready(self.plane("stuck")))))
        self.assertRegex(shown, r"\r\033\[K[◐◓◑◒] Waiting for API server to become ready\.\.\. Synced is False .* \(\d+s\)")
        screen = [line.rsplit(self.CLEAR, 1)[-1].strip() for line in shown.split("\n")]
        self.assertEqual([re.sub(r" \(.*", "", line) for line in screen if line], [
            "✔ Creating new control plane stuck of type k8s ...", "✔ Storage is ready: DatabaseReady",
            "✔ An address for users is there: Ingress, Ingress stuck",
            "✔ All objects of the control plane are in place: ReconcileSuccess", "✔ API server is ready: Available",
            "✔ Switched to context stuck"])

    def test_ctrl_c_leaves_a_clean_screen(self):
        shown = self.on_terminal("create", "stuck", seen=(
            ("WaitingForStorage", lambda child: child.send_signal(signal.SIGINT)),))
        self.assertTrue(shown.endswith(self.CLEAR), shown)
        self.assertIn("stuck", self.api.store.objects[PLANES])

    def test_colours(self):
        """On a terminal only, never with NO_COLOR, and in nothing that a program reads."""
        self.create("cp1")
        for args in (("list",), ("get", "cp1"), ("describe", "cp1"), ("ctx", "list"), ("config", "diagnose"), ("version",),
                     ("doctor",), ("ctx", "cp1"), ("ctx",)):
            done = subprocess.run([PROGRAM[0], *args], env=dict(self.env, TERM="xterm"), capture_output=True, text=True,
                                  timeout=LIMIT, check=False)
            self.assertNotIn("\033", done.stdout + done.stderr, args)
        self.assertIn("\033[32m", self.on_terminal("ctx", "cp1"))
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\033", self.on_terminal("ctx", "cp1", env=env))


class Logs(Case):
    def setUp(self):
        super().setUp()
        self.plane = self.api.add_plane("cp1")

    def pods(self):
        self.api.add_pod(self.plane, "kube-apiserver-1", {"kube-apiserver": {}, "kine": {}}, "one\ntwo\n")

    def asked(self, *args):
        self.assertEqual(self.kflex("logs", "cp1", *args).stdout, "one\ntwo\n")
        return self.api.requests[-1][1].split("log?")[1]

    def test_components(self):
        self.pods()
        self.assertEqual(self.asked(), "container=kube-apiserver")
        self.assertEqual(self.asked("-c", "kine", "--tail", "5"), "container=kine&tailLines=5")
        self.assertEqual(self.asked("-c", "kube-apiserver", "-p"), "container=kube-apiserver&previous=true")
        self.assertEqual(self.asked("--follow"), "container=kube-apiserver&follow=true")
        self.error(self.kflex("logs", "cp1", "-c", "nope", code=1), "choose one of kube-apiserver, kine")

    def test_follow_ends_with_ctrl_c(self):
        self.pods()
        self.api.hold_logs = True
        child = self.start("logs", "cp1", "-f")
        self.assertEqual([child.stdout.readline(), child.stdout.readline()], ["one\n", "two\n"])
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=LIMIT)
        self.assertEqual(child.returncode, -signal.SIGINT)

    def test_without_pods(self):
        self.api.store.extra[f"{NAMESPACES}/cp1-system/pods"] = {"items": []}
        self.error(self.kflex("logs", "cp1", code=1), "has no pods", "kflex describe cp1")
        self.error(self.kflex("logs", "nope", code=1), "not found on server: nope")
        self.error(self.kflex("logs", "cp1", "--tail=-1", code=1), "--tail -1")

    def test_events(self):
        self.api.add_event(self.plane, "Normal", "Made", "first", minute=1)
        self.api.add_event(self.plane, "Warning", "Failed", "second", pod="p", minute=2)
        self.api.add_event(dict(self.plane, metadata=dict(self.plane["metadata"], uid="another")), "Normal", "Old", "older")
        shown = self.kflex("events", "cp1").stdout
        self.assertRegex(shown, re.compile(r"Made.*first\n.*Pod/p +second\n\Z", re.S))
        self.assertNotIn("older", shown)
        tree = json.loads(self.kflex("events", "cp1", "-o", "json").stdout)
        self.assertEqual([e["reason"] for e in tree["items"]], ["Made", "Failed"])
        self.error(self.kflex("events", "nope", code=1), "not found on server: nope")


if __name__ == "__main__":
    main(__doc__)
