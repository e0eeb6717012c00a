"""kflex backup and restore as a process: a real PostgreSQL behind a fake API server's pods/portforward. Ends with 77 (skipped)
where no PostgreSQL is installed."""
import base64
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
for folder in ("bus", "watcher"):
    sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", folder))
from case import Case, main  # noqa: E402
from fake_api import NAMESPACES, make_certificate  # noqa: E402
from postgres import PG, Postgres  # noqa: E402

HOST = "postgres-postgresql.kubeflex-system.svc"
SERVICE = f"{NAMESPACES}/kubeflex-system/services/postgres-postgresql"
DATABASE_PODS = f"{NAMESPACES}/kubeflex-system/pods"
PASSWORD = "Geheim-0815"
# As kine makes it.
TABLE = """CREATE TABLE kine (id BIGSERIAL PRIMARY KEY, name TEXT COLLATE "C", created INTEGER, deleted INTEGER,
 create_revision BIGINT, prev_revision BIGINT, lease INTEGER, value bytea, old_value bytea);
CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)"""
FILL = """INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)
 SELECT '/registry/{kind}/' || i, 1, 0, 0, 0, 0, decode(repeat(md5(i::text), 200), 'hex') FROM generate_series(1, {count}) i"""
STATE = """SELECT name, id, created, create_revision, lease, md5(value) FROM kine WHERE deleted = 0 AND name LIKE '/%' ORDER BY name"""


