#!/usr/bin/env python3
"""Control planes of types host and external, from kflex to the last trace: real API servers (a hosting cluster, and one to
adopt in another network namespace), our programs with the rights that deploy/manifests gives them. No node is needed.

  test_types.py KFLEX WATCHER BUS RECONCILER [TEST…]

Skipped (77) where the Kubernetes programs have not been built (deploy/local/up does) or network namespaces cannot be made.
"""
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import unittest

import control
from world import World, wait

READY = "60s"


def resolves_here(name):
    try:
        return socket.gethostbyname(name).startswith("127.")
    except OSError:
        return False


class Case(unittest.TestCase):
    world = None

    def setUp(self):
        self.host, self.far = self.world.host, self.world.far

    # ---- short words ----

    def kflex(self, *argv, code=0):
        done = self.world.kflex(*argv)
        self.assertEqual(done.returncode, code, f"kflex {argv}: {done.stdout}{done.stderr}")
        return done

    def user(self, *argv):
        return self.host.kubectl(*argv, kubeconfig=self.world.user)

    def condition(self, plane, kind):
        found = self.host.get("controlplane", plane) or {}
        return next((c for c in found.get("status", {}).get("conditions", []) if c["type"] == kind), {})

    def ready(self, plane):
        return self.condition(plane, "Ready").get("status") == "True"

    def secret(self, plane, name="admin-kubeconfig", key="kubeconfig-incluster"):
        data = (self.host.get("secret", "-n", f"{plane}-system", name) or {}).get("data", {})
        return base64.b64decode(data[key]).decode() if key in data else None

    def uid(self, *argv):
        return ((self.host.get(*argv) or {}).get("metadata") or {}).get("uid")

    def who(self, kubeconfig, server):
        """Whom the API server takes the holder of this text for; "" where it refuses him."""
        path = f"{self.world.folder}/who"
        with open(path, "w", encoding="utf-8") as f:
            f.write(kubeconfig or "")
        try:
            return self.host.kubectl("--server", server, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}",
                                     kubeconfig=path)
        except subprocess.CalledProcessError:
            return ""

    def config(self, key, value):
        self.host.kubectl("patch", "configmap", "-n", "kubeflex-system", "kubeflex-config", "-p",
                          json.dumps({"data": {key: value}}))

    def deleted_comes_back(self, *argv):
        old = self.uid(*argv)
        self.assertTrue(old, argv)
        self.host.kubectl("delete", *argv, "--wait=false")
        wait(5, f"{argv} is back", lambda: self.uid(*argv) not in (None, old))


