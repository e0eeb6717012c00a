#!/usr/bin/env python3
"""That pods are confined, by what is running: each pod of the namespaces given, and each process of its containers.

usage: confined.py NAMESPACE...     (kubectl's hosting context in $HOST_CONTEXT; root, on the machine of the node)

Prints each fault on stderr; the exit code is 1 where there is one.
"""
import json
import os
import re
import subprocess
import sys

NET_BIND_SERVICE = 1 << 10
# Containers that talk to the hosting API server, so that their pods have a token.
WITH_TOKEN = {"manager", "reconciler", "agent", "bus"}
# kube-apiserver's binary has this as a file capability: without it in the bounding set exec fails.
ADDED = {"kube-apiserver": NET_BIND_SERVICE}

problems = []


def complain(where, text):
    problems.append(f"{where}: {text}")


def expect(where, what, found, wanted):
    if found != wanted:
        complain(where, f"{what} is {found!r}, not {wanted!r}")


def pods_of(namespace):
    command = ["kubectl", "--context", os.environ["HOST_CONTEXT"], "get", "pods", "-n", namespace, "-o", "json"]
    pods = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def check_pod(where, pod):
    spec = pod["spec"]
    context = spec.get("securityContext", {})
    expect(where, "runAsNonRoot", context.get("runAsNonRoot"), True)
    expect(where, "seccompProfile", context.get("seccompProfile"), {"type": "RuntimeDefault"})
    wanted = "kubeflex" if pod["metadata"]["namespace"] == "kubeflex-system" else None
    expect(where, "priority class", spec.get("priorityClassName"), wanted)
    expect(where, "priority", spec.get("priority", 0), 1000000 if wanted else 0)
    for field in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        expect(where, field, spec.get(field, False), False)
    tokens = [v["name"] for v in spec.get("volumes", []) for s in v.get("projected", {}).get("sources", []) if "serviceAccountToken" in s]
    if not {c["name"] for c in containers(pod)} & WITH_TOKEN:
        expect(where, "automountServiceAccountToken", spec.get("automountServiceAccountToken"), False)
        expect(where, "volumes with a token", tokens, [])


def check_container(where, container):
    context = container.get("securityContext", {})
    capabilities = context.get("capabilities", {})
    expect(where, "allowPrivilegeEscalation", context.get("allowPrivilegeEscalation"), False)
    expect(where, "readOnlyRootFilesystem", context.get("readOnlyRootFilesystem"), True)
    expect(where, "capabilities dropped", capabilities.get("drop"), ["ALL"])
    expect(where, "capabilities added", capabilities.get("add", []), ["NET_BIND_SERVICE"] if container["name"] in ADDED else [])
    resources = container.get("resources", {})
    for part, names in (("requests", ("cpu", "memory")), ("limits", ("memory",))):
        for name in names:
            if name not in resources.get(part, {}):
                complain(where, f"no {part}.{name}")


def age(pid):
    """Seconds since its start."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/uptime", encoding="utf-8") as file:
        return float(file.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def processes():
    """Container id -> processes, by the last part of their control group's path. Not what has just begun: runc's first
    process in a container, also for an exec probe, is root until it has become what it starts."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                line = file.readline().strip()
            if age(pid) < 1:
                continue
        except OSError:
            continue
        identity = re.sub(r"^cri-containerd-|\.scope$", "", line.rsplit("/", 1)[-1])
        found.setdefault(identity, []).append(pid)
    return found


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def root_options(pid):
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if fields[4] == "/":
                return fields[5].split(",")
    return []


def check_process(where, pid, name):
    status = status_of(pid)
    for what in ("Uid", "Gid"):
        if "0" in status[what].split():
            complain(where, f"runs with {what} 0")
    for what in ("CapInh", "CapAmb"):
        expect(where, what, int(status[what], 16), 0)
    for what in ("CapPrm", "CapEff", "CapBnd"):
        expect(where, what, int(status[what], 16), ADDED.get(name, 0))
    expect(where, "NoNewPrivs", status["NoNewPrivs"], "1")
    expect(where, "Seccomp", status["Seccomp"], "2")
    if "ro" not in root_options(pid):
        complain(where, "its root is writable")
    if name not in WITH_TOKEN and os.path.exists(f"/proc/{pid}/root/var/run/secrets/kubernetes.io/serviceaccount"):
        complain(where, "a token is mounted")


def check_kine(where, pids):
    """One user in both containers, as the socket is its owner's alone."""
    users = {status_of(pid)["Uid"].split()[0] for pid in (pids["kine"], pids["kube-apiserver"])}
    expect(where, "number of users", len(users), 1)
    socket = os.stat(f"/proc/{pids['kube-apiserver']}/root/run/kine/kine.sock")
    expect(where, "mode of kine's socket", oct(socket.st_mode & 0o777), "0o600")
    expect(where, "owner of kine's socket", str(socket.st_uid), next(iter(users)))


def check_file_capability(where, pid):
    """The local image has what the official one has, or nothing here would be tested. VFS_CAP_REVISION_2, effective."""
    path = f"/proc/{pid}/root/usr/local/bin/kube-apiserver"
    try:
        value = os.getxattr(path, "security.capability")
    except OSError as error:
        complain(where, f"{path} has no file capability: {error}")
        return
    words = [int.from_bytes(value[i : i + 4], "little") for i in range(0, len(value), 4)]
    expect(where, "file capability", words[:2], [0x02000001, NET_BIND_SERVICE])


def main(namespaces):
    if not namespaces:
        sys.exit(__doc__)
    running, count = processes(), 0
    for namespace in namespaces:
        pods = pods_of(namespace)
        if not pods:
            complain(namespace, "no pod")
        for pod in pods:
            where = f"{namespace}/{pod['metadata']['name']}"
            check_pod(where, pod)
            first = {}
            states = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
            ids = {state["name"]: state.get("containerID", "").rsplit("/", 1)[-1] for state in states}
            for container in containers(pod):
                inside = f"{where}/{container['name']}"
                check_container(inside, container)
                pids = running.get(ids[container["name"]], [])
                if not pids:
                    complain(inside, "no process of it is found")
                for pid in pids:
                    try:
                        check_process(inside, pid, container["name"])
                    except (FileNotFoundError, ProcessLookupError):
                        continue  # it ended meanwhile
                    first.setdefault(container["name"], pid)
                    count += 1
                if pids and container["name"] not in first:
                    complain(inside, "all its processes ended meanwhile")
            if "kine" in first and "kube-apiserver" in first:
                check_kine(where, first)
                check_file_capability(where, first["kube-apiserver"])
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{count} processes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
