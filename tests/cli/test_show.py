#!/usr/bin/env python3
"""What kflex shows of control planes and contexts, and how it helps to type: list, get, describe, ctx list, version,
config diagnose in every format, --watch, completion, man page. test_show.py PATH-OF-KFLEX [unittest arguments]"""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import LIMIT, PROGRAM, Case, main, read_yaml  # noqa: E402
from fake_api import PLANES  # noqa: E402


class Formats(Case):
    def setUp(self):
        super().setUp()
        for name in ("zeta", "alpha"):
            self.api.add_plane(name, kubernetesVersion="v1.36.3")
        self.api.store.objects[PLANES]["zeta"]["metadata"]["managedFields"] = [{"manager": "x"}]
        self.api.condition(self.api.store.objects[PLANES]["alpha"], "Ready", "False", "Creating", "0 of 1 replicas")

    def tree(self, *args):
        """The answer as JSON, which the answer as YAML must equal."""
        tree = json.loads(self.kflex(*args, "-o", "json").stdout)
        self.assertEqual(read_yaml(self.kflex(*args, "--output=yaml").stdout), tree)
        return tree

    def test_list(self):
        tree = self.tree("list")
        self.assertEqual((tree["kind"], [i["metadata"]["name"] for i in tree["items"]]),
                         ("ControlPlaneList", ["alpha", "zeta"]))
        self.assertNotIn("managedFields", json.dumps(tree))
        self.assertEqual(tree["items"][0]["kind"], "ControlPlane")
        self.assertEqual(self.kflex("list", "-o", "name").stdout, "alpha\nzeta\n")
        wide = self.kflex("list", "-o", "wide").stdout.splitlines()
        self.assertEqual(wide[1].split(), ["NAME", "SYNCED", "READY", "TYPE", "AGE", "VERSION", "BACKEND", "STATE"])
        self.assertIn("v1.36.3", wide[2])
        self.assertIn("Ready is False (Creating: 0 of 1 replicas)", wide[2])
        for name in ("zeta", "alpha"):
            self.api.store.remove(PLANES, name)
        self.assertEqual(self.tree("list")["items"], [])
        self.assertEqual(self.kflex("list", "-o", "name").stdout, "")

    def test_get(self):
        self.assertEqual(self.tree("get", "zeta")["metadata"]["name"], "zeta")
        self.assertEqual([i["metadata"]["name"] for i in self.tree("get", "zeta", "alpha")["items"]], ["alpha", "zeta"])
        lines = self.kflex("get", "alpha").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["NAME", "alpha"])
        done = self.kflex("get", "nope", "zeta", "neither", code=1)
        self.assertIn("zeta", done.stdout)
        self.assertIn("not found on server: nope", done.stderr)
        self.assertIn("not found on server: neither", done.stderr)

    def test_describe(self):
        plane = self.api.store.objects[PLANES]["alpha"]
        plane["spec"].update(backend="shared", waitForPostCreateHooks=True,
                             postCreateHooks=[{"hookName": "one", "vars": {"token": "secret"}}, {"hookName": "two"},
                                              {"hookName": "three"}])
        plane["status"]["postCreateHooks"] = {"two": True}
        plane["status"]["postCreateHookStatus"] = [{"hookName": "three", "reason": "JobFailed", "message": "Job setup: exit 1"}]
        self.api.add_event(plane, "Normal", "Created", "namespace made", minute=1)
        self.api.add_event(plane, "Warning", "BackOff", "back-off pulling image", pod="kube-apiserver-1", minute=2)
        shown = self.kflex("describe", "alpha").stdout
        for pattern in (r"^Name: +alpha$", r"^Backend: +shared$", r"^Kubernetes version: +v1\.36\.3$",
                        r"^  Ready +False +\S+ +Creating +0 of 1 replicas$", r"^Hooks: +Ready waits for them$",
                        r"^  one +not applied yet$", r"^  two +applied$", r"^  three +JobFailed: Job setup: exit 1$",
                        r"^\S+ +Normal +Created +ControlPlane/alpha +namespace made$",
                        r"^\S+ +Warning +BackOff +Pod/kube-apiserver-1 +back-off pulling image$"):
            self.assertRegex(shown, re.compile(pattern, re.M))
        self.assertLess(shown.index("namespace made"), shown.index("back-off"))
        self.assertNotIn("secret", shown)
        self.assertIn("not found on server: nope", self.kflex("describe", "nope", code=1).stderr)

    def test_describe_without_right_to_events(self):
        done = self.kflex("describe", "zeta")
        self.assertIn("Warning: no events", done.stderr)
        self.assertIn("none yet", done.stdout)

    def test_contexts(self):
        self.create()
        tree = self.tree("ctx", "list")
        self.assertEqual([(c["name"], c["current"], c["managed"], c["hosting"]) for c in tree],
                         [("cp1", True, True, False), ("host", False, False, True), ("tenant", False, False, False)])
        self.assertEqual((tree[0]["controlPlane"], tree[1]["server"]), ("cp1", self.api.url))
        self.assertEqual(self.kflex("ctx", "list", "-o", "name").stdout, "cp1\nhost\ntenant\n")
        self.assertRegex(self.kflex("ctx", "list", "-o", "wide").stdout, rf"host +no +yes +{self.api.url}")

    def test_version(self):
        tree = self.tree("version")
        self.assertRegex(tree["kflex"]["version"], r"^v\d+\.\d+\.\d+")
        self.assertEqual(tree["kubernetes"]["gitVersion"], "v1.36.3")
        self.assertRegex(self.kflex("version", "-o", "name").stdout, r"^v\d+\.\d+\.\d+\n$")
        self.write_config("")
        done = self.kflex("version", "-o", "json", code=1)
        self.assertNotIn("kubernetes", json.loads(done.stdout))

    def test_diagnose(self):
        tree = self.tree("config", "diagnose")
        self.assertEqual(tree["status"], "critical")
        self.create()
        tree = self.tree("config", "diagnose")
        self.assertEqual((tree["status"], {c["check"]: c["status"] for c in tree["checks"]}),
                         ("ok", {"context cp1": "ok", "context host": "ok", "hosting marks": "ok"}))
        self.assertEqual(self.kflex("config", "diagnose", "-o", "name").stdout, "host\n")
        config = self.config()
        mark = {"name": "kubeflex", "extension": {"data": {"is-hosting-cluster-ctx": "true"}}}
        empty = {"name": "kubeflex", "extension": {}}
        for context in config["contexts"]:
            if context["name"] == "tenant":
                context["context"]["extensions"] = [mark]
            if context["name"] == "cp1":
                context["context"]["extensions"] = [empty]
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        checks = {c["check"]: c["status"] for c in self.tree("config", "diagnose")["checks"]}
        self.assertEqual(checks, {"context cp1": "critical", "context host": "ok", "context tenant": "warning",
                                  "hosting marks": "warning"})
        self.assertIn("2 contexts are marked", self.kflex("config", "diagnose", "-o", "wide").stdout)

    def test_unknown_format(self):
        for args in (("list",), ("get", "alpha"), ("ctx", "list"), ("version",), ("config", "diagnose")):
            self.error(self.kflex(*args, "-o", "xml", code=1), "must be one of json yaml wide name")


