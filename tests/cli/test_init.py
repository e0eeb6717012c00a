#!/usr/bin/env python3
"""kflex init, upgrade and doctor. test_init.py PATH-OF-KFLEX [unittest arguments]"""

import datetime
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import Case, main  # noqa: E402
from fake_api import NAMESPACES, PLANES  # noqa: E402

SYSTEM = f"{NAMESPACES}/kubeflex-system"
APPS = "/apis/apps/v1/namespaces/kubeflex-system"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONTROLLER = "kubeflex-controller-manager"


class Init(Case):
    def applied(self):
        return [r[2] for r in self.api.requests if r[0] == "PATCH"]

    def object(self, kind, name):
        return next((o for o in self.applied() if o["kind"] == kind and o["metadata"]["name"] == name), None)

    def config_data(self):
        return self.api.store.objects[f"{SYSTEM}/configmaps"]["kubeflex-config"]["data"]

    def test_fresh(self):
        done = self.kflex("init", "-d", "example.com", "-p", "8443", "-n", "box", "--image", "reg/kubeflex:1")
        kinds = [o["kind"] for o in self.applied()]
        definitions = kinds.count("CustomResourceDefinition")
        self.assertEqual(kinds[:definitions + 1], ["CustomResourceDefinition"] * definitions + ["Namespace"])
        self.assertGreaterEqual(self.config_data().items(), {"domain": "example.com", "externalPort": "8443",
                                                             "isOpenShift": "false", "hostContainer": "box"}.items())
        deployments = [o for o in self.applied() if o["kind"] == "Deployment"]
        self.assertEqual({d["spec"]["template"]["spec"]["containers"][0]["image"] for d in deployments}, {"reg/kubeflex:1"})
        for deployment in deployments:
            self.assertIn(f"{deployment['metadata']['name']} is ready", done.stdout)
        self.assertIn("Checking if OpenShift cluster... no", done.stdout)
        self.assertEqual(self.ext(self.config()), {"hosting-cluster-ctx-name": "host"})
        self.assertTrue(all("fieldManager=kflex" in r[1] for r in self.api.requests if r[0] == "PATCH"))

    def test_what_an_administrator_has_set_stays(self):
        self.kflex("init")
        self.assertEqual(self.config_data()["domain"], "localtest.me")
        self.config_data().update(domain="kept.example", externalAddress="192.0.2.1")
        self.kflex("init", "-p", "1234")
        self.kflex("upgrade")
        self.assertGreaterEqual(self.config_data().items(), {
            "domain": "kept.example", "externalPort": "1234", "isOpenShift": "false",
            "hostContainer": "kubeflex-control-plane", "externalAddress": "192.0.2.1"}.items())

    def test_openshift(self):
        self.api.store.extra["/apis/project.openshift.io/v1"] = {"resources": [{"name": "projects"}]}
        self.kflex("init")
        self.assertEqual(self.config_data()["isOpenShift"], "true")

    def test_over_the_go_kubeflex(self):
        """Its Deployment goes whole: no container of it is left, and a selector cannot change."""
        self.api.store.objects[f"{APPS}/deployments"] = {CONTROLLER: {
            "kind": "Deployment", "metadata": {"name": CONTROLLER, "uid": "go-uid", "labels": {
                "app.kubernetes.io/part-of": "kubeflex", "control-plane": "controller-manager"}},
            "spec": {"selector": {"matchLabels": {"control-plane": "controller-manager"}}, "template": {"spec": {"containers": [{"name": "manager"}, {"name": "kube-rbac-proxy"}]}}}}}
        done = self.kflex("init")
        self.assertIn("Removed the Deployment of another KubeFlex", done.stdout)
        deletes = [r for r in self.api.requests if r[0] == "DELETE"]
        self.assertEqual([d[2]["preconditions"] for d in deletes], [{"uid": "go-uid"}])
        now = self.api.store.objects[f"{APPS}/deployments"][CONTROLLER]
        self.assertEqual([c["name"] for c in now["spec"]["template"]["spec"]["containers"]], ["manager"])
        self.assertNotEqual(now["metadata"]["uid"], "go-uid")
        self.kflex("upgrade")  # ours is not removed
        self.assertEqual(len([r for r in self.api.requests if r[0] == "DELETE"]), 1)

    def test_postgres_of_somebody_else(self):
        self.api.store.objects[f"{APPS}/statefulsets"] = {"postgres-postgresql": {
            "kind": "StatefulSet", "metadata": {"name": "postgres-postgresql", "uid": "u"}, "spec": {}}}
        self.assertIn("not this KubeFlex's: it stays", self.kflex("init").stderr)
        self.assertIsNone(self.object("StatefulSet", "postgres-postgresql"))
        self.assertIsNone(self.object("Service", "postgres-postgresql"))

    def test_volume_of_postgres(self):
        self.assertIn("no default StorageClass", self.kflex("init").stderr)
        self.assertNotIn("volumeClaimTemplates", self.object("StatefulSet", "postgres-postgresql")["spec"])
        self.api.store.extra["/apis/storage.k8s.io/v1/storageclasses"] = {"items": [{"metadata": {"annotations": {
            "storageclass.kubernetes.io/is-default-class": "true"}}}]}
        self.api.requests.clear()
        self.kflex("upgrade")  # the volume of a StatefulSet that is there cannot change
        self.assertNotIn("volumeClaimTemplates", self.object("StatefulSet", "postgres-postgresql")["spec"])
        self.api.store.remove(f"{APPS}/statefulsets", "postgres-postgresql")
        self.api.requests.clear()
        self.assertEqual(self.kflex("init").stderr, "")
        self.assertIn("volumeClaimTemplates", self.object("StatefulSet", "postgres-postgresql")["spec"])

    def test_dry_run(self):
        before = self.config()
        done = self.kflex("init", "--dry-run")
        self.assertIn("Nothing was changed", done.stdout)
        self.assertTrue(all("dryRun=All" in r[1] for r in self.api.writes()))
        self.assertEqual(self.config(), before)

    def test_not_ready_in_time(self):
        ready = self.api.on_apply
        self.api.on_apply = lambda o: None if o["metadata"]["name"] == "kubeflex-bus" else ready(o)
        words = self.kflex("init", "--timeout", "1s", code=1).stderr
        self.assertIn("Error: kubeflex-bus is not ready in time: 0 of 1 pods are ready", words)
        self.assertIn("kubectl --context host", words)
        self.assertIn("Not waiting", self.kflex("upgrade", "--no-wait").stdout)

    def test_refused(self):
        self.error(self.kflex("init", "kind-x", code=1), "--create-kind")
        self.error(self.kflex("init", "-p", "70000", code=1), "must be a port")
        self.api.refuse[SYSTEM] = 403
        self.assertIn("not allowed on the hosting cluster", self.kflex("init", code=1).stderr)

    def test_wrong_context(self):
        self.create()
        self.api.requests.clear()
        self.error(self.kflex("init", code=1), "belongs to control plane cp1")
        self.write_config("")
        self.error(self.kflex("init", code=1), "no context is current")
        self.assertEqual(self.api.requests, [])

    def program(self, name, script):
        os.makedirs(f"{self.dir}/bin", exist_ok=True)
        with open(f"{self.dir}/bin/{name}", "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\necho \"{name} $*\" >>{self.dir}/calls\n{script}\n")
        os.chmod(f"{self.dir}/bin/{name}", 0o700)
        self.env["PATH"] = f"{self.dir}/bin:/usr/bin:/bin"

    def calls(self):
        with open(f"{self.dir}/calls", encoding="utf-8") as f:
            return f.read().splitlines()

    def test_create_kind(self):
        """B-16: the cluster's name, its container and its context fit together, and only the whole name counts."""
        self.program("kind", f'[ "$1 $2" != "get clusters" ] || echo kubeflex2; [ "$1" != create ] || cat >{self.dir}/config-in')
        self.program("kubectl", "")
        with open(self.path, encoding="utf-8") as f:
            config = json.load(f)
        config["contexts"].append({"name": "kind-kubeflex", "context": {"cluster": "hc", "user": "hu"}})
        config["current-context"] = "kind-kubeflex"
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        ingress = "/apis/apps/v1/namespaces/ingress-nginx/deployments"
        self.api.store.objects[ingress] = {"ingress-nginx-controller": {"spec": {"template": {"spec": {"containers": [
            {"args": ["--enable-ssl-passthrough"]}]}}}}}
        self.kflex("init", "--create-kind", "kind-kubeflex", "-p", "7443")
        calls = self.calls()
        self.assertEqual(calls[:2], ["kind get clusters", f"kind create cluster --name kubeflex --kubeconfig {self.path} --config -"])
        self.assertRegex(calls[2], r"^kubectl --kubeconfig \S+ --context kind-kubeflex apply -f https://\S+ingress-nginx\S+$")
        with open(f"{self.dir}/config-in", encoding="utf-8") as f:
            self.assertIn("hostPort: 7443", f.read())
        patch = next(r[2] for r in self.api.requests if r[0] == "PATCH" and ingress in r[1])
        self.assertEqual([p["value"] for p in patch],
                         ["--watch-ingress-without-class=true", "--publish-status-address=localhost"])
        self.assertEqual((self.config_data()["hostContainer"], self.config_data()["externalPort"]),
                         ("kubeflex-control-plane", "7443"))

    def test_kind_is_missing_or_fails(self):
        self.program("nothing", "")
        self.env["PATH"] = f"{self.dir}/bin"
        self.error(self.kflex("init", "-c", code=1), "kind is not in $PATH")
        self.program("kind", "exit 3")
        self.error(self.kflex("init", "-c", code=1), "`kind get` failed")


