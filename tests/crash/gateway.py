"""A gateway between one process and the API server: it ends TLS and HTTP/2, so that a test sees each write as it is, and can
lose the process right before it or right after it. asyncio and Debian's python3-h2.

    gateway = Gateway(loop, name, tls, upstream, seen)     gateway.port
    seen(gateway, write) -> "pass", "before" (the server never gets it) or "after" (the process never gets the answer)

A Write is what was sent: method, path, headers, body, and, once it was answered, status.
"""
import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kube"))
from h2server import Gone, Server  # noqa: E402

PASSED_ON = ("accept", "accept-encoding", "authorization", "content-type", "user-agent")


class Write:
    def __init__(self, process, exchange):
        self.process, self.method, self.path, self.plain_path = process, exchange.method, exchange.path, exchange.plain_path
        self.headers = {name: value for name, value in exchange.headers.items() if name in PASSED_ON}
        self.body, self.status = exchange.body, None

    def reason(self):
        """Of an Event, which all go to one path."""
        return json.loads(self.body).get("reason", "") if self.plain_path.endswith("/events") else ""


class Upstream:
    """HTTP/1.0 to the API server: an answer ends with its connection, also a watch's."""

    def __init__(self, host, port, context):
        self.host, self.port, self.context = host, port, context

    async def ask(self, method, path, headers, body):
        """(status, headers, stream that the body is read from, writer to close)"""
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.context)
        lines = [f"{method} {path} HTTP/1.0", f"Host: {self.host}:{self.port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        first = (await reader.readline()).split()
        if len(first) < 2:
            writer.close()
            raise Gone  # it stops
        status = int(first[1])
        answer = {}
        while (line := (await reader.readline()).strip()):
            name, _, value = line.decode().partition(":")
            answer[name.lower()] = value.strip()
        return status, answer, reader, writer


class Gateway:
    def __init__(self, loop, name, tls, upstream, seen):
        self.name, self.upstream, self.seen = name, upstream, seen
        self.server = Server(tls, self.handle, max_streams=250)
        asyncio.run_coroutine_threadsafe(self.server.listen(), loop).result(10)
        self.port = self.server.port

    async def handle(self, exchange):
        write = Write(self.name, exchange) if exchange.method != "GET" else None
        fate = self.seen(self, write) if write else "pass"
        if fate == "before":
            await exchange.hang()
        headers = {name: value for name, value in exchange.headers.items() if name in PASSED_ON}
        status, answer, reader, writer = await self.upstream.ask(exchange.method, exchange.path, headers, exchange.body)
        try:
            if write:
                write.status = status
            if fate == "after":
                self.seen(self, write)
                await exchange.hang()
            exchange.start(status, [(name, answer[name]) for name in ("content-type", "content-encoding", "retry-after") if name in answer])
            await self.copy(reader, exchange)
            exchange.end()
        finally:
            writer.close()

    @staticmethod
    async def copy(reader, exchange):
        gone = asyncio.ensure_future(exchange.over.wait())
        try:
            while True:
                data = asyncio.ensure_future(reader.read(65536))
                await asyncio.wait((data, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    data.cancel()
                    raise Gone
                if not data.result():
                    return
                await exchange.send(data.result())
        finally:
            gone.cancel()

    def stop(self):
        self.server.stop()