class Host(Case):
    @classmethod
    def setUpClass(cls):
        Case.kflex(cls(), "create", "h1", "--type", "host", "--timeout", READY)

    def holder_works(self, plane="h1"):
        return self.who(self.secret(plane), self.host.server) == f"system:serviceaccount:{plane}-system:{plane}"

    def test_create_goes_there(self):
        """B-12, B-25."""
        self.kflex("ctx", "h1")
        self.assertEqual(self.user("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"),
                         "system:serviceaccount:h1-system:h1")
        self.user("auth", "can-i", "*", "*")
        self.kflex("ctx")
        status = self.host.get("controlplane", "h1")["status"]
        self.assertEqual(status["secretRef"], {"namespace": "h1-system", "name": "admin-kubeconfig",
                                               "inClusterKey": "kubeconfig-incluster"})
        self.assertEqual(self.condition("h1", "Synced")["reason"], "ReconcileSuccess")

    def test_what_it_consists_of(self):
        """B-23: all is owned; no Service, Ingress or Route."""
        uid = self.uid("controlplane", "h1")
        for argv in (["namespace", "h1-system"], ["serviceaccount", "h1", "-n", "h1-system"], ["secret", "h1", "-n", "h1-system"],
                     ["secret", "admin-kubeconfig", "-n", "h1-system"], ["clusterrolebinding", "h1-binding"]):
            owner = self.host.get(*argv)["metadata"]["ownerReferences"][0]
            self.assertEqual((owner["uid"], owner["controller"]), (uid, True), argv)
        made = self.host.kubectl("get", "services,ingresses,deployments,jobs", "-n", "h1-system", "-o", "name")
        self.assertEqual(made.strip(), "")

    def test_several(self):
        self.kflex("create", "h2", "--type", "host", "--timeout", READY)
        self.assertTrue(self.holder_works("h2"))
        self.assertTrue(self.holder_works("h1"))
        self.kflex("delete", "h2")
        self.assertIsNone(self.host.get("clusterrolebinding", "h2-binding"))
        self.assertTrue(self.holder_works("h1"))

    def test_deleted_comes_back(self):
        for argv in (["secret", "admin-kubeconfig"], ["secret", "h1"], ["serviceaccount", "h1"]):
            self.deleted_comes_back(*argv, "-n", "h1-system")
            wait(5, f"the kubeconfig works after {argv}", self.holder_works)
        self.deleted_comes_back("clusterrolebinding", "h1-binding")
        wait(10, "Ready", lambda: self.ready("h1"))

    def test_edited_is_put_right(self):
        good = self.secret("h1")
        self.host.kubectl("patch", "secret", "-n", "h1-system", "admin-kubeconfig", "-p",
                          '{"stringData":{"kubeconfig-incluster":"rubbish"}}')
        wait(5, "the kubeconfig is right", lambda: self.secret("h1") == good)
        self.host.kubectl("patch", "clusterrolebinding", "h1-binding", "-p", '{"subjects":[]}')
        wait(5, "the binding is right", lambda: self.host.get("clusterrolebinding", "h1-binding").get("subjects"))
        for argv in (["serviceaccount", "h1", "-n", "h1-system"], ["clusterrolebinding", "h1-binding"]):
            self.host.kubectl("label", *argv, "kflex.kubestellar.org/controlplane-")
            wait(5, f"{argv} has its label", lambda argv=argv: self.host.get(*argv)["metadata"].get("labels"))
        # A role cannot be changed in place.
        self.host.kubectl("delete", "clusterrolebinding", "h1-binding")
        wait(5, "the binding is back", lambda: self.host.get("clusterrolebinding", "h1-binding"))

    def test_token_that_does_not_work(self):
        """Somebody writes into the Secret that the token controller fills."""
        self.host.kubectl("patch", "secret", "-n", "h1-system", "h1", "-p", '{"stringData":{"token":"rubbish"}}')
        wait(5, "Ready follows", lambda: not self.ready("h1"))
        wait(15, "a new token", lambda: self.ready("h1") and self.holder_works())

    def test_outside_address(self):
        self.config("hostServerURL", self.host.server)
        wait(10, "the key", lambda: self.secret("h1", key="kubeconfig"))
        wait(5, "secretRef", lambda: self.host.get("controlplane", "h1")["status"]["secretRef"].get("key") == "kubeconfig")
        self.kflex("ctx", "-o", "h1")
        self.user("get", "namespaces")
        self.kflex("ctx")
        self.config("hostServerURL", None)
        wait(10, "the key is gone", lambda: not self.secret("h1", key="kubeconfig"))
        wait(5, "secretRef", lambda: "key" not in self.host.get("controlplane", "h1")["status"]["secretRef"])

    def test_bound_tokens(self):
        self.config("hostTokens", "bound")
        wait(10, "the old token is gone", lambda: not self.host.get("secret", "h1", "-n", "h1-system"))
        wait(10, "a bound token works", self.holder_works)
        before = self.secret("h1")
        key = "kflex.kubestellar.org/token-"
        self.assertIn(key + "expires", self.host.get("secret", "admin-kubeconfig", "-n", "h1-system")["metadata"]["annotations"])
        self.host.kubectl("annotate", "secret", "-n", "h1-system", "admin-kubeconfig", "--overwrite",
                          key + "renew-after=2026-01-01T00:00:00Z")
        wait(5, "renewed", lambda: self.secret("h1") != before and self.holder_works())
        self.config("hostTokens", None)
        wait(10, "the old kind is back", lambda: self.host.get("secret", "h1", "-n", "h1-system") and self.holder_works())

    def test_lesser_role(self):
        """The right to bind it must be given first."""
        self.config("hostClusterRole", "view")
        wait(10, "the condition says whom to give it",
             lambda: "kubeflex-controller-manager" in self.condition("h1", "Synced").get("message", ""))
        self.host.kubectl("create", "clusterrole", "bind-view", "--verb=bind", "--resource=clusterroles.rbac.authorization.k8s.io",
                          "--resource-name=view")
        self.host.kubectl("create", "clusterrolebinding", "bind-view", "--clusterrole=bind-view",
                          "--serviceaccount=kubeflex-system:kubeflex-controller-manager")

        def role():
            return (self.host.get("clusterrolebinding", "h1-binding") or {}).get("roleRef", {}).get("name")
        wait(30, "it is bound", lambda: role() == "view")
        self.config("hostClusterRole", "none")
        wait(10, "no rights", lambda: role() is None)
        self.config("hostClusterRole", None)
        wait(10, "cluster-admin again", lambda: role() == "cluster-admin")

    def test_foreign_binding(self):
        self.host.kubectl("create", "clusterrolebinding", "h3-binding", "--clusterrole=view", "--user=nobody")
        done = self.kflex("create", "h3", "--type", "host", "--timeout", READY, code=1)
        self.assertIn("NameConflict", done.stderr)
        self.kflex("delete", "h3")
        self.assertEqual(self.host.get("clusterrolebinding", "h3-binding")["roleRef"]["name"], "view")

    def test_type_cannot_change(self):
        with self.assertRaises(subprocess.CalledProcessError):
            self.host.kubectl("patch", "controlplane", "h1", "--type=merge", "-p", '{"spec":{"type":"k8s"}}')

    def test_restart_changes_nothing(self):
        def versions():
            return [i["metadata"]["resourceVersion"] for i in
                    self.host.get("secrets,serviceaccounts", "-n", "h1-system")["items"]]
        before = versions()
        for name in ("host", "watcher", "bus"):
            self.world.stop_ours(name)
        self.host.kubectl("delete", "secret", "-n", "h1-system", "admin-kubeconfig")
        for name in ("bus", "watcher", "host"):
            self.world.start_ours(name)
        wait(30, "what was deleted meanwhile is back", self.holder_works)
        wait(20, "Ready", lambda: self.ready("h1"))
        self.assertEqual(len(versions()), len(before))

    def test_zz_delete_leaves_nothing(self):
        kubeconfig = self.secret("h1")
        self.kflex("delete", "h1")
        for argv in (["controlplane", "h1"], ["namespace", "h1-system"], ["clusterrolebinding", "h1-binding"]):
            self.assertIsNone(self.host.get(*argv))
        self.assertNotIn("h1", self.user("config", "view"))
        wait(15, "the token is refused", lambda: not self.who(kubeconfig, self.host.server))


