"""API servers of their own for a test: etcd, kube-apiserver and some controllers, without nodes. Standard library only.

The programs are those that deploy/local/up has built (KUBEFLEX_CACHE). `find_programs` gives None where they are missing.
"""
import base64
import glob
import json
import os
import signal
import socket
import subprocess
import time

CONTROLLERS = ("clusterrole-aggregation-controller,garbage-collector-controller,namespace-controller,serviceaccount-controller,serviceaccount-token-controller,"
               "legacy-serviceaccount-token-cleaner-controller,root-ca-certificate-publisher-controller")


def find_programs():
    cache = os.environ.get("KUBEFLEX_CACHE", "/var/cache/kubeflex")
    found = {}
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"):
        paths = glob.glob(f"{cache}/programs/*/bin/{name}")
        if not paths:
            return None
        found[name] = max(paths, key=os.path.getmtime)
    return found


def run(*argv, **more):
    return subprocess.run(argv, check=True, text=True, capture_output=True, timeout=60, **more).stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Pki:
    def __init__(self, folder):
        self.folder = folder
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key",
                     "-out", "ca.crt", "-days", "2", "-subj", "/CN=test")
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key")

    def openssl(self, *argv):
        run("openssl", *argv, cwd=self.folder)

    def issue(self, name, subject, extension):
        with open(f"{self.folder}/{name}.ext", "w", encoding="ascii") as f:
            f.write(extension)
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key",
                     "-out", f"{name}.csr", "-subj", subject)
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                     f"{name}.crt", "-days", "2", "-extfile", f"{name}.ext")

    def base64(self, file):
        with open(f"{self.folder}/{file}", "rb") as f:
            return base64.b64encode(f.read()).decode()


class Cluster:
    """One API server at https://address:port; netns: the network namespace it runs in, or None."""

    def __init__(self, programs, folder, name, address="127.0.0.1", netns=None):
        self.programs, self.folder, self.name, self.address, self.netns = programs, f"{folder}/{name}", name, address, netns
        self.processes = {}
        os.makedirs(self.folder)
        self.pki = Pki(self.folder)
        self.pki.issue("serving", "/CN=kube-apiserver", f"subjectAltName=IP:{address},IP:10.0.0.1,DNS:kubernetes.default.svc\n"
                       "extendedKeyUsage=serverAuth\n")
        self.pki.issue("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth\n")
        self.port, self.etcd_port, self.peer_port = (free_port() for _ in range(3))
        self.server = f"https://{address}:{self.port}"
        self.admin = f"{self.folder}/admin.kubeconfig"
        self.write_kubeconfig(self.admin, name, {"client-certificate-data": self.pki.base64("admin.crt"),
                                                 "client-key-data": self.pki.base64("admin.key")})

    def write_kubeconfig(self, path, context, user):
        config = {"apiVersion": "v1", "kind": "Config", "current-context": context,
                  "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
                  "clusters": [{"name": context, "cluster": {"server": self.server, "certificate-authority-data":
                                                             self.pki.base64("ca.crt")}}],
                  "users": [{"name": context, "user": user}]}
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        os.chmod(path, 0o600)
        return path

    def spawn(self, program, *argv):
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        with open(f"{self.folder}/{program}.log", "ab") as log:
            self.processes[program] = subprocess.Popen([*prefix, self.programs[program], *argv], stdout=log, stderr=log,
                                                       cwd=self.folder)

    def start_etcd(self):
        url = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        self.spawn("etcd", "--data-dir", "etcd", "--listen-client-urls", url, "--advertise-client-urls", url,
                   "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                   "--unsafe-no-fsync")

    def start_api(self):
        self.spawn("kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", f"--bind-address={self.address}",
                   f"--secure-port={self.port}", "--client-ca-file=ca.crt", "--tls-cert-file=serving.crt",
                   "--tls-private-key-file=serving.key", "--service-account-key-file=sa.key",
                   "--service-account-signing-key-file=sa.key", "--service-account-issuer=https://kubernetes.default.svc",
                   "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24",
                   "--enable-admission-plugins=OwnerReferencesPermissionEnforcement")

    def start(self):
        self.start_etcd()
        self.start_api()
        self.await_ready()
        self.spawn("kube-controller-manager", f"--kubeconfig={self.admin}", "--leader-elect=false", "--root-ca-file=ca.crt",
                   "--service-account-private-key-file=sa.key", f"--controllers={CONTROLLERS}", "--secure-port=0",
                   "--use-service-account-credentials=false")

    def await_ready(self):
        deadline = time.monotonic() + 60
        while subprocess.run([self.programs["kubectl"], "--kubeconfig", self.admin, "get", "--raw", "/readyz"],
                             capture_output=True, timeout=30, check=False).returncode:
            if time.monotonic() > deadline:
                with open(f"{self.folder}/kube-apiserver.log", encoding="utf-8", errors="replace") as f:
                    raise AssertionError(f"{self.name} is not ready:\n" + f.read()[-3000:])
            time.sleep(0.1)

    def kubectl(self, *argv, kubeconfig=None, **more):
        return run(self.programs["kubectl"], "--kubeconfig", kubeconfig or self.admin, *argv, **more)

    def get(self, *argv):
        """An object as a dictionary, or None."""
        text = self.kubectl("get", "--ignore-not-found", "-o", "json", *argv)
        return json.loads(text) if text.strip() else None

    def account(self, path, name):
        """A kubeconfig of ServiceAccount name in kubeflex-system."""
        token = self.kubectl("create", "token", "-n", "kubeflex-system", name).strip()
        return self.write_kubeconfig(path, name, {"token": token})

    def stop_one(self, program, number=signal.SIGKILL):
        process = self.processes.pop(program, None)
        if process:
            process.send_signal(number)
            process.wait(10)

    def stop(self):
        for program in list(self.processes):
            self.stop_one(program)


class Network:
    """A network namespace with a private address that is reached from here."""

    def __init__(self):
        self.netns = f"kfx-types-{os.getpid()}"
        number = os.getpid() % 250
        self.link = f"kt{os.getpid() % 100000}"
        self.address, here = f"10.87.{number}.1", f"10.87.{number}.2"
        run("ip", "netns", "add", self.netns)
        try:
            run("ip", "link", "add", self.link + "a", "type", "veth", "peer", "name", self.link + "b", "netns", self.netns)
            run("ip", "address", "add", here + "/30", "dev", self.link + "a")
            run("ip", "link", "set", self.link + "a", "up")
            inside = ["ip", "-n", self.netns]
            run(*inside, "address", "add", self.address + "/30", "dev", self.link + "b")
            run(*inside, "link", "set", self.link + "b", "up")
            run(*inside, "link", "set", "lo", "up")
        except BaseException:
            self.remove()
            raise

    def remove(self):
        subprocess.run(["ip", "netns", "delete", self.netns], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.link + "a"], check=False, capture_output=True)
