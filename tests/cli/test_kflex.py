#!/usr/bin/env python3
"""kflex as a process, against a fake API server: test_kflex.py PATH-OF-KFLEX [unittest arguments]"""

import base64
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import LIMIT, PROGRAM, Case, main, read_yaml  # noqa: E402
from fake_api import NAMESPACES, PLANES, Api  # noqa: E402


def relay(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Create(Case):
    def test_waits_until_the_address_answers(self):
        """An ingress controller that does not know the plane yet closes connections."""
        with socket.create_server(("127.0.0.1", 0)) as door:
            tenant = urllib.parse.urlsplit(self.tenant.url)
            self.api.tenant_server = f"https://127.0.0.1:{door.getsockname()[1]}"
            door.settimeout(5)
            refused = []

            def serve():
                try:
                    for _ in range(3):
                        door.accept()[0].close()
                        refused.append(1)
                    client, _ = door.accept()
                except TimeoutError:
                    return  # nobody tried again
                with client, socket.create_connection((tenant.hostname, tenant.port)) as server:
                    pump = threading.Thread(target=relay, args=(server, client))
                    pump.start()
                    relay(client, server)
                    pump.join()

            thread = threading.Thread(target=serve)
            thread.start()
            done = self.create()
            thread.join()
        self.assertEqual(done.stderr, "")
        self.assertEqual(len(refused), 3)
        self.assertIn("/readyz", [r[1] for r in self.tenant.requests])

    def test_address_that_does_not_answer(self):
        self.api.tenant_server = "https://127.0.0.1:2"
        done = self.kflex("create", "cp1", "--timeout", "1s")
        self.assertIn("does not answer from here yet", done.stderr)
        self.assertIsNotNone(self.context("cp1"))

    def test_steps_and_context(self):
        done = self.create()
        lines = done.stdout.splitlines()
        self.assertEqual(done.stderr, "")
        self.assertNotIn("\033", done.stdout)
        self.assertIn("Creating new control plane cp1 of type k8s", lines[0])
        steps = [i for i, line in enumerate(lines) for word in ("An address for users", "Storage is ready", "All objects", "API server is ready")
                 if word in line]
        self.assertEqual(sorted(steps), [1, 2, 3, 4], done.stdout)
        self.assertRegex(lines[-1], r"^✔ Switched to context cp1 .*\(\d+\.\ds\)$")
        config = self.config()
        self.assertEqual(config["current-context"], "cp1")
        self.assertEqual(self.context("cp1")["cluster"], "cp1-cluster")
        self.assertEqual(self.ext(self.context("cp1")), {"controlplane-name": "cp1"})
        self.assertEqual(self.ext(config), {"hosting-cluster-ctx-name": "host"})
        self.assertEqual(self.ext(self.context("host")), {"is-hosting-cluster-ctx": "true"})
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_hooks_are_a_step(self):
        """Where the plane has some; if they fail, whoever did not wait for them is told."""
        self.api.hooks = ("True", "HooksApplied", "")
        lines = self.create("cp1").stdout.splitlines()
        self.assertIn("PostCreateHooks are applied", lines[5])
        self.api.hooks = ("False", "ObjectFailed", "hook h: Job j: it failed")
        done = self.create("cp2")
        self.assertNotIn("PostCreateHooks", done.stdout)
        self.assertEqual(done.stderr, "Warning: control plane cp2 is ready, its PostCreateHooks are not done: ObjectFailed: hook h: "
                         "Job j: it failed. `kflex describe cp2` shows how they go on\n")

    def test_other_entries_stay(self):
        before = self.config()
        self.create()
        after = self.config()
        self.assertEqual(after["x-mine"], [1, None, "two"])
        self.assertEqual(after["extensions"][0], before["extensions"][0])
        self.assertEqual(self.context("tenant"), before["contexts"][1]["context"])
        self.assertEqual(self.context("host")["extensions"][0], before["contexts"][0]["context"]["extensions"][0])
        self.assertEqual(after["users"][:2], before["users"])

    def test_spec(self):
        self.kflex("create", "unbuilt1", "--type", "vcluster", "-b", "dedicated", "-p", "hook", "-e", "a=1", "--set", "b=x=y",
                   code=1)
        verb, path, body = self.api.writes()[0]
        self.assertEqual((verb, path.split("?")[0]), ("POST", PLANES))
        self.assertEqual(body["spec"], {"type": "vcluster", "backend": "dedicated", "postCreateHook": "hook",
                                        "postCreateHookVars": {"a": "1", "b": "x=y"}})

    def test_from_any_context(self):
        self.create()
        self.create("cp2")
        self.assertEqual(self.config()["current-context"], "cp2")
        self.assertEqual(self.ext(self.config()), {"hosting-cluster-ctx-name": "host"})

    def test_bad_names(self):
        for name in ("Bad_Name", "a.b", "kube", "kubeflex", "x" * 57, "1cp", ""):
            self.error(self.kflex("create", name, code=1))
        self.assertEqual(self.api.requests, [])

    def test_bad_options(self):
        self.error(self.kflex("create", "cp1", "-t", "nope", code=1), "unknown control plane type: nope", "k8s")
        self.error(self.kflex("create", "cp1", "-b", "nope", code=1), "unknown backend type: nope")
        self.error(self.kflex("create", "cp1", "-e", "a=1", code=1), "--postcreate-hook")
        self.assertEqual(self.api.requests, [])

    def test_exists(self):
        self.api.add_plane("cp1")
        self.error(self.kflex("create", "cp1", code=1), "exists already", "kflex ctx cp1", "kflex delete cp1")

    def test_final_reasons_stop_at_once(self):
        for name, reason in (("unbuilt", "NotSupported"), ("taken", "NameConflict")):
            done = self.kflex("create", name, code=1)
            self.error(done, reason, f"kflex delete {name}")
            self.assertIn(name, self.api.store.objects[PLANES])
            self.assertIsNone(self.context(name))
        self.assertEqual(self.config()["current-context"], "host")

    def test_timeout_names_the_condition(self):
        done = self.kflex("create", "stuck", "--timeout", "300ms", code=1)
        self.error(done, "Synced is False (WaitingForStorage: waiting for Secret kine-dsn)",
                   "kubectl --context host describe controlplane stuck", "stuck-system")

    def test_interrupt(self):
        child = subprocess.Popen([PROGRAM[0], "create", "stuck"], env=self.env, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        self.assertTrue(self.api.store.wait_watched(PLANES, "stuck"))
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=LIMIT)
        self.assertEqual(child.returncode, 1)
        self.assertIn("interrupted, while Synced is False (WaitingForStorage: waiting for Secret kine-dsn)", err)
        self.assertIn("goes on being created", err)
        self.assertIn("kflex ctx stuck", err)
        self.assertIn("stuck", self.api.store.objects[PLANES])

    def start_create(self, name, *args):
        child = subprocess.Popen([PROGRAM[0], "create", name, *args], env=self.env, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        self.assertTrue(self.api.store.wait_watched(PLANES, name))
        return child

    def test_says_what_it_waits_for(self):
        child = self.start_create("stuck")
        plane = self.api.store.objects[PLANES]["stuck"]
        for words in ("connection refused", "no route"):  # one reason, told once
            self.api.condition(plane, "StorageReady", "False", "PostgresUnavailable", words)
        self.assertEqual(child.stderr.readline(),
                         "Waiting: StorageReady is False (PostgresUnavailable: connection refused)\n")
        self.api.condition(plane, "StorageReady", "True", "DatabaseReady")
        self.api.condition(plane, "Ready", "False", "ImagePullFailed", "image x of container y cannot be pulled")
        self.assertEqual(child.stderr.readline(),
                         "Waiting: Ready is False (ImagePullFailed: image x of container y cannot be pulled)\n")
        self.api.make_ready(plane)
        _, err = child.communicate(timeout=LIMIT)
        self.assertEqual((child.returncode, err), (0, ""))

    def test_says_that_nobody_is_at_work_or_answers(self):
        silent = self.start_create("silent", "--timeout", "11s")
        _, err = silent.communicate(timeout=LIMIT)
        self.assertIn("Waiting: it has no condition yet: is the KubeFlex controller running", err)
        self.assertIn("control plane silent is not ready after 11s: it has no condition yet", err)
        away = self.start_create("stuck", "--timeout", "7s")
        self.api.refuse[PLANES] = 503
        self.api.store.end_watches()
        _, err = away.communicate(timeout=LIMIT)
        self.assertRegex(err, r"(?m)^Waiting: .*503")
        self.assertIn("control plane stuck is not ready after 7s", err)

    def test_deleted_meanwhile(self):
        child = subprocess.Popen([PROGRAM[0], "create", "stuck"], env=self.env, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        self.assertTrue(self.api.store.wait_watched(PLANES, "stuck"))
        self.api.store.remove(PLANES, "stuck")
        _, err = child.communicate(timeout=LIMIT)
        self.assertEqual(child.returncode, 1)
        self.assertIn("deleted by somebody", err)

    def test_read_only_kubeconfig(self):
        os.chmod(self.path, 0o444)
        self.error(self.kflex("create", "cp1", code=1), self.path, "read-only", "nothing was changed")
        self.assertEqual(self.api.requests, [])

    def test_broken_kubeconfig(self):
        with open(self.path, "w", encoding="utf-8") as f:
            f.write("clusters: [\n")
        for args in (("create", "cp1"), ("list",), ("ctx",), ("ctx", "get"), ("delete", "cp1")):
            self.error(self.kflex(*args, code=1), self.path)
        with open(self.path, encoding="utf-8") as f:
            self.assertEqual(f.read(), "clusters: [\n")

    def test_foreign_context_of_that_name(self):
        before = self.config()
        self.error(self.kflex("create", "tenant", code=1), "context 'tenant'", "rename")
        self.assertEqual(self.config(), before)
        self.assertEqual(self.api.requests, [])

    def test_kubeconfig_that_runs_programs_is_refused(self):
        self.api.extra_user = {"exec": {"command": "/bin/true"}}
        self.error(self.kflex("create", "cp1", code=1), "exec", "kflex ctx cp1")
        self.assertIsNone(self.context("cp1"))

    def test_ocm_warning_on_stderr(self):
        done = self.kflex("create", "cp1", "-t", "ocm")
        self.assertIn("Warning: ", done.stderr)
        self.assertNotIn("deprecated", done.stdout)


class Delete(Case):
    def test_everything_goes(self):
        self.create()
        done = self.kflex("delete", "cp1")
        self.assertEqual(done.stderr, "")
        for text in ("Control plane cp1 is gone", "Namespace cp1-system is gone", "Removed the kubeconfig context",
                     "Switched to hosting cluster context host"):
            self.assertIn(text, done.stdout)
        config = self.config()
        self.assertEqual(config["current-context"], "host")
        self.assertEqual([c["name"] for c in config["contexts"]], ["host", "tenant"])
        self.assertEqual([c["name"] for c in config["clusters"]], ["hc", "tc"])
        self.assertEqual([c["name"] for c in config["users"]], ["hu", "tu"])
        self.assertEqual(self.api.store.objects[NAMESPACES], {})

    def test_uid_precondition(self):
        self.create()
        uid = self.api.store.objects[PLANES]["cp1"]["metadata"]["uid"]
        self.kflex("delete", "cp1")
        verb, _, body = self.api.writes()[-1]
        self.assertEqual((verb, body["preconditions"]), ("DELETE", {"uid": uid}))

    def test_context_gone_already(self):
        self.create()
        self.write_config("host")
        self.kflex("delete", "cp1")

    def test_renamed_context(self):
        self.create()
        self.kflex("ctx", "rename", "cp1", "dev")
        self.kflex("delete", "cp1")
        self.assertIsNone(self.context("dev"))
        self.assertEqual(self.config()["current-context"], "host")

    def test_other_current_context_stays(self):
        self.create()
        self.create("cp2")
        self.kflex("delete", "cp1")
        self.assertEqual(self.config()["current-context"], "cp2")

    def test_not_found(self):
        self.error(self.kflex("delete", "cp1", code=1), "control plane not found on server: cp1", "kflex list")

    def test_not_found_tidies_leftover(self):
        self.create()
        self.api.store.remove(PLANES, "cp1")
        self.error(self.kflex("delete", "cp1", code=1), "leftover kubeconfig context was removed")
        self.assertIsNone(self.context("cp1"))
        self.assertEqual(self.config()["current-context"], "host")

    def test_namespace_held(self):
        self.create()
        self.api.hold_deletion = True
        self.error(self.kflex("delete", "cp1", "--timeout", "2s", code=1), "namespace cp1-system was not deleted in time")

    def test_foreign_namespace_is_not_waited_for(self):
        plane = self.api.add_plane("taken")
        self.api.add_namespace(plane, owner_uid="somebody")
        self.api.hold_deletion = True
        self.kflex("delete", "taken")

    def test_no_right_to_watch_namespaces(self):
        self.create()
        self.api.refuse[NAMESPACES] = 403
        done = self.kflex("delete", "cp1")
        self.assertIn("Warning: not waiting for namespace", done.stderr)


class DeleteSeveral(Case):
    def test_several(self):
        for name in ("a", "b", "c"):
            self.create(name)
        done = self.kflex("delete", "a", "nope", "c", "neither", "a", code=1)
        self.assertEqual(list(self.api.store.objects[PLANES]), ["b"])
        self.assertEqual([c["name"] for c in self.config()["contexts"]], ["host", "tenant", "b"])
        self.assertEqual(self.config()["current-context"], "host")
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        self.assertEqual([re.search("server: ([^ ]+)", e).group(1) for e in errors], ["nope", "neither"])
        deletes = [r[1].split("/")[-1] for r in self.api.requests if r[0] == "DELETE"]
        self.assertEqual(deletes, ["a", "c"])

    def test_side_by_side(self):
        """All are asked for before the first is waited for."""
        for name in ("a", "b"):
            self.create(name)
        self.api.hold_deletion = True
        done = self.kflex("delete", "a", "b", "--timeout", "500ms", code=1)
        self.assertEqual(self.api.store.objects[PLANES], {})
        self.assertEqual(len(re.findall("was not deleted in time", done.stderr)), 2)

    def test_all(self):
        self.assertIn("No control planes found.", self.kflex("delete", "--all").stdout)
        for name in ("a", "b"):
            self.create(name)
        self.kflex("delete", "--all")
        self.assertEqual(self.api.store.objects[PLANES], {})
        self.error(self.kflex("delete", "--all", "x", code=1), "leave the names away")
        self.error(self.kflex("delete", code=1), "needs an argument: NAME, or --all")

    def test_all_asks_on_a_terminal(self):
        self.create("a")
        self.assertIn("Deletion cancelled.", self.on_terminal("delete", "--all", answer="n\n"))
        self.assertIn("a", self.api.store.objects[PLANES])
        self.on_terminal("delete", "--all", answer="y\n")
        self.assertEqual(self.api.store.objects[PLANES], {})
        self.create("a")
        self.on_terminal("delete", "--all", "--force")
        self.assertEqual(self.api.store.objects[PLANES], {})


class Rotate(Case):
    def test_annotation(self):
        self.create("a")
        self.api.add_plane("etcd")["spec"]["backend"] = "dedicated"
        done = self.kflex("rotate", "nope", "a", "etcd", code=1)
        self.assertIn("new database password of a", done.stdout)
        self.assertIn("not found on server: nope", done.stderr)
        self.assertIn("control plane etcd (type k8s, backend dedicated) has no database password", done.stderr)
        patches = [r for r in self.api.requests if r[0] == "PATCH"]
        self.assertEqual([p[1].split("?")[0] for p in patches], [f"{PLANES}/a"])
        self.assertEqual(list(patches[0][2]["metadata"]["annotations"]), ["kflex.kubestellar.org/rotate-storage-password"])
        self.assertEqual(patches[0][2]["metadata"]["uid"], self.api.store.objects[PLANES]["a"]["metadata"]["uid"])


class ListAndCtx(Case):
    def test_empty(self):
        self.assertEqual(self.kflex("list").stdout, "No control planes found.\n")

    def test_columns_sorted(self):
        long = "a" * 30
        self.api.add_plane("zeta")
        self.api.add_plane(long, "vcluster")
        self.create("beta")
        lines = self.kflex("list").stdout.splitlines()
        self.assertEqual(lines[0], "Control Planes:")
        self.assertEqual(lines[1].split(), ["NAME", "SYNCED", "READY", "TYPE", "AGE"])
        rows = [line.split() for line in lines[2:]]
        self.assertEqual([r[0] for r in rows], [long, "beta", "zeta"])
        self.assertEqual(rows[1][1:4], ["True", "True", "k8s"])
        self.assertEqual(rows[2][1:4], ["Unknown", "Unknown", "k8s"])
        self.assertRegex(rows[1][4], r"^(\d+h)?(\d+m)?\d+s$")
        at = lines[1].index("SYNCED")
        self.assertTrue(all(line[at - 1] == " " and line[at] != " " for line in lines[1:]))

    def test_pages(self):
        self.api.page = 2
        for i in range(5):
            self.api.add_plane(f"p{i}")
        self.assertEqual(len(self.kflex("list").stdout.splitlines()), 7)

    def test_from_any_context(self):
        self.create()
        for current in ("host", "tenant", "cp1", ""):
            subprocess.run([PROGRAM[0], "ctx", current], env=self.env, check=False, capture_output=True) if current else None
            self.assertIn("cp1", self.kflex("list").stdout)

    def test_hosting_unknown(self):
        self.write_config("tenant")
        for args in (("list",), ("create", "cp1"), ("delete", "cp1"), ("ctx",)):
            self.error(self.kflex(*args, code=1), "the hosting cluster context is not known!", "serves no control planes",
                       "kubectl config use-context", "kflex ctx --set-current-for-hosting")

    def test_list_remembers_hosting(self):
        self.kflex("list")
        self.assertEqual(self.ext(self.config()), {"hosting-cluster-ctx-name": "host"})

    def test_list_on_read_only_kubeconfig(self):
        os.chmod(self.path, 0o444)
        done = self.kflex("list")
        self.assertIn("Warning: could not remember", done.stderr)

    def test_not_allowed(self):
        self.kflex("list")
        self.api.refuse[PLANES] = 403
        self.error(self.kflex("list", code=1), "not allowed", "context 'host'")

    def test_bad_credentials(self):
        self.kflex("list")
        self.api.token = "other"
        self.error(self.kflex("list", code=1), "does not accept these credentials")

    def test_unreachable(self):
        self.kflex("list")
        self.api.close()
        try:
            self.error(self.kflex("list", code=1), "cannot be reached", "context 'host'")
        finally:
            self.api = Api(self.tls)

    def test_ctx_switches_back_and_forth(self):
        self.create()
        self.kflex("ctx")
        self.assertEqual(self.kflex("ctx", "get").stdout, "host\n")
        asked = len(self.api.requests)
        self.kflex("ctx", "cp1")
        self.assertEqual(self.kflex("ctx", "get").stdout, "cp1\n")
        self.assertEqual(len(self.api.requests), asked)  # no server needed

    def test_ctx_loads_from_server_and_tags(self):
        self.create()
        self.write_config("tenant", extensions=[{"name": "kubeflex", "extension": {"data": {
            "kflex-initial-ctx-name": "host"}}}])
        done = self.kflex("ctx", "cp1")
        self.assertIn("trying to load from server", done.stderr)
        self.assertEqual(self.ext(self.context("cp1")), {"controlplane-name": "cp1"})
        self.assertEqual(self.config()["current-context"], "cp1")

    def test_ctx_overwrite(self):
        self.create()
        self.api.tenant_server = "https://127.0.0.1:2"
        self.api.add_secret("cp1")
        self.kflex("ctx", "-o", "cp1")
        servers = {c["name"]: c["cluster"]["server"] for c in self.config()["clusters"]}
        self.assertEqual(servers["cp1-cluster"], "https://127.0.0.1:2")

    def test_ctx_unknown_plane(self):
        self.error_after_note(self.kflex("ctx", "nope", code=1), "control plane not found on server: nope")

    def test_ctx_plane_without_kubeconfig(self):
        self.api.add_plane("young")
        self.error_after_note(self.kflex("ctx", "young", code=1), "has no kubeconfig yet")
        self.assertEqual(self.config()["current-context"], "host")

    def error_after_note(self, done, word):
        self.assertIn("Error: ", done.stderr)
        self.assertIn(word, done.stderr)

    def test_ctx_host_type(self):
        """A plane that was told no address for users is reached as the hosting cluster is, as the plane's own user."""
        ref = {"namespace": "h1-system", "name": "admin-kubeconfig", "inClusterKey": "kubeconfig-incluster"}
        self.api.add_plane("h1", "host", secretRef=ref)
        self.api.add_secret("h1")
        data = self.api.store.secrets["/api/v1/namespaces/h1-system/secrets/admin-kubeconfig"]["data"]
        data["kubeconfig-incluster"] = data.pop("kubeconfig")
        self.kflex("ctx", "h1")
        config = self.config()
        self.assertEqual(config["current-context"], "h1")
        self.assertEqual(self.context("h1")["cluster"], "h1-cluster")
        by_name = {c["name"]: c["cluster"] for c in config["clusters"]}
        self.assertEqual(by_name["h1-cluster"], by_name["hc"])
        self.assertNotIn({"token": "host"}, [u["user"] for u in config["users"] if u["name"] == "h1-admin"])

    def test_create_host(self):
        done = self.kflex("create", "h1", "--type", "host")
        self.assertIn("of type host", done.stdout)
        self.assertEqual(self.config()["current-context"], "h1")

    BOOTSTRAP = "/api/v1/namespaces/kubeflex-system/secrets/x1-bootstrap"
    URL = "https://far.example.com:6443"

    def add_adopted(self, path=None, cluster=None, user=None):
        """A context "adm" with files, as people have them."""
        with open(f"{self.dir}/far.crt", "w", encoding="ascii") as f:
            f.write("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        with open(f"{self.dir}/far.token", "w", encoding="ascii") as f:
            f.write("far-secret\n")
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "adm",
                  "contexts": [{"name": "adm", "context": {"cluster": "far", "user": "admin", "namespace": "ops"}}],
                  "clusters": [{"name": "far", "cluster": cluster or {"server": self.URL, "certificate-authority": "far.crt"}}],
                  "users": [{"name": "admin", "user": user or {"tokenFile": "far.token"}}]}
        path = path or f"{self.dir}/far"
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        return path

    def bootstrap(self):
        secret = next(r[2] for r in self.api.requests if r[0] == "PATCH" and r[1].startswith(self.BOOTSTRAP))
        return secret, read_yaml(base64.b64decode(secret["data"]["kubeconfig-incluster"]).decode())

    def test_adopt(self):
        done = self.kflex("adopt", "x1", "-a", self.add_adopted(), "-c", "adm", "-x", "7200")
        self.assertIn("Adopting control plane x1 of type external", done.stdout)
        secret, config = self.bootstrap()
        self.assertEqual(secret["metadata"]["labels"], {"kflex.kubestellar.org/controlplane": "x1"})
        self.assertNotIn("annotations", secret["metadata"])
        cluster = config["clusters"][0]["cluster"]
        self.assertEqual(cluster["server"], self.URL)
        self.assertIn(b"BEGIN CERTIFICATE", base64.b64decode(cluster["certificate-authority-data"]))
        self.assertEqual(config["users"][0], {"name": "adm", "user": {"token": "far-secret"}})
        self.assertEqual(config["contexts"][0]["context"]["namespace"], "ops")
        spec = next(r[2] for r in self.api.writes() if r[0] == "POST")["spec"]
        self.assertEqual(spec["type"], "external")
        self.assertEqual(spec["tokenExpirationSeconds"], 7200)
        self.assertEqual(spec["bootstrapSecretRef"], {"name": "x1-bootstrap", "namespace": "kubeflex-system",
                                                      "inClusterKey": "kubeconfig-incluster"})
        self.assertEqual(self.config()["current-context"], "host")

    def test_adopt_uses_the_kubeconfig_flag(self):
        """B-15: one file for everything, wherever $KUBECONFIG points."""
        path = f"{self.dir}/all"
        self.write_config("host", path)
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
        with open(self.add_adopted(), encoding="utf-8") as f:
            for key, value in json.load(f).items():
                if isinstance(value, list):
                    config[key] += value
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        self.kflex("adopt", "x1", "-k", path, "-c", "adm", env={"KUBECONFIG": "/nowhere"})
        self.assertEqual(self.bootstrap()[1]["clusters"][0]["cluster"]["server"], self.URL)

    def test_adopt_override(self):
        own = {"server": "https://127.0.0.1:40001"}
        path = self.add_adopted(cluster=own, user={"token": "t"})
        self.error(self.kflex("adopt", "x1", "-a", path, "-c", "adm", code=1), "--url-override", "loopback")
        self.assertEqual(self.api.writes(), [])
        self.kflex("adopt", "x1", "-a", path, "-c", "adm", "-u", self.URL)
        secret, config = self.bootstrap()
        self.assertEqual(config["clusters"][0]["cluster"], {"server": self.URL})
        self.assertEqual(secret["metadata"]["annotations"], {"kflex.kubestellar.org/external-server": own["server"]})

    def test_adopt_refuses(self):
        good = {"server": self.URL}
        cases = [({"server": self.URL, "insecure-skip-tls-verify": True}, {"token": "t"}, [], "insecure"),
                 (good, {"username": "a", "password": "b"}, [], "password"),
                 (good, {"as": "a", "token": "t"}, [], "another user"),
                 (good, {"namespace": "x"}, [], "no credentials"),
                 (good, {"token": "t"}, ["-u", "https://localhost:1"], "--url-override"),
                 (good, {"token": "t"}, ["-u", "https://[::1]:1"], "--url-override"),
                 (good, {"token": "t"}, ["-x", "60"], "600 seconds"),
                 (good, {"token": "t"}, ["-c", "gone"], "context gone not found in the kubeconfig"),
                 (good, {"token": "t"}, ["-e", "a=b"], "--postcreate-hook")]
        for cluster, user, more, word in cases:
            with self.subTest(word):
                path = self.add_adopted(cluster=cluster, user=user)
                self.error(self.kflex("adopt", "x1", "-a", path, "-c", "adm", *more, code=1), word)
                self.assertEqual(self.api.writes(), [])
        self.error(self.kflex("adopt", "x1", code=1), "--adopted-context")
        for more, server in ((["-u", "https://u:hunter2@10.0.0.1"], self.URL), ([], "https://u:hunter2@10.0.0.1")):
            path = self.add_adopted(cluster={"server": server}, user={"token": "t"})
            done = self.kflex("adopt", "x1", "-a", path, "-c", "adm", *more, code=1)
            self.assertTrue("--url-override" in done.stderr and "hunter2" not in done.stderr, done.stderr)

    def test_adopt_exec(self):
        plugin = f"{self.dir}/plugin"
        with open(plugin, "w", encoding="ascii") as f:
            f.write('#!/bin/sh\necho \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
                    '"status":{"token":"fresh"}}\'\n')
        os.chmod(plugin, 0o700)
        user = {"exec": {"command": plugin, "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}}
        self.kflex("adopt", "x1", "-a", self.add_adopted(cluster={"server": self.URL}, user=user), "-c", "adm")
        self.assertEqual(self.bootstrap()[1]["users"][0]["user"], {"token": "fresh"})

    def test_adopt_leaves_no_secret_behind(self):
        self.api.refuse[PLANES] = 403
        path = self.add_adopted()
        self.error(self.kflex("adopt", "x1", "-a", path, "-c", "adm", code=1), "not allowed")
        self.assertNotIn(self.BOOTSTRAP, self.api.store.secrets)

    def test_adopt_existing(self):
        self.api.add_plane("x1")
        self.error(self.kflex("adopt", "x1", "-a", self.add_adopted(), "-c", "adm", code=1), "exists already")
        self.assertEqual(self.api.writes(), [])

    def test_create_external(self):
        self.error(self.kflex("create", "x1", "--type", "external", code=1), "kflex adopt NAME")
        self.assertEqual(self.api.writes(), [])

    def test_ctx_set_current(self):
        self.kflex("ctx", "-c")
        self.write_config("tenant", extensions=self.config()["extensions"])
        self.kflex("ctx", "--set-current-for-hosting")
        self.assertEqual(self.ext(self.config()), {"hosting-cluster-ctx-name": "tenant"})
        self.assertEqual(self.ext(self.context("host")), {})
        self.write_config("host")
        self.create()
        self.error(self.kflex("ctx", "-c", code=1), "belongs to control plane cp1")

    def test_ctx_get_without_current(self):
        self.write_config("")
        self.error(self.kflex("ctx", "get", code=1), "no context is current")

    def test_ctx_list_rename_delete(self):
        self.create()
        lines = self.kflex("ctx", "list").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["CONTEXT", "MANAGED", "BY", "KFLEX", "CONTROLPLANE"])
        self.assertEqual([line.split() for line in lines[1:]],
                         [["*", "cp1", "yes", "cp1"], ["host", "no"], ["tenant", "no"]])
        self.assertEqual(self.kflex("ctx", "delete", "tenant", stdin="n\n").stdout, "Deletion cancelled.\n")
        self.assertIsNotNone(self.context("tenant"))
        self.kflex("ctx", "delete", "tenant", stdin="yes\n")
        self.assertIsNone(self.context("tenant"))
        self.kflex("ctx", "rename", "host", "prod", "--switch")
        self.assertEqual(self.config()["current-context"], "prod")
        self.assertIn("cp1", self.kflex("list").stdout)
        self.kflex("ctx", "delete", "cp1")
        self.assertIn("cp1", self.api.store.objects[PLANES])

    def test_config(self):
        report = json.loads(self.kflex("config", "diagnose").stdout)
        self.assertEqual(report["status"], "critical")
        self.kflex("config", "set-hosting", "host")
        report = json.loads(self.kflex("config", "diagnose", "-o", "json").stdout)
        self.assertEqual((report["status"], report["data"]), ("ok", {"hosting-cluster-ctx-name": "host"}))
        self.error(self.kflex("config", "set-hosting", "nope", code=1), "no context 'nope'")
        self.error(self.kflex("config", "diagnose", "-o", "xml", code=1), "xml")


class Everything(Case):
    def test_usage_errors(self):
        for args, word in ((("adopt",), "needs an argument: NAME"), (("bogus",), 'unknown command "bogus"'),
                           (("adapt", "x"), 'unknown command "adapt"'), (("list", "--bogus"), "unknown flag: --bogus"),
                           (("ctx", "rename", "a"), "needs OLD NEW")):
            done = self.kflex(*args, code=1)
            self.error(done, word, "Usage:", "--help")
            self.assertEqual((done.stdout, len(done.stderr.splitlines())), ("", 2))

    def test_help(self):
        for args in ((), ("help",), ("--help",), ("create", "-h"), ("help", "ctx", "get")):
            done = self.kflex(*args)
            self.assertIn("Usage:", done.stdout)
            self.assertEqual(done.stderr, "")

    def test_version(self):
        done = self.kflex("version")
        self.assertRegex(done.stdout, r"^Kubeflex version: v\d+\.\d+\.\d+ \S+\nKubernetes version: v1\.36\.3\n$")
        self.write_config("")
        done = self.kflex("version", code=1)
        self.assertIn("Could not connect to a Kubernetes cluster", done.stderr)

    def test_one_kubeconfig_everywhere(self):
        other = f"{self.dir}/other"
        self.write_config("host", path=other)
        before = self.config()
        self.kflex("create", "cp1", "-k", other)
        self.kflex("--kubeconfig", other, "list")
        self.assertEqual(self.kflex("ctx", "get", "-k", other).stdout, "cp1\n")
        self.kflex("-k", other, "delete", "cp1")
        self.assertEqual(self.config(), before)

    def test_several_files(self):
        first, second = f"{self.dir}/first", f"{self.dir}/second"
        with open(first, "w", encoding="utf-8") as f:
            f.write("# nothing but a comment\n")
        self.write_config("host", path=second)
        env = {"KUBECONFIG": f"{self.dir}/missing:{first}:{second}"}
        self.kflex("create", "cp1", env=env)
        self.assertEqual([c["name"] for c in self.config(first)["contexts"]], ["cp1"])
        self.assertEqual(self.kflex("ctx", "get", env=env).stdout, "cp1\n")
        self.kflex("delete", "cp1", env=env)
        self.assertEqual(self.kflex("ctx", "get", env=env).stdout, "host\n")
        self.assertFalse(os.path.exists(f"{self.dir}/missing"))

    def test_home_kubeconfig(self):
        os.mkdir(f"{self.dir}/.kube")
        os.rename(self.path, f"{self.dir}/.kube/config")
        self.assertEqual(self.kflex("list", env={"KUBECONFIG": ""}).stdout, "No control planes found.\n")

    def test_exec_credentials(self):
        credential = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                                 "status": {"token": "host"}})
        self.write_config("host", users=[{"name": "hu", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [credential],
            "interactiveMode": "Never"}}}])
        self.assertEqual(self.kflex("list").stdout, "No control planes found.\n")

    def test_terminal(self):
        shown = self.on_terminal("create", "stuck", seen=(("WaitingForStorage", lambda child: child.terminate()),))
        self.assertIn("\033[32m", shown)
        self.assertRegex(shown, re.escape("\r\033[K") + ".*Waiting for API server.*WaitingForStorage")
        still = self.on_terminal("create", "stuck2", "--timeout", "300ms", "--chatty-status=false")
        self.assertNotIn("Waiting for API server", still)
        plain = self.on_terminal("create", "stuck3", "--timeout", "300ms", env={"NO_COLOR": "1"})
        self.assertNotIn("\033[3", plain)

    def test_full_output(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([PROGRAM[0], "list"], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write the output", done.stderr)


if __name__ == "__main__":
    main(__doc__)
