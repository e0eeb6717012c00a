"""A hosting cluster, a cluster to adopt in another network namespace, and our programs with the rights that deploy/manifests
gives them. No node is needed."""
import json
import os
import shutil
import subprocess
import tempfile
import time

import control

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def wait(seconds, what, condition):
    """The time is what the test claims."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class World:
    """Both clusters and our programs; made once."""

    def __init__(self, kubernetes, programs):
        self.programs = programs
        self.folder = tempfile.mkdtemp(prefix="kfx-types-")
        self.network = control.Network()
        self.host = control.Cluster(kubernetes, self.folder, "hosting")
        self.far = control.Cluster(kubernetes, self.folder, "far", self.network.address, self.network.netns)
        self.ours = {}
        self.user = f"{self.folder}/user.kubeconfig"

    def start(self):
        self.host.start()
        self.far.start()
        self.install()
        for name in ("bus", "watcher", "host", "external"):
            self.start_ours(name)
        self.write_user()

    def kinds_served(self):
        kinds = (self.host.get("crd") or {}).get("items", [])
        return kinds and all(any(c["type"] == "Established" and c["status"] == "True" for c in kind["status"].get("conditions") or [])
                             for kind in kinds)

    def install(self):
        crds = self.host.kubectl("kustomize", f"{REPO}/deploy/crds")
        self.host.kubectl("apply", "--server-side", "-f", "-", input=crds)
        wait(30, "the kinds to be served", self.kinds_served)
        objects = self.host.kubectl("kustomize", "--load-restrictor", "LoadRestrictionsNone", f"{REPO}/deploy/manifests")
        wait(20, "kube-public", lambda: self.host.get("namespace", "kube-public"))
        self.host.kubectl("apply", "--server-side", "-f", "-", input=objects)

    def start_ours(self, name):
        """As in the cluster: each with its own account."""
        bus = f"ipc://{self.folder}/bus"
        more = ["--bus", bus, "--no-curve", "--health", ""]
        if name == "bus":
            argv = [self.programs["bus"], "--bind", bus, "--tap", "", "--no-curve", "--health", ""]
        elif name == "watcher":
            kubeconfig = self.host.account(f"{self.folder}/watcher.kubeconfig", "kubeflex-watcher")
            argv = [self.programs["watcher"], "--kubeconfig", kubeconfig, *more]
        else:
            kubeconfig = self.host.account(f"{self.folder}/{name}.kubeconfig", f"kubeflex-reconciler-{name}")
            argv = [self.programs["reconciler"], "--type", name, "--kubeconfig", kubeconfig, *more]
        with open(f"{self.folder}/{name}.log", "ab") as log:
            self.ours[name] = subprocess.Popen(argv, stdout=log, stderr=log)

    def stop_ours(self, name):
        process = self.ours.pop(name)
        process.kill()
        process.wait(10)

    def write_user(self):
        with open(self.host.admin, encoding="utf-8") as f:
            config = json.load(f)
        with open(self.far.admin, encoding="utf-8") as f:
            for key, value in json.load(f).items():
                if isinstance(value, list):
                    config[key] += value
        with open(self.user, "w", encoding="utf-8") as f:
            json.dump(config, f)
        os.chmod(self.user, 0o600)

    def kflex(self, *argv):
        env = {"HOME": self.folder, "KUBECONFIG": self.user, "PATH": os.environ["PATH"]}
        return subprocess.run([self.programs["kflex"], *argv], env=env, text=True, capture_output=True, timeout=120, check=False)

    def close(self, failed):
        for name in list(self.ours):
            self.stop_ours(name)
        self.host.stop()
        self.far.stop()
        self.network.remove()
        if failed:
            for name in ("watcher", "host", "external"):
                if not os.path.exists(f"{self.folder}/{name}.log"):
                    continue
                with open(f"{self.folder}/{name}.log", encoding="utf-8", errors="replace") as f:
                    print(f"==== {name}\n{f.read()[-6000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)