class Doctor(Case):
    def setUp(self):
        super().setUp()
        self.kflex("init")
        store = self.api.store
        port = self.tenant.url.rpartition(":")[2]
        store.objects[f"{SYSTEM}/configmaps"]["kubeflex-config"]["data"].update(externalAddress="127.0.0.1", externalPort=port)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        self.lease = {"spec": {"holderIdentity": "watcher-1", "renewTime": now}}
        store.extra["/apis/coordination.k8s.io/v1/namespaces/kubeflex-system/leases/c6f71c85.kflex.kubestellar.org"] = self.lease
        store.secrets[f"{SYSTEM}/secrets/kubeflex-bus-tap"] = {"kind": "Secret"}

    def checks(self, code=1):
        return {c["check"]: (c["status"], c["message"])
                for c in json.loads(self.kflex("doctor", "-o", "json", code=code).stdout)}

    def test_all_is_well(self):
        done = self.kflex("doctor")
        self.assertTrue(all(line.startswith("✔ ") for line in done.stdout.splitlines()), done.stdout)
        for word in ("hosting cluster: Kubernetes v1.36.3", "kind ControlPlane", "rights", "kubeflex-bus", "postgres-postgresql",
                     "leader: watcher-1", "DNS", "ingress", "control planes: 0 of 0"):
            self.assertIn(word, done.stdout)
        self.assertEqual(self.checks(code=0)["rights"][0], "ok")

    def test_each_fault_is_named(self):
        store = self.api.store
        store.objects[f"{APPS}/deployments"]["kubeflex-bus"]["status"]["readyReplicas"] = 0
        store.remove(f"{APPS}/deployments", "kubeflex-storage-agent")
        store.remove(CRDS, "postcreatehooks.tenancy.kflex.kubestellar.org")
        del store.objects[CRDS]["controlplanes.tenancy.kflex.kubestellar.org"]["spec"]["versions"][0]["schema"]
        self.lease["spec"]["renewTime"] = "2026-01-01T00:00:00Z"
        store.secrets.clear()
        self.api.may = lambda a: (a["verb"], a["resource"]) != ("create", "controlplanes")
        store.objects[f"{SYSTEM}/configmaps"]["kubeflex-config"]["data"].update(externalPort="1")
        self.api.add_plane("young")
        checks = self.checks()
        for check, status, words in (
                ("kubeflex-bus", "critical", "0 of 1 ready"), ("kubeflex-storage-agent", "critical", "kflex init"),
                ("kind PostCreateHook", "critical", "kflex init"), ("kind ControlPlane", "warning", "kflex upgrade"),
                ("leader", "warning", "has not renewed"), ("bus", "critical", "no keys"),
                ("rights", "critical", "you may not create controlplanes"), ("ingress", "critical", "port 1 of 127.0.0.1"),
                ("control planes", "warning", "0 of 1 ready")):
            self.assertEqual(checks[check][0], status, check)
            self.assertIn(words, checks[check][1])
        self.assertRegex(self.kflex("doctor", code=1).stderr, r"^Error: \d+ checks failed\n$")

    def test_name_that_does_not_resolve(self):
        data = self.api.store.objects[f"{SYSTEM}/configmaps"]["kubeflex-config"]["data"]
        del data["externalAddress"]
        data["domain"] = "nowhere.invalid"
        self.assertIn("kflex-doctor.nowhere.invalid", self.checks()["DNS"][1])
        data["externalPort"] = "x"
        self.assertEqual(self.checks()["configuration"][0], "critical")

    def test_no_cluster(self):
        self.write_config("tenant")
        self.assertEqual(list(self.checks()), ["hosting cluster"])
        self.assertIn(PLANES, self.api.store.objects)


if __name__ == "__main__":
    main(__doc__)
