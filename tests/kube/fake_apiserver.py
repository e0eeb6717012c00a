#!/usr/bin/env python3
"""A scripted API server over TLS and HTTP/1.1, for tests of kube/. Python's standard library only.

    fake_apiserver.py --cert FILE --key FILE [--port N] [--client-ca FILE] < script.json

Prints "PORT <n>" when it listens, then one JSON line for every request: method, path, headers of interest, body, sni. It
ends when its standard input is closed a second time (the script is one line; the rest of stdin is the leash).

The script is a list of rules; a request takes the first rule that matches it and is not used up:
  match    "METHOD text": the method, and a text the path with query must contain; or "METHOD =path" for equality
  times    how often (default 1; 0: for ever)
  status, headers, body     the answer; body is JSON or a string
  gzip_mb                   the answer is so many MiB of blanks, compressed
  delay_ms                  before answering
  close    true: close the connection without an answer
  lines    a watch: list of steps, each sent as it is reached:
             {"line": {...}}  an event        {"raw": "text"}  bytes as they are, no line end added
             {"bytes": "text", "size": n}     the text in chunks of n bytes, each flushed
             {"sleep_ms": n}                  {"hang": true}  until the client goes
             {"cut": true}    end the connection in the middle of the chunked body
"""
import argparse
import gzip
import json
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
rules = []


def say(text):
    with lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def take_rule(method, path):
    with lock:
        for rule in rules:
            want_method, _, want = rule["match"].partition(" ")
            fits = path == want[1:] if want.startswith("=") else want in path
            if want_method != method or not fits or rule["left"] == 0:
                continue
            if rule["left"] > 0:
                rule["left"] -= 1
            return rule
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def chunk(self, data):
        if data:
            self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
            self.wfile.flush()

    def hang(self):
        self.connection.settimeout(60)
        try:
            self.connection.recv(1)
        except OSError:
            pass

    def stream(self, steps):
        for step in steps:
            if "line" in step:
                self.chunk(json.dumps(step["line"]).encode() + b"\n")
            elif "raw" in step:
                self.chunk(step["raw"].encode())
            elif "bytes" in step:
                data, size = step["bytes"].encode(), step["size"]
                for i in range(0, len(data), size):
                    self.chunk(data[i:i + size])
            elif "sleep_ms" in step:
                time.sleep(step["sleep_ms"] / 1000)
            elif "hang" in step:
                self.hang()
                self.close_connection = True
                return
            elif "cut" in step:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode() if length else ""
        headers = {k: self.headers[k] for k in ("Authorization", "Content-Type", "Accept", "Impersonate-User", "Host",
                                                "User-Agent") if self.headers[k]}
        say(json.dumps({"method": self.command, "path": self.path, "headers": headers, "body": body,
                        "sni": getattr(self.connection, "seen_sni", None),
                        "peer": self.connection.getpeercert().get("subject") if self.connection.getpeercert() else None}))
        rule = take_rule(self.command, self.path)
        if rule is None:
            rule = {"status": 404, "body": {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404,
                                            "message": "the script has no rule for this"}}
        time.sleep(rule.get("delay_ms", 0) / 1000)
        if rule.get("close"):
            self.close_connection = True
            return
        self.send_response(rule.get("status", 200))
        for name, value in rule.get("headers", {}).items():
            self.send_header(name, value)
        if "lines" in rule:
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.stream(rule["lines"])
            return
        data = rule.get("body", {})
        data = data.encode() if isinstance(data, str) else json.dumps(data).encode()
        if "gzip_mb" in rule:
            self.send_header("Content-Encoding", "gzip")
            data = gzip.compress(b" " * (rule["gzip_mb"] << 20))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_one(self):
        try:
            self.answer()
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address, context):
        self.context = context
        super().__init__(address, Handler)

    def finish_request(self, request, client_address):  # the handshake belongs to the connection's thread
        try:
            connection = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        try:
            super().finish_request(connection, client_address)
        finally:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def handle_error(self, request, client_address):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--client-ca")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(args.cert, args.key)
    context.set_alpn_protocols(["http/1.1"])
    if args.client_ca:
        context.load_verify_locations(args.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL

    def note_sni(connection, name, _context):
        connection.seen_sni = name

    context.sni_callback = note_sni
    for rule in json.loads(sys.stdin.readline()):
        rule["left"] = {0: -1}.get(rule.get("times", 1), rule.get("times", 1))
        rules.append(rule)
    server = Server(("127.0.0.1", args.port), context)
    say("PORT %d" % server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # the test went away or is done


if __name__ == "__main__":
    main()