def pod(name, ready):
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "status": {
        "phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}}


class Backup(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = f"{cls.tls}/db"
        os.mkdir(folder)
        cls.ca = make_certificate(folder, f"DNS:{HOST}")
        with open(f"{folder}/tls.key", encoding="ascii") as f:
            key = f.read()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        cls.postgres = Postgres(port)
        cls.postgres.start("Admin-1", cls.ca, key)
        for name in ("a", "b"):
            cls.postgres.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
            cls.postgres.sql(f"CREATE DATABASE {name} OWNER {name}")

    @classmethod
    def tearDownClass(cls):
        cls.postgres.stop()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.api.forward_to = ("127.0.0.1", self.postgres.port)
        self.api.store.extra[SERVICE] = {"spec": {"selector": {"app": "db"}, "ports": [
            {"port": 5432, "targetPort": "postgresql"}]}}
        self.api.store.objects[DATABASE_PODS] = {}
        self.api.store.put(DATABASE_PODS, pod("postgres-postgresql-0", True))
        self.file = f"{self.dir}/a.kfb"
        self.planes = [self.add("a"), self.add("b")]

    def add(self, name):
        plane = self.api.add_plane(name, kubernetesVersion="v1.36.3")
        self.sql(name, "DROP TABLE IF EXISTS kine; " + TABLE)
        dsn = f"postgres://{name}:{PASSWORD}@{HOST}:5432/{name}?sslmode=verify-full&sslrootcert=/etc/kine/tls/ca.crt"
        self.api.store.secrets[f"{NAMESPACES}/{name}-system/secrets/kine-dsn"] = {"data": {
            "endpoint": base64.b64encode(dsn.encode()).decode(), "ca.crt": base64.b64encode(self.ca.encode()).decode()}}
        pods = f"{NAMESPACES}/{name}-system/pods"
        self.api.store.objects[pods] = {}
        self.api.store.put(pods, pod("kube-apiserver-1", True))
        return plane

    def sql(self, name, text):
        return self.postgres.sql(text, name, PASSWORD, name)

    def backup(self):
        self.sql("a", FILL.format(kind="things", count=2000))  # more than sockets hold
        self.sql("b", FILL.format(kind="others", count=3))
        return self.kflex("backup", "a", "-o", self.file)

    def exchange(self, name):
        """The Deployment makes a new pod for each that is deleted; by then nothing may be committed."""
        pods, remove = f"{NAMESPACES}/{name}-system/pods", self.api.store.remove
        self.seen = None

        def replaced(collection, gone):
            remove(collection, gone)
            if collection == pods:
                self.seen = subprocess.run(
                    [f"{PG}/psql", "-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", name, "-d", name, "-Atqc",
                     "SET lock_timeout = 100; SELECT count(*) FROM kine"], capture_output=True, text=True,
                    env=dict(os.environ, PGPASSWORD=PASSWORD, PGSSLMODE="require"), check=False).stderr
                self.api.store.put(pods, pod("kube-apiserver-2", True))
        self.api.store.remove = replaced

    def test_into_another(self):
        done = self.backup()
        self.assertIn("2000 keys of control plane a", done.stdout)
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o600)
        self.assertNotIn(PASSWORD, done.stdout + done.stderr)
        self.exchange("b")
        done = self.kflex("restore", self.file, "b", "--force")
        self.assertIn("lock timeout", self.seen)  # whoever came while the pods ended had to wait
        self.assertIn("Control plane b holds the 2000 keys", done.stdout)
        self.assertEqual(self.sql("b", STATE), self.sql("a", STATE))
        self.assertEqual(len(self.sql("b", STATE)), 2000)
        deleted = [r for r in self.api.requests if r[0] == "DELETE"]
        self.assertEqual([r[1] for r in deleted], [f"{NAMESPACES}/b-system/pods/kube-apiserver-1"])
        self.assertEqual(deleted[0][2]["preconditions"]["uid"], "uid-kube-apiserver-1")

    def test_refused(self):
        self.backup()
        before = self.sql("b", STATE)
        self.assertIn("say --force", self.kflex("restore", self.file, "b", code=1).stderr)
        self.on_terminal("restore", self.file, "b", answer="n\n")
        self.assertIn("not found on server: c", self.kflex("restore", self.file, "c", "--force", code=1).stderr)
        self.api.refuse[f"{NAMESPACES}/b-system/pods"] = 403
        done = self.kflex("restore", self.file, "b", "--force", code=1)
        self.assertIn("restore of control plane b", done.stderr)
        self.assertEqual(self.sql("b", STATE), before)

    def test_check(self):
        self.backup()
        done = self.kflex("restore", "--check", self.file)
        self.assertIn("control plane a at", done.stdout)
        self.assertIn("2000 keys", done.stdout)
        with open(self.file, "r+b") as f:
            f.seek(-40000, os.SEEK_END)
            f.write(b"?")
        for words in (("--check", self.file), (self.file, "b", "--force")):
            self.assertIn("is damaged", self.kflex("restore", *words, code=1).stderr)
        self.assertEqual(len(self.sql("b", STATE)), 3)
        self.assertIn("is no backup", self.kflex("restore", "--check", self.path, code=1).stderr)

    def test_no_way(self):
        self.assertIn("needs --output", self.kflex("backup", "a", code=1).stderr)
        self.api.add_plane("etcd")["spec"]["backend"] = "dedicated"
        self.assertIn("on a Postgres only", self.kflex("backup", "etcd", "-o", self.file, code=1).stderr)
        self.api.add_plane("h", "host")
        self.assertIn("of type host", self.kflex("backup", "h", "-o", self.file, code=1).stderr)
        self.sql("a", FILL.format(kind="things", count=1))
        self.assertIn("nowhere/x.part", self.kflex("backup", "a", "-o", f"{self.dir}/nowhere/x", code=1).stderr)
        self.api.forward_to = None
        done = self.kflex("backup", "a", "-o", self.file, code=1)
        self.assertIn("connection refused", done.stderr)
        self.assertNotIn(PASSWORD, done.stderr)
        self.assertEqual([n for n in os.listdir(self.dir) if "kfb" in n], [])


if __name__ == "__main__":
    if not os.path.exists(f"{PG}/postgres"):
        print("skipped: no PostgreSQL server is installed")
        sys.exit(77)
    main(__doc__)
