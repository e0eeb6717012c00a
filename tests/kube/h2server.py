"""An HTTP/2 server over TLS on 127.0.0.1 for tests, which can misbehave on purpose. asyncio and Debian's python3-h2.

    server = Server(context, handler)      handler (exchange) is a coroutine, one a request
    await server.listen()                  server.port; listening again takes the same port

An Exchange is a request (method, path, query, headers, body) and the means to answer it. What goes wrong while an answer is
sent because the client went away ends its handler with `Gone`.
"""
import asyncio
import ctypes
import fcntl
import socket
import struct
import termios
import urllib.parse

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

WINDOW = 1 << 20
SO_ATTACH_FILTER = 26  # socket(7); the module socket has no name for it


class Gone(Exception):
    """The stream or its connection is over."""


class Exchange:
    def __init__(self, connection, stream, headers):
        self.connection, self.stream = connection, stream
        pairs = [(k.decode(), v.decode()) for k, v in headers]
        self.headers = {k: v for k, v in pairs if not k.startswith(":")}
        special = dict(pairs)
        self.method, self.path = special[":method"], special[":path"]
        self.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        self.plain_path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.body = b""
        self.over = asyncio.Event()  # reset by the client, or the connection is gone
        self.room = asyncio.Event()  # the window grew
        self.answered = False

    def check(self):
        if self.over.is_set() or self.connection.lost:
            raise Gone

    def _send(self, call, *args, **kwargs):
        self.check()
        try:
            call(self.stream, *args, **kwargs)
        except h2.exceptions.ProtocolError:
            raise Gone from None
        self.connection.flush()

    def start(self, status=200, headers=(), end=False):
        self.answered = True
        pairs = [(":status", str(status))] + [(k.lower(), str(v)) for k, v in headers]
        self._send(self.connection.h2.send_headers, pairs, end_stream=end)

    def inform(self, status, headers=()):
        self._send(self.connection.h2.send_headers, [(":status", str(status))] + list(headers))

    def trailers(self, headers):
        self._send(self.connection.h2.send_headers, list(headers), end_stream=True)

    async def send(self, data):
        protocol = self.connection.h2
        while data:
            self.check()
            try:
                size = min(protocol.local_flow_control_window(self.stream), protocol.max_outbound_frame_size, len(data))
            except h2.exceptions.ProtocolError:
                raise Gone from None
            if size <= 0:
                self.room.clear()
                await self._either(self.room)
                continue
            self._send(protocol.send_data, data[:size])
            data = data[size:]
            await self.connection.drained()

    def end(self):
        self._send(self.connection.h2.end_stream)

    def reset(self, code):
        self._send(self.connection.h2.reset_stream, error_code=code)

    async def _either(self, event):
        tasks = [asyncio.ensure_future(e.wait()) for e in (event, self.over)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        self.check()

    async def hang(self):
        """Until the client goes away."""
        await self.over.wait()
        raise Gone

    async def answer(self, status=200, body=b"", headers=(), kind="application/json"):
        self.start(status, [("content-type", kind), ("content-length", len(body)), *headers])
        await self.send(body)
        self.end()


class Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server, self.exchanges, self.tasks = server, {}, {}
        self.lost = self.frozen = False
        self.writable = asyncio.Event()
        self.writable.set()
        self.last_goaway = None

    # ---- asyncio

    def connection_made(self, transport):
        self.transport = transport
        self.server.connections.append(self)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values={
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.server.max_streams,
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc):
        self.lost = True
        self.writable.set()
        for exchange in self.exchanges.values():
            exchange.over.set()

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    def data_received(self, data):
        if self.frozen:
            return  # our kernel acknowledged it; nobody will answer
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.flush()
            self.transport.abort()
            return
        for event in events:
            self.on_event(event)
        self.flush()

    # ---- HTTP/2

    def on_event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            exchange = Exchange(self, event.stream_id, event.headers)
            self.exchanges[event.stream_id] = exchange
            if event.stream_ended is not None:
                self.begin(exchange)
        elif isinstance(event, h2.events.DataReceived):
            exchange = self.exchanges.get(event.stream_id)
            if event.flow_controlled_length:
                try:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                except h2.exceptions.ProtocolError:
                    pass
            if exchange:
                exchange.body += event.data
                if event.stream_ended is not None:
                    self.begin(exchange)
        elif isinstance(event, h2.events.StreamReset):
            exchange = self.exchanges.get(event.stream_id)
            if exchange:
                exchange.over.set()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            for exchange in self.exchanges.values():
                exchange.room.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.transport.close()

    def begin(self, exchange):
        if exchange.stream not in self.tasks:
            self.tasks[exchange.stream] = asyncio.ensure_future(self.run(exchange))

    async def run(self, exchange):
        try:
            await self.server.handler(exchange)
        except Gone:
            pass
        finally:
            exchange.over.set()
            self.exchanges.pop(exchange.stream, None)

    def flush(self):
        data = self.h2.data_to_send()
        if data and not self.frozen and not self.lost:
            self.transport.write(data)

    async def drained(self):
        await self.writable.wait()

    # ---- misbehaving

    def goaway(self, code=0, last=None):
        """As a server that is going to stop: streams up to `last` (default: all so far) are still answered. h2 itself would
        close the connection, so the frame is written by hand."""
        if last is None:
            last = max(self.exchanges, default=0)
        frame = struct.pack(">I", 8)[1:] + b"\x07\x00" + struct.pack(">IIi", 0, last, code)
        self.flush()
        if not self.frozen and not self.lost:
            self.transport.write(frame)

    def freeze(self):
        """The connection stays open and its kernel acknowledges, but nothing is read or said any more."""
        self.flush()
        self.frozen = True

    async def lose(self):
        """Packets are lost from now on, both ways and without a sign: nothing is even acknowledged. A socket filter that takes
        nothing does that to this connection alone, and needs no rights. What was sent before has to be acknowledged, or the
        kernel would go on sending it again."""
        self.freeze()
        sock = self.transport.get_extra_info("socket")
        while struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]:
            await asyncio.sleep(0.005)
        program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # return 0
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))

    def close(self):
        self.transport.close()

    def abort(self):
        """RST instead of FIN."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Server:
    def __init__(self, context, handler, max_streams=100):
        self.context, self.handler, self.max_streams = context, handler, max_streams
        self.connections, self.port, self.listener = [], 0, None

    def bound(self):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        return sock

    async def listen(self):
        self.refuse()
        sock = self.bound()
        self.port = sock.getsockname()[1]
        self.listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=sock, ssl=self.context, backlog=128)

    def refuse(self):
        """No new connections until the next listen ()."""
        if self.listener:
            self.listener.close()
        self.listener = None

    def deaf(self):
        """New connections are made, by the kernel, but nobody speaks TLS, until the next listen ()."""
        self.refuse()
        self.listener = self.bound()
        self.listener.listen(16)

    def stop(self):
        self.refuse()
        for connection in self.connections:
            if not connection.lost:
                connection.transport.abort()
