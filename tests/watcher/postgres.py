"""A PostgreSQL for a test, without a cluster. Standard library only."""
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from cluster import wait

PG = "/usr/lib/postgresql/15/bin"


class Postgres:
    """A server with the certificate and the password that the storage agent made."""

    def __init__(self, port):
        self.port, self.process = port, None
        self.folder = tempfile.mkdtemp(prefix="kfx-pg-")
        self.user = pwd.getpwnam("postgres") if os.getuid() == 0 else None

    def _as_user(self):
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}

    def start(self, password, cert, key):
        self.password = password
        for name, text in (("password", password), ("tls.crt", cert), ("tls.key", key),
                           ("hba", "hostssl all all 127.0.0.1/32 scram-sha-256\n")):
            path = f"{self.folder}/{name}"
            with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
                f.write(text)
            if self.user:
                os.chown(path, self.user.pw_uid, self.user.pw_gid)
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        subprocess.run([f"{PG}/initdb", "-D", f"{self.folder}/data", "-U", "postgres", "--auth=scram-sha-256", "--no-sync",
                        f"--pwfile={self.folder}/password", "-E", "UTF8", "--locale=C.UTF-8"],
                       check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self._as_user())
        settings = {"listen_addresses": "127.0.0.1", "hba_file": f"{self.folder}/hba", "ssl": "on",
                    "ssl_cert_file": f"{self.folder}/tls.crt", "ssl_key_file": f"{self.folder}/tls.key",
                    "unix_socket_directories": self.folder, "fsync": "off"}
        argv = [f"{PG}/postgres", "-D", f"{self.folder}/data", "-p", str(self.port)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        self.process = subprocess.Popen(argv, stderr=open(f"{self.folder}/log", "wb"), cwd=self.folder, **self._as_user())
        wait("Postgres answers", lambda: subprocess.run(
            [f"{PG}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False).returncode == 0, 30)

    def sql(self, text, user="postgres", password=None, database="postgres"):
        """The answer's lines."""
        env = dict(os.environ, PGPASSWORD=password or self.password, PGSSLMODE="require", PGCONNECT_TIMEOUT="5")
        return subprocess.check_output([f"{PG}/psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", database,
                                        "-AtXqc", text], env=env, text=True).splitlines()

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)
