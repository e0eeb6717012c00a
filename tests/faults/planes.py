"""One plane of a round, and the bystander: made, used, deleted, and looked for afterwards."""
import json
import time

from cluster import AWAY, CALL_S, GROUP, LABEL, PAUSE_S, PLANES, Deadline, Failure, Refused, show_write

PATIENCE_S = 120  # of each wait: a deadline, far above what it takes
USE_S = 60

# Where a plane's objects could be left. Namespaced ones go with the Namespace.
CLUSTER_SCOPED = ("/api/v1/namespaces", "/api/v1/persistentvolumes", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                  "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                  "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
                  "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
                  "/apis/scheduling.k8s.io/v1/priorityclasses", "/apis/networking.k8s.io/v1/ingressclasses")


def condition(plane, kind):
    for one in (plane or {}).get("status", {}).get("conditions", []):
        if one["type"] == kind:
            return one
    return {}


def is_true(plane, kind):
    return condition(plane, kind).get("status") == "True"


def conditions_text(plane):
    if not plane:
        return "there is no ControlPlane"
    return " ".join(f"{one['type']}={one['status']}/{one['reason']}({one['message'][:160]})"
                    for one in plane.get("status", {}).get("conditions", [])) or "no condition"


def containers_text(pod):
    """How each container of the pod is, and what became of the one before it."""
    status = pod.get("status", {})
    found = [f"{one['name']} {'ready' if one['ready'] else 'not ready'}, restarted {one['restartCount']} times, "
             f"{json.dumps(one['state'])}, before that {json.dumps(one['lastState'])}"
             for one in status.get("initContainerStatuses", []) + status.get("containerStatuses", [])]
    return f"pod {pod['metadata']['name']} {status.get('phase')}: " + ("; ".join(found) or "no container yet")


class Plane:
    def __init__(self, cluster, name):
        self.cluster, self.name, self.ns = cluster, name, f"{name}-system"
        self.uid, self.seen = "", None

    def create(self):
        body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ControlPlane", "metadata": {"name": self.name},
                "spec": {"type": "k8s", "backend": "shared"}}
        self.cluster.api.sure("POST", PLANES, body)

    def await_ready(self, other_than=""):
        """Until all three conditions are True; returns the object."""

        def good(plane):
            self.seen = plane
            fresh = plane and plane["metadata"]["uid"] != other_than
            return plane if fresh and all(is_true(plane, kind) for kind in ("Synced", "Ready", "StorageReady")) else None

        plane = self.cluster.api.await_object(
            PLANES, self.name, good, PATIENCE_S, lambda: f"{self.name} Ready: {conditions_text(self.seen)}")
        self.uid = plane["metadata"]["uid"]
        return plane

    def use(self, marker="used"):
        """Writes into the plane and reads it back, through the kubeconfig that its owner gets. Its API server may be slow to
        find its database again; the proxy in front of it to find the plane."""
        deadline, last = Deadline(USE_S), ""
        path = "/api/v1/namespaces/default/configmaps"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": marker}, "data": {"plane": self.uid}}
        api = self.cluster.plane_api(self.name)
        while True:
            deadline.check(f"{self.name} takes a write and gives it back: {last}")
            try:
                try:
                    api.call("POST", path, body)
                except Refused as error:
                    if error.code != 409:
                        raise
                if api.call("GET", f"{path}/{marker}")["data"] != body["data"]:
                    raise Failure(f"{self.name} does not give back what was written")
                return
            except (Refused, *AWAY) as error:
                last = repr(error)
            time.sleep(PAUSE_S)

    def delete(self):
        self.cluster.api.sure("DELETE", f"{PLANES}/{self.name}")

    def await_gone(self):
        """Until the ControlPlane of this uid is gone. Then nothing of it may be in Postgres: the finalizer promised that."""

        def good(plane):
            self.seen = plane
            return plane is None or plane["metadata"]["uid"] != self.uid

        self.cluster.api.await_object(PLANES, self.name, good, PATIENCE_S,
                                      lambda: f"{self.name} gone: {conditions_text(self.seen)}")
        self.check_storage()

    def check_storage(self):
        left = self.cluster.storage_of(self.uid)
        if left:
            raise Failure(f"{self.name} is gone, but not in Postgres: {' '.join(left)}")

    def await_clean(self):
        """The rest is the garbage collector's: all objects with the plane's name or uid go."""
        self.cluster.api.await_object("/api/v1/namespaces", self.ns, lambda found: found is None, PATIENCE_S,
                                      f"Namespace {self.ns} gone")
        for path in CLUSTER_SCOPED:
            for found in self.cluster.api.items(path):
                meta = found["metadata"]
                owners = [owner["uid"] for owner in meta.get("ownerReferences", [])]
                if meta.get("labels", {}).get(LABEL) == self.name or self.uid in owners:
                    raise Failure(f"{self.name} is gone, but {path}/{meta['name']} is left")