class External(Case):
    @classmethod
    def setUpClass(cls):
        done = Case.kflex(cls(), "adopt", "x1", "-c", "far", "-x", "3600", "--timeout", READY)
        assert "Adopting control plane x1 of type external" in done.stdout, done

    def account(self, plane="x1"):
        return "kubeflex-" + self.uid("controlplane", plane)

    def left_over_there(self, name):
        return self.far.get("clusterrolebinding", name) or self.far.get("serviceaccount", name, "-n", "kube-system")

    def holder_works(self, plane="x1"):
        return self.who(self.secret(plane), self.far.server) == "system:serviceaccount:kube-system:" + self.account(plane)

    def put_bootstrap(self, plane, server, user=None, cluster=None, ns="kubeflex-system"):
        kubeconfig = json.dumps({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": dict({"server": server}, **(cluster or {}))}],
            "users": [{"name": "u", "user": user or {"token": "t"}}]})
        self.host.kubectl("create", "secret", "generic", "-n", ns, f"{plane}-bootstrap",
                          f"--from-literal=kubeconfig-incluster={kubeconfig}")

    def put_plane(self, plane, ns="kubeflex-system", name=None):
        self.host.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "tenancy.kflex.kubestellar.org/v1alpha1", "kind": "ControlPlane", "metadata": {"name": plane},
            "spec": {"type": "external", "bootstrapSecretRef": {"namespace": ns, "name": name or f"{plane}-bootstrap",
                                                                "inClusterKey": "kubeconfig-incluster"}}}))

    def test_adopted(self):
        self.assertIsNone(self.host.get("secret", "x1-bootstrap", "-n", "kubeflex-system"))
        self.assertEqual(self.far.get("clusterrolebinding", self.account())["roleRef"]["name"], "cluster-admin")
        self.assertTrue(self.holder_works())
        self.assertNotIn("client-key-data", self.secret("x1"))
        self.kflex("ctx", "x1")
        self.user("auth", "can-i", "*", "*")
        self.kflex("ctx")
        note = self.host.get("secret", "admin-kubeconfig", "-n", "x1-system")["metadata"]["annotations"]
        self.assertIn("kflex.kubestellar.org/token-expires", note)

    def test_drift(self):
        good = self.secret("x1")
        for name in ("admin-kubeconfig", "external-credentials"):
            self.deleted_comes_back("secret", name, "-n", "x1-system")
            self.assertEqual(self.secret("x1", name), good)
            self.host.kubectl("patch", "secret", "-n", "x1-system", name, "-p",
                              '{"stringData":{"kubeconfig-incluster":"rubbish"}}')
            wait(5, f"{name} is right", lambda name=name: self.secret("x1", name) == good)

    def test_two_of_one_cluster(self):
        self.kflex("adopt", "x2", "-c", "far", "--timeout", READY)
        name = self.account("x2")
        self.assertTrue(self.left_over_there(name))
        self.kflex("delete", "x2")
        wait(10, "all of x2 is gone there", lambda: not self.left_over_there(name))
        self.assertTrue(self.holder_works("x1"))

    def test_refused(self):
        """S-06, S-07, S-14: with a message, and nothing is deleted."""
        cases = [({"server": "https://127.0.0.1:6443"}, "loopback"), ({"server": "https://169.254.169.254"}, "link-local"),
                 ({"server": "https://10.0.0.1", "user": {"exec": {"command": "/bin/sh", "apiVersion": "v1"}}}, "exec plugin"),
                 ({"server": "https://10.0.0.1", "user": {"tokenFile": "/etc/passwd"}}, "names a file"),
                 ({"server": "https://10.0.0.1", "cluster": {"insecure-skip-tls-verify": True}}, "insecure"),
                 ({"server": "https://any.localhost:1"}, "this machine")]
        # What a name means is found out when it is dialled.
        if resolves_here(os.uname().nodename):
            cases.append(({"server": f"https://{os.uname().nodename}:1"}, "loopback"))
        for i, (kubeconfig, word) in enumerate(cases):
            plane = f"r{i}"
            self.put_bootstrap(plane, **kubeconfig)
            self.put_plane(plane)
            wait(10, f"{word} is refused", lambda p=plane: self.condition(p, "Synced").get("reason") == "BootstrapRefused")
            self.assertIn(word, self.condition(plane, "Synced")["message"])
            self.kflex("delete", plane)
            self.assertTrue(self.host.get("secret", f"{plane}-bootstrap", "-n", "kubeflex-system"))

    def test_where_bootstraps_stand(self):
        self.put_bootstrap("w1", "https://10.0.0.1", ns="default")
        self.put_plane("w1", ns="default")
        self.put_plane("w2", name="kubeflex-bus-watcher")
        for plane in ("w1", "w2"):
            wait(10, f"{plane} is refused", lambda p=plane: self.condition(p, "Synced").get("reason") == "BootstrapRefused")
            self.kflex("delete", plane)

    def test_secret_after_the_plane(self):
        self.put_plane("late")
        wait(10, "it waits", lambda: self.condition("late", "Synced").get("reason") == "WaitingForBootstrap")
        with open(self.far.admin, encoding="utf-8") as f:
            self.host.kubectl("create", "secret", "generic", "-n", "kubeflex-system", "late-bootstrap",
                              "--from-literal=kubeconfig-incluster=" + f.read())
        wait(15, "Ready", lambda: self.ready("late"))
        self.kflex("delete", "late")

    def test_ready_follows(self):
        """Away and back; then the account is removed over there, and the cluster is adopted once more."""
        self.far.stop_one("kube-apiserver")
        wait(40, "Ready is False", lambda: self.condition("x1", "Ready").get("reason") == "Unavailable")
        self.assertEqual(self.condition("x1", "Synced")["status"], "True")
        self.far.start_api()
        self.far.await_ready()
        wait(15, "Ready is True", lambda: self.ready("x1"))
        self.far.kubectl("delete", "clusterrolebinding", self.account())
        wait(40, "Ready is False", lambda: not self.ready("x1"))
        with open(self.far.admin, encoding="utf-8") as f:
            self.host.kubectl("create", "secret", "generic", "-n", "kubeflex-system", "x1-bootstrap",
                              "--from-literal=kubeconfig-incluster=" + f.read())
        wait(20, "Ready again", lambda: self.ready("x1") and self.holder_works())
        self.assertIsNone(self.host.get("secret", "x1-bootstrap", "-n", "kubeflex-system"))

    def test_restart(self):
        before = self.secret("x1")
        self.world.stop_ours("external")
        self.world.start_ours("external")
        self.deleted_comes_back("secret", "admin-kubeconfig", "-n", "x1-system")
        self.assertEqual(self.secret("x1"), before)

    def test_zz_delete_leaves_nothing(self):
        kubeconfig, name = self.secret("x1"), self.account()
        self.kflex("delete", "x1")
        wait(10, "account and rights are gone there", lambda: not self.left_over_there(name))
        wait(15, "the token is refused", lambda: not self.who(kubeconfig, self.far.server))
        self.assertIsNone(self.host.get("namespace", "x1-system"))
        self.far.kubectl("get", "namespaces")


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    kubernetes = control.find_programs()
    if not kubernetes or os.geteuid() != 0 or not shutil.which("ip"):
        print("skipped: needs root, ip, and the programs that deploy/local/up builds")
        sys.exit(77)
    programs = {name: os.path.abspath(sys.argv.pop(1)) for name in ("kflex", "watcher", "bus", "reconciler")}
    try:
        world = World(kubernetes, programs)
    except subprocess.CalledProcessError as error:
        print(f"skipped: {error.stderr}")
        sys.exit(77)
    failed = True
    try:
        world.start()
        Case.world = world
        failed = not unittest.main(verbosity=2, exit=False).result.wasSuccessful()
    finally:
        world.close(failed)
    sys.exit(failed)


main()
