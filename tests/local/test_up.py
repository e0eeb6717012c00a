#!/usr/bin/env python3
"""deploy/local/up on machines that cannot do it: each fault is said at once, in one line that names it and the remedy, before
anything is built or installed. Needs root (skipped with 77 otherwise). Standard library only."""
import glob
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

REPO = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
UP = f"{REPO}/deploy/local/up"
INSTANCE = "uptest"
LIMIT = 60  # seconds: only a test that hangs gets there
CANNOT = 3


class Up(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kfx-up-")
        os.chmod(self.dir, 0o755)
        self.stubs, self.state, self.cache = (f"{self.dir}/{name}" for name in ("stubs", "state", "cache"))
        self.kubeconfig = f"{self.dir}/home/config"
        for folder in (self.stubs, f"{self.dir}/home"):
            os.mkdir(folder)
        self.env = {"PATH": f"{self.stubs}:{os.environ['PATH']}", "HOME": f"{self.dir}/home", "KUBECONFIG": self.kubeconfig,
                    "KUBEFLEX_STATE": self.state, "KUBEFLEX_CACHE": self.cache}
        # Whatever is missing on this machine counts as installed; nothing may be built or installed.
        self.stub("dpkg-query", 'shift 3; printf "installed %s\\n" "$@"')
        self.stub("apt-get", f'echo "apt-get $*" >>{self.dir}/done; exit 1')
        self.stub("go", f'[ "$1" = env ] || {{ echo "go $*" >>{self.dir}/done; exit 1; }}; echo go1.26.8')

    def tearDown(self):
        shutil.rmtree(self.dir)
        for lock in glob.glob(f"/run/lock/kubeflex-local-{INSTANCE}-*.lock"):
            os.unlink(lock)

    def stub(self, name, body):
        path = f"{self.stubs}/{name}"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n{body}\n")
        os.chmod(path, 0o755)

    def up(self, *words, code=1, before=(), args=(INSTANCE,), built=False):
        """Runs it; its stderr (for code 3 its stdout) says all the words, in one message."""
        done = subprocess.run([*before, UP, *args], env=self.env, text=True, capture_output=True, timeout=LIMIT, check=False,
                              cwd="/")
        said = done.stdout if code == CANNOT else done.stderr
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, said)
        lines = [line for line in said.splitlines() if line.startswith(("error:", "cannot run containers here:"))]
        self.assertEqual(len(lines), 1, said)
        if not built:
            self.assertFalse(os.path.exists(f"{self.dir}/done"), "something was built or installed")
            self.assertFalse(glob.glob(f"{self.cache}/*/*"))
        return said

    def without_go(self):
        """The PATH of this machine, but for go."""
        folder = f"{self.dir}/all"
        os.mkdir(folder)
        for place in reversed(self.env["PATH"].split(":")):
            for name in os.listdir(place) if os.path.isdir(place) else ():
                if name != "go":
                    link = f"{folder}/{name}"
                    if os.path.lexists(link):
                        os.unlink(link)
                    os.symlink(f"{place}/{name}", link)
        self.env["PATH"] = folder
        # up looks there by itself.
        return ["unshare", "--mount", "sh", "-c", 'mkdir -p /usr/local/go && mount -t tmpfs tmpfs /usr/local/go && exec "$@"', "sh"]

    def test_no_root(self):
        self.up("needs root", "sudo", before=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])

    def test_no_go(self):
        self.up("Go is missing", "install Go 1.26 or newer", before=self.without_go())

    def test_old_or_broken_go(self):
        self.stub("go", "echo go1.21.3")
        self.up("Go 1.21.3", self.stubs, "too old", "install Go 1.26 or newer")
        self.stub("go", "echo 'cannot find GOROOT' >&2; exit 2")
        self.up("does not run", "cannot find GOROOT", "install Go 1.26 or newer")
        self.stub("go", "echo gcc 12")
        self.up("gcc 12", "install Go 1.26 or newer")

    def test_new_go_of_any_kind_is_taken(self):
        self.env["KUBECONFIG"] = "/dev/null"  # the next thing that is looked at
        for version in ("go1.26", "go1.27rc1", "go2.0.1", "devel go1.28-abcdef Mon Nov 23"):
            self.stub("go", f"echo '{version}'")
            self.up("not a regular file")

    def test_foreign_machine(self):
        self.stub("uname", 'case $1 in -m) echo riscv64 ;; *) echo Linux ;; esac')
        self.up("riscv64", "remedy: use x86_64 or aarch64", code=CANNOT)

    def test_capability_missing(self):
        said = self.up("this root lacks cap_net_admin", "remedy:", "--privileged", code=CANNOT,
                       before=["setpriv", "--bounding-set=-net_admin"], args=("--check", INSTANCE))
        self.assertNotIn("cap_sys_admin", said)

    def test_disk_full(self):
        self.stub("df", 'echo Avail; echo 12M')
        self.up("12 MB free", "KUBEFLEX_STATE")

    def test_bad_names(self):
        self.up("'A_b' is no instance name", "small letters", args=("A_b",))
        self.env["KUBEFLEX_STATE"] = "here"
        self.up("KUBEFLEX_STATE and KUBEFLEX_CACHE must be absolute")

    def test_addresses_taken(self):
        route = "ip link set lo up && ip route add 10.89.0.0/16 dev lo && exec \"$@\""
        self.up("no free subnet 10.89.N.0/24", "remove the route", before=["unshare", "--net", "sh", "-c", route, "sh"])

    def test_kubeconfig_unusable(self):
        for path, words in (("/dev/null", "not a regular file"), ("/dev/null/config", "cannot be written in /dev/null")):
            self.env["KUBECONFIG"] = path
            self.up(f"kubeconfig {path}", words, "set KUBECONFIG to another")
        self.env["KUBECONFIG"] = self.kubeconfig
        with open(self.kubeconfig, "w", encoding="ascii") as file:
            file.write("apiVersion: v1\nkind: Config\n")
        os.chmod(self.kubeconfig, 0o444)
        self.up(f"kubeconfig {self.kubeconfig} is read-only", f"chmod u+w {self.kubeconfig}")
        self.assertEqual(stat.S_IMODE(os.stat(self.kubeconfig).st_mode), 0o444)

    def test_kubeconfig_broken(self):
        """Told by kubectl, once there is one: here a stub in the place of the one that up builds."""
        script = (f"KF_HERE={REPO}/deploy/local; . $KF_HERE/lib/common.sh; . $KF_HERE/lib/programs.sh; instance_set {INSTANCE}; "
                  'for name in "${KF_PROGRAMS[@]}"; do program_dir $name; echo; done')
        for folder in subprocess.check_output(["bash", "-c", script], env=self.env, text=True).split():
            os.makedirs(f"{folder}/bin")
            if "/kubernetes-" in folder:
                shutil.move(f"{self.stubs}/go", f"{self.stubs}/go.off")
                self.stub("kubectl", 'echo "error loading config file: yaml: line 1: did not find" >&2; exit 1')
                shutil.move(f"{self.stubs}/kubectl", f"{folder}/bin/kubectl")
                shutil.move(f"{self.stubs}/go.off", f"{self.stubs}/go")
        with open(self.kubeconfig, "w", encoding="ascii") as file:
            file.write("clusters: [\n")
        self.up(f"kubeconfig {self.kubeconfig} cannot be read", "yaml: line 1", "repair it, or set KUBECONFIG", built=True)
        with open(self.kubeconfig, encoding="ascii") as file:
            self.assertEqual(file.read(), "clusters: [\n")
        self.assertFalse(os.path.exists(f"{self.dir}/done"))


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root: deploy/local/up does")
        sys.exit(77)
    unittest.main()