class Bystander(Plane):
    """A plane that lives through all rounds and must not notice them."""

    KINDS = ("/api/v1/namespaces/{}/secrets", "/api/v1/namespaces/{}/services", "/api/v1/namespaces/{}/configmaps",
             "/apis/networking.k8s.io/v1/namespaces/{}/ingresses", "/apis/apps/v1/namespaces/{}/deployments")

    def remember(self):
        self.inside = self.cluster.plane_api(self.name)
        self.marker = self._marker()
        self.objects, self.restarts, self.rv = self._objects(), self._restarts(), self._plane_rv()

    def _marker(self):
        return self.inside.call("GET", "/api/v1/namespaces/default/configmaps/used", timeout=CALL_S)

    def _plane_rv(self):
        return self.cluster.api.sure("GET", f"{PLANES}/{self.name}")["metadata"]["resourceVersion"]

    def _objects(self):
        """What we write, as it stands: of workloads their generation, since their status is the cluster's."""
        found = {}
        for path in self.KINDS:
            for one in self.cluster.api.items(path.format(self.ns)):
                meta = one["metadata"]
                version = meta.get("generation") if "deployments" in path else meta["resourceVersion"]
                if meta["name"] != "kube-root-ca.crt":
                    found[f"{path.rsplit('/', 1)[1]}/{meta['name']}"] = (meta["uid"], version)
        return found

    def _restarts(self):
        return {(pod["metadata"]["uid"], one["name"]): one["restartCount"] for pod in self.cluster.pods(self.ns)
                for key in ("containerStatuses", "initContainerStatuses") for one in pod["status"].get(key, [])}

    def check(self, writes, storage_was_away):
        """writes: of ours since the last look. Without its database a plane may be unready for a while, and say so."""
        theirs = [w for w in writes if w["namespace"] == self.ns or
                  (w["name"] == self.name and not (storage_was_away and w["resource"] == "controlplanes/status"))]
        if theirs:
            raise Failure("the bystander was written to: " + "; ".join(map(show_write, theirs[:5])))
        if storage_was_away:
            self.await_ready()
            self.rv = self._plane_rv()
        for what, before, now in (("objects", self.objects, self._objects()), ("restarts", self.restarts, self._restarts()),
                                  ("resourceVersion", self.rv, self._plane_rv())):
            if before != now:
                if isinstance(before, dict):
                    before, now = ({k: v for k, v in one.items() if before.get(k) != now.get(k)} for one in (before, now))
                raise Failure(f"the bystander's {what} changed: {before} -> {now}")
        deadline, last = Deadline(USE_S), ""
        while True:
            deadline.check(f"the bystander gives its data: {last}")
            try:
                found = self._marker()
                break
            except (Refused, *AWAY) as error:
                if isinstance(error, Refused) and error.code == 404:
                    raise Failure("the bystander lost its data") from None
                last = repr(error)
            time.sleep(PAUSE_S)
        if found != self.marker:
            raise Failure(f"the bystander's data changed: {self.marker} -> {found}")
