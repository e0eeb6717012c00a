"""pods/portforward of an API server over WebSocket, sub-protocol v4.channel.k8s.io, as the kubelet speaks it: two channels a
port, data and error, whose first messages are the port's number."""
import base64
import hashlib
import select
import socket
import struct

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


def frame(opcode, data):
    size = len(data)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, size)
    elif size < 65536:
        head = struct.pack(">BBH", 0x80 | opcode, 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
    return head + data


def take_frame(data):
    """(opcode, payload, rest) of a client's frame, or None where it is not whole."""
    if len(data) < 2:
        return None
    if not data[1] & 0x80:
        raise AssertionError("a client's frame is not masked")
    size, at = data[1] & 0x7F, 2
    for mark, fmt in ((126, ">H"), (127, ">Q")):
        if size == mark:
            if len(data) < 2 + struct.calcsize(fmt):
                return None
            size, at = struct.unpack_from(fmt, data, 2)[0], 2 + struct.calcsize(fmt)
            break
    if len(data) < at + 4 + size:
        return None
    mask = data[at:at + 4]
    masks = (mask * (size // 4 + 1))[:size]
    body = int.from_bytes(data[at + 4:at + 4 + size], "big") ^ int.from_bytes(masks, "big")
    return data[0] & 0x0F, body.to_bytes(size, "big"), data[at + 4 + size:]


def handshake(handler):
    accept = hashlib.sha1((handler.headers["Sec-WebSocket-Key"] + GUID).encode()).digest()
    handler.send_response_only(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
    handler.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
    handler.end_headers()
    handler.wfile.flush()


def relay(handler, port, target):
    """Until one side ends. target: (host, port) of what listens in the "pod", or None for one that refuses."""
    handler.close_connection = True
    handshake(handler)
    client = handler.connection
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)  # so that the client has to wait with what it sends
    number = struct.pack("<H", port)
    client.sendall(frame(2, b"\0" + number) + frame(2, b"\1" + number))
    client.sendall(frame(9, b"are you there"))
    try:
        server = socket.create_connection(target) if target else None
    except OSError:
        server = None
    if not server:
        client.sendall(frame(2, b"\1connection refused"))
        return
    data, ponged, answered = b"", False, False
    with server:
        while True:
            readable, _, _ = select.select([client, server], [], [], 60)
            if server in readable:
                got = server.recv(70000)
                if not got:
                    client.sendall(frame(8, b""))
                    return
                for at in range(0, len(got), 1000):  # several frames a read
                    client.sendall(frame(2, b"\0" + got[at:at + 1000]))
                answered = True
            if client in readable:
                got = client.recv(65536)
                if not got:
                    if answered and not ponged:  # a client that speaks first may do so before it sees the ping
                        raise AssertionError("no pong")
                    return
                data += got
                while (taken := take_frame(data)):
                    opcode, body, data = taken
                    if opcode == 10:
                        ponged = body == b"are you there"
                    elif opcode == 2 and body[0] == 0:
                        server.sendall(body[1:])
            if not readable:
                return