class Watch(Case):
    def follow(self, *args):
        child = self.start("list", "--watch", *args)
        self.addCleanup(child.wait)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.kill)
        return child

    def test_rows(self):
        plane = self.api.add_plane("cp1")
        child = self.follow()
        self.assertEqual(child.stdout.readline(), "Control Planes:\n")
        self.assertEqual(child.stdout.readline().split()[0], "NAME")
        self.assertEqual(child.stdout.readline().split()[:3], ["cp1", "Unknown", "Unknown"])
        self.api.condition(plane, "Synced", "False", "WaitingForStorage", "one")
        self.assertEqual(child.stdout.readline().split()[:3], ["cp1", "False", "Unknown"])
        self.api.condition(plane, "Synced", "False", "WaitingForStorage", "two")  # nothing that a row shows
        self.api.condition(plane, "Synced", "True", "ReconcileSuccess")
        self.assertEqual(child.stdout.readline().split()[:3], ["cp1", "True", "Unknown"])
        self.api.store.remove(PLANES, "cp1")
        self.assertEqual(child.stdout.readline().split()[:3], ["cp1", "Gone", "Gone"])

    def test_json(self):
        self.api.add_plane("a")
        child = self.follow("-o", "json")
        events = [json.loads(child.stdout.readline())]
        self.api.add_plane("b")
        events.append(json.loads(child.stdout.readline()))
        self.api.store.remove(PLANES, "a")
        events.append(json.loads(child.stdout.readline()))
        self.assertEqual([(e["type"], e["object"]["metadata"]["name"]) for e in events],
                         [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")])

    def test_names(self):
        self.api.add_plane("a")
        child = self.follow("-o", "name")
        self.assertEqual(child.stdout.readline(), "a\n")
        self.api.add_plane("b")
        self.assertEqual(child.stdout.readline(), "b\n")

    def test_not_allowed(self):
        self.kflex("list")
        self.api.refuse[PLANES] = 403
        self.error(self.kflex("list", "--watch", code=1), "not allowed")


class Typing(Case):
    def offered(self, *words, directive=4):
        lines = self.kflex("__complete", *words).stdout.splitlines()
        self.assertEqual(lines[-1], f":{directive}")
        return [line.split("\t")[0] for line in lines[:-1]]

    def test_commands_and_flags(self):
        self.assertIn("create", self.offered(""))
        self.assertNotIn("__man", self.offered(""))
        self.assertEqual(self.offered("li"), ["list"])
        self.assertEqual(self.offered("list", "-o", ""), ["json", "yaml", "wide", "name"])
        self.assertEqual(self.offered("create", "--type", "v"), ["vcluster"])
        self.assertEqual(self.offered("-k", "", directive=0), [])

    def test_names_of_planes_and_contexts(self):
        self.create()
        self.api.add_plane("cp2")
        before = self.config()
        for command in ("delete", "get", "describe"):
            self.assertEqual(sorted(self.offered(command, "")), ["cp1", "cp2"])
        self.assertEqual(sorted(self.offered("ctx", "cp")), ["cp1", "cp2"])
        self.assertEqual(sorted(self.offered("ctx", "delete", "")), ["cp1", "host", "tenant"])
        other = f"{self.dir}/other"
        self.write_config("tenant", path=other)
        self.assertEqual(self.offered("-k", other, "get", ""), [])
        self.assertEqual(self.config(), before)
        self.api.close()
        try:  # what the kubeconfig knows
            self.assertEqual(self.offered("get", ""), ["cp1"])
        finally:
            self.api.__init__(self.tls)

    def test_nothing_is_stored_or_said(self):
        self.api.add_plane("cp1")
        before = self.config()
        done = self.kflex("__complete", "get", "")
        self.assertEqual((done.stdout, done.stderr), ("cp1\tcontrol plane\n:4\n", ""))
        self.assertEqual(self.config(), before)

    def shell(self, *command, text):
        done = subprocess.run(command, input=text, env=dict(self.env, PATH=f"{os.path.dirname(PROGRAM[0])}:{self.env['PATH']}"),
                              text=True, capture_output=True, timeout=LIMIT, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout.split()

    def test_bash(self):
        self.api.add_plane("cp1")
        ask = ('source <(kflex completion bash); compopt() { echo "compopt $*"; }; COMP_WORDS=(kflex %s); '
               'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _kflex; printf "%%s\\n" "${COMPREPLY[@]}"')
        for words, want in (("ge''", ["get"]), ("get ''", ["cp1"]), ("list --output = j", ["json"]),
                            ("list --output = ''", ["json", "yaml", "wide", "name"]), ("list --wat", ["--watch"]),
                            ("-k ''", ["compopt", "-o", "default"])):
            self.assertEqual(self.shell("bash", "--norc", "-s", text=ask % words), want, words)

    def test_scripts_of_other_shells(self):
        for shell, check in (("zsh", ("-n",)), ("fish", ("--no-execute",))):
            script = self.kflex("completion", shell).stdout
            self.assertIn("__complete", script)
            with self.subTest(shell):
                if not shutil.which(shell):
                    raise unittest.SkipTest(f"{shell} is not installed")
                self.shell(shell, *check, text=script)

    def test_suggestions(self):
        self.assertIn('Did you mean "create"?', self.kflex("crate", "x", code=1).stderr)
        self.assertIn("Did you mean --timeout?", self.kflex("create", "x", "--tiemout", "1s", code=1).stderr)

    def test_manual(self):
        page = self.kflex("__man").stdout
        helped = self.kflex("--help").stdout
        for line in helped.split("Commands:\n")[1].split("\n\n")[0].splitlines():
            self.assertIn(f"kflex {line.split()[0]} ", page.replace("\\-", "-") + " ")
        self.assertTrue(page.startswith(".TH KFLEX 1 "))
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=page, text=True, capture_output=True,
                                  check=False, timeout=LIMIT)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    main(__doc__)
