#!/usr/bin/env python3
"""`kflex init` and `upgrade` over an installation of the Go KubeFlex, with a real API server. No node is needed: what the Go
KubeFlex's chart makes is here by names, labels and containers; its pods would not run.

  test_install.py KFLEX [TEST…]

Skipped (77) where the Kubernetes programs have not been built (deploy/local/up does).
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import control
from world import REPO, wait

SYSTEM = "kubeflex-system"
CONTROLLER = "kubeflex-controller-manager"
API = "tenancy.kflex.kubestellar.org/v1alpha1"
RBAC = "rbac.authorization.k8s.io/v1"
ACCOUNT = {"kind": "ServiceAccount", "name": CONTROLLER, "namespace": SYSTEM}
POD = {"control-plane": "controller-manager"}
PROGRAM = []


def named(version, kind, name, component=None, namespace=None, **fields):
    """With the labels that the chart gives it."""
    labels = {"app.kubernetes.io/component": component, "app.kubernetes.io/created-by": "kubeflex",
              "app.kubernetes.io/managed-by": "kustomize", "app.kubernetes.io/part-of": "kubeflex"} if component else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels, **({"namespace": namespace} if namespace else {})},
            **fields}


def binding(name, role, component=None):
    return named(RBAC, "ClusterRoleBinding", name, component, roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                 subjects=[ACCOUNT])


def go_deployment():
    containers = [{"name": "kube-rbac-proxy", "image": "quay.io/brancz/kube-rbac-proxy:v0.19.1", "ports": [{"containerPort": 8443, "name": "https"}]},
                  {"name": "manager", "image": "ghcr.io/kubestellar/kubeflex/manager:0.9.3", "args": ["--leader-elect"],
                   "env": [{"name": "HELM_CONFIG_HOME", "value": "/tmp"}]}]
    pod = {"serviceAccountName": CONTROLLER, "containers": containers, "securityContext": {"runAsNonRoot": True},
           "initContainers": [{"name": "wait-postgresql", "image": "quay.io/kubestellar/kubectl:1.30.14"}]}
    deployment = named("apps/v1", "Deployment", CONTROLLER, "manager", SYSTEM, spec={
        "replicas": 1, "selector": {"matchLabels": POD}, "template": {"metadata": {"labels": POD}, "spec": pod}})
    deployment["metadata"]["labels"].update(POD)
    return deployment


# What stands in the cluster before, but for the definitions, which are ours: theirs are the same without what was added.
THEIRS = [
    named("v1", "Namespace", SYSTEM),
    named("v1", "ServiceAccount", CONTROLLER, "rbac", SYSTEM),
    named(RBAC, "ClusterRole", "kubeflex-manager-role", rules=[{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]),
    binding("kubeflex-manager-rolebinding", "kubeflex-manager-role", "rbac"),
    named("v1", "ConfigMap", "kubeflex-config", namespace=SYSTEM,
          data={"domain": "planes.example", "externalPort": "8443", "hostContainer": "box", "isOpenShift": "false"}),
    named("v1", "Service", "kubeflex-controller-manager-metrics-service", "kube-rbac-proxy", SYSTEM,
          spec={"ports": [{"name": "https", "port": 8443, "targetPort": "https"}], "selector": POD}),
    go_deployment(),
    named("v1", "Secret", "postgres-postgresql", namespace=SYSTEM, stringData={"postgres-password": "theirs"}),
    named("apps/v1", "StatefulSet", "postgres-postgresql", namespace=SYSTEM, spec={
        "serviceName": "postgres-postgresql-hl", "selector": {"matchLabels": {"app.kubernetes.io/name": "postgresql"}},
        "template": {"metadata": {"labels": {"app.kubernetes.io/name": "postgresql"}},
                     "spec": {"containers": [{"name": "postgresql", "image": "docker.io/bitnami/postgresql:16"}]}}}),
    binding("kubestellar-controller", "cluster-admin"),  # KubeStellar's, for hooks and host planes
    named(API, "ControlPlane", "cp1", spec={"type": "k8s", "backend": "shared", "postCreateHook": "hello"}),
    named(API, "PostCreateHook", "hello", spec={"templates": []}),
    named("v1", "Namespace", "cp1-system"),
    named("v1", "Secret", "admin-kubeconfig", namespace="cp1-system", stringData={"kubeconfig": "theirs"}),
]
# These are only looked at.
KEPT = [("controlplane", "cp1"), ("postcreatehook", "hello"), ("clusterrolebinding", "kubestellar-controller"),
        ("clusterrolebinding", "kubeflex-manager-rolebinding"), ("secret", "postgres-postgresql", "-n", SYSTEM),
        ("statefulset", "postgres-postgresql", "-n", SYSTEM), ("namespace", "cp1-system"), ("secret", "admin-kubeconfig", "-n", "cp1-system")]


class Install(unittest.TestCase):
    host = folder = None

    def kflex(self, *argv):
        env = {"HOME": self.folder, "KUBECONFIG": self.host.admin, "PATH": os.environ["PATH"]}
        done = subprocess.run([PROGRAM[0], *argv], env=env, text=True, capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def manager(self):
        return self.host.get("deployment", CONTROLLER, "-n", SYSTEM)

    def versions(self):
        return {what: (o["metadata"]["uid"], o["metadata"]["resourceVersion"]) for what in KEPT for o in [self.host.get(*what)]}

    def install_theirs(self):
        self.host.kubectl("create", "-f", "-", input=self.host.kubectl("kustomize", f"{REPO}/deploy/crds"))
        self.host.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        self.host.kubectl("create", "-f", "-", input="\n---\n".join(json.dumps(o) for o in THEIRS))

    def test_dry_run_on_an_empty_cluster(self):
        self.assertIn("Nothing was changed", self.kflex("init", "--dry-run"))
        self.assertIsNone(self.host.get("crd"))
        self.assertIsNone(self.host.get("namespace", SYSTEM))

    def test_init_then_upgrade(self):
        self.install_theirs()
        before, kept = self.manager(), self.versions()
        account = self.host.get("serviceaccount", CONTROLLER, "-n", SYSTEM)["metadata"]["uid"]
        self.host.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": f"{CONTROLLER}-1", "namespace": SYSTEM, "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": CONTROLLER, "uid": before["metadata"]["uid"], "controller": True,
                "blockOwnerDeletion": True}]}, "spec": {key: before["spec"][key] for key in ("replicas", "selector", "template")}}))
        said = self.kflex("init", "--dry-run")
        self.assertIn("is another KubeFlex's: it would be replaced", said)
        self.assertIn("Nothing was changed", said)
        self.assertEqual(self.manager()["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"])

        self.assertIn("Removed the Deployment of another KubeFlex", self.kflex("init", "--no-wait"))
        now = self.manager()
        pod = now["spec"]["template"]["spec"]
        self.assertNotEqual(now["metadata"]["uid"], before["metadata"]["uid"])
        self.assertEqual([c["name"] for c in pod["containers"]], ["manager"])
        self.assertNotIn("initContainers", pod)
        self.assertNotIn("HELM_CONFIG_HOME", json.dumps(pod))
        self.assertEqual(pod["containers"][0]["command"], ["kubeflex-watcher"])
        self.assertIsNone(self.host.get("replicaset", f"{CONTROLLER}-1", "-n", SYSTEM))
        self.assertEqual(self.versions(), kept)
        self.assertEqual(self.host.get("serviceaccount", CONTROLLER, "-n", SYSTEM)["metadata"]["uid"], account)
        config = self.host.get("configmap", "kubeflex-config", "-n", SYSTEM)["data"]
        self.assertGreaterEqual(config.items(), {"domain": "planes.example", "externalPort": "8443", "hostContainer": "box"}.items())

        self.assertNotIn("Removed", self.kflex("upgrade", "--no-wait"))
        self.assertEqual(self.manager()["metadata"]["uid"], now["metadata"]["uid"])
        self.assertEqual(self.versions(), kept)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    kubernetes = control.find_programs()
    if not kubernetes:
        print("skipped: needs the programs that deploy/local/up builds")
        sys.exit(77)
    PROGRAM.append(os.path.abspath(sys.argv.pop(1)))
    folder = tempfile.mkdtemp(prefix="kfx-install-")
    host = control.Cluster(kubernetes, folder, "hosting")
    failed = True
    try:
        host.start()
        wait(20, "accounts", lambda: host.get("serviceaccount", "default", "-n", "default"))
        Install.host, Install.folder = host, folder
        failed = not unittest.main(verbosity=2, exit=False).result.wasSuccessful()
    finally:
        host.stop()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(failed)


main()
