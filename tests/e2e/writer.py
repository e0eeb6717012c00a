#!/usr/bin/env python3
"""Writes ConfigMaps into a plane's namespace "default", one after the other, and says what became of each. Standard library only.

usage: writer.py [--to HOST:PORT] KUBECONFIG PREFIX COUNT         over one connection, as fast as they are taken
       writer.py [--to HOST:PORT] KUBECONFIG PREFIX --until FILE  each over a connection of its own, 20 a second, until FILE is
                                                                  there

KUBECONFIG is JSON (kubectl config view --raw --minify -o json). With --to the connection goes there and not to its server, whose
name is verified all the same. Prints one line: {"written": names that were answered with 201, "again": how often a write was
answered with Retry-After and sent again, "failed": what became of the others}. A failure is "refused" where no byte of the request
had been sent, and "lost" where it had: then nobody knows whether the object is there. Exit code 1 where something failed.
"""
import argparse
import base64
import http.client
import json
import os
import socket
import ssl
import sys
import tempfile
import time
import urllib.parse

TIMEOUT_S = 20
PACE_S = 0.05
AGAIN_MAX = 10  # as client-go does


class Target:
    def __init__(self, path, address):
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        server = urllib.parse.urlsplit(cluster["server"])
        self.name = cluster.get("tls-server-name", server.hostname)
        self.host, self.port = address or (server.hostname, server.port or 443)
        self.tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self.tls.load_cert_chain(pair.name)

    def connect(self):
        link = http.client.HTTPConnection(self.name, timeout=TIMEOUT_S)
        plain = socket.create_connection((self.host, self.port), TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            link.sock = self.tls.wrap_socket(plain, server_hostname=self.name)
        except OSError:
            plain.close()
            raise
        return link


class Writer:
    def __init__(self, target, prefix):
        self.target, self.prefix, self.link = target, prefix, None
        self.written, self.again, self.failed = [], 0, []

    def close(self):
        if self.link:
            self.link.close()
        self.link = None

    def once(self, name):
        """The answer's status and after how many seconds to come again; or what went wrong."""
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": name}})
        sent = False
        try:
            self.link = self.link or self.target.connect()
            sent = True
            self.link.request("POST", "/api/v1/namespaces/default/configmaps", body, {"Content-Type": "application/json"})
            answer = self.link.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return f"{'lost' if sent else 'refused'}: {error!r}", None
        if answer.will_close:
            self.close()
        return answer.status, answer.headers.get("Retry-After")

    def write(self, number):
        name = f"{self.prefix}-{number}"
        for _ in range(AGAIN_MAX):
            status, after = self.once(name)
            if after is None:
                break
            self.again += 1
            time.sleep(float(after))
        if status == 201:
            self.written.append(name)
        else:
            self.failed.append(f"{time.strftime('%T')} {name} {status}")

    def say(self):
        print(json.dumps({"written": self.written, "again": self.again, "failed": self.failed}))
        return 1 if self.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kubeconfig")
    parser.add_argument("prefix")
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--until")
    parser.add_argument("--to", type=lambda text: text.rsplit(":", 1))
    options = parser.parse_args()
    if (options.count is None) == (options.until is None):
        parser.error("either COUNT or --until")
    writer = Writer(Target(options.kubeconfig, options.to), options.prefix)
    if options.count is not None:
        for number in range(options.count):
            writer.write(number)
        return writer.say()
    number, start = 0, time.monotonic()
    while not os.path.exists(options.until):
        writer.write(number)
        writer.close()
        number += 1
        time.sleep(max(0.0, start + number * PACE_S - time.monotonic()))
    return writer.say()


if __name__ == "__main__":
    sys.exit(main())
