#!/usr/bin/env python3
"""The ways to a hosting cluster: proxies, client certificates, tokens, OIDC, exec plugins.
test_access.py PATH-OF-KFLEX [unittest arguments]"""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import Case, main  # noqa: E402
from fake_api import Api  # noqa: E402

EMPTY = "No control planes found.\n"


class Proxy:
    """HTTP CONNECT, and only that."""

    def __init__(self):
        self.asked = []  # "HOST:PORT"
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self):
        self.door.close()

    def serve(self):
        while True:
            try:
                client, _ = self.door.accept()
            except OSError:
                return
            threading.Thread(target=self.connect, args=(client,), daemon=True).start()

    def connect(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        verb, where = head.split()[:2]
        assert verb == b"CONNECT"
        self.asked.append(where.decode())
        with client, socket.create_connection(("127.0.0.1", int(where.rpartition(b":")[2]))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self.relay, args=(server, client), daemon=True)
            back.start()
            self.relay(client, server)
            back.join()

    @staticmethod
    def relay(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Access(Case):
    def with_user(self, **user):
        self.write_config("host", users=[{"name": "hu", "user": user}])

    def with_cluster(self, **fields):
        with open(self.path, encoding="utf-8") as f:
            config = json.load(f)
        config["clusters"][0]["cluster"].update(fields)
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump(config, f)

    def proxy(self):
        proxy = Proxy()
        self.addCleanup(proxy.close)
        return proxy

    def test_proxy_of_the_environment(self):
        proxy = self.proxy()
        self.kflex("create", "cp1", env={"https_proxy": proxy.url})
        ports = [self.api.url.rpartition(":")[2], self.tenant.url.rpartition(":")[2]]
        self.assertEqual({where.rpartition(":")[2] for where in proxy.asked}, set(ports))
        proxy.asked.clear()
        self.kflex("list", env={"HTTPS_PROXY": proxy.url})
        self.assertEqual(len(proxy.asked), 1)
        self.kflex("list", env={"HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"})
        self.assertEqual(len(proxy.asked), 1)

    def test_proxy_of_the_kubeconfig(self):
        proxy = self.proxy()
        self.with_cluster(**{"proxy-url": proxy.url})
        self.assertEqual(self.kflex("list").stdout, EMPTY)
        self.assertEqual(len(proxy.asked), 1)
        self.write_config("host")
        self.with_cluster(**{"proxy-url": "http://127.0.0.1:1"})
        self.error(self.kflex("list", code=1), "the current context 'host' cannot be asked")

    def test_client_certificate(self):
        """As data and as a file beside the kubeconfig."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        f"{self.dir}/me.key", "-out", f"{self.dir}/me.crt", "-days", "2", "-subj", "/CN=me"],
                       check=True, capture_output=True)
        self.api.close()
        self.api = Api(self.tls, client_ca=f"{self.dir}/me.crt")
        self.with_user(**{"client-certificate": "me.crt", "client-key": "me.key"})
        self.assertEqual(self.kflex("list").stdout, EMPTY)
        data = {}
        for key, name in (("client-certificate-data", "me.crt"), ("client-key-data", "me.key")):
            with open(f"{self.dir}/{name}", "rb") as f:
                data[key] = base64.b64encode(f.read()).decode()
        self.with_user(**data)
        self.assertEqual(self.kflex("list").stdout, EMPTY)
        self.with_user(token="wrong")
        self.error(self.kflex("list", code=1), "Unauthorized")

    def test_token_file(self):
        with open(f"{self.dir}/token", "w", encoding="ascii") as f:
            f.write("host\n")
        self.with_user(tokenFile="token")
        self.assertEqual(self.kflex("list").stdout, EMPTY)

    def oidc(self, end):
        claims = base64.urlsafe_b64encode(json.dumps({"exp": int(end)}).encode()).decode().rstrip("=")
        token = f"e30.{claims}.c2ln"
        self.with_user(**{"auth-provider": {"name": "oidc", "config": {"id-token": token, "client-id": "kubernetes"}}})
        return token

    def test_oidc(self):
        self.api.token = self.oidc(time.time() + 3600)
        self.assertEqual(self.kflex("list").stdout, EMPTY)
        self.oidc(time.time() - 10)
        self.error(self.kflex("list", code=1), "has expired", "kubectl")

    def test_exec_plugin(self):
        plugin = f"{self.dir}/plugin"
        with open(plugin, "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\n[ "$WHO" = me ] || exit 1\necho \'{"apiVersion": "client.authentication.k8s.io/v1beta1", '
                    '"kind": "ExecCredential", "status": {"token": "host"}}\'\n')
        os.chmod(plugin, 0o700)
        spec = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "./plugin",
                "env": [{"name": "WHO", "value": "me"}], "interactiveMode": "Never"}
        self.with_user(exec=spec)
        self.assertEqual(self.kflex("list").stdout, EMPTY)
        self.with_user(exec=dict(spec, env=None))
        self.error(self.kflex("list", code=1), "plugin")
        self.with_user(exec=dict(spec, command="kfx-no-such-plugin", installHint="get it there"))
        self.error(self.kflex("list", code=1), "kfx-no-such-plugin", "get it there")


if __name__ == "__main__":
    main(__doc__)
