#!/usr/bin/env python3
"""A TCP proxy that can freeze: connections that exist are kept open and acknowledged, nothing passes any more; new ones
work. freeze_proxy.py HOST PORT; prints "PORT <n>"; commands on stdin: freeze, cut (reset all), end of file ends it."""
import selectors
import socket
import struct
import sys
import threading

lock = threading.Lock()
pairs = []
made = 0
asked = "-"


class Pair:
    def __init__(self, client, server):
        self.client, self.server, self.frozen = client, server, False
        for a, b in ((client, server), (server, client)):
            threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    def copy(self, source, target):
        try:
            while True:
                data = source.recv(65536)
                if self.frozen:
                    return  # the peer sees an open connection that says nothing
                if not data:
                    break
                target.sendall(data)
        except OSError:
            pass
        if not self.frozen:
            self.close(False)

    def close(self, reset):
        for sock in (self.client, self.server):
            try:
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


def read_connect(client):
    """Takes "CONNECT host:port HTTP/1.1" and its headers; answers that the way is open."""
    global asked
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)
    asked = head.split()[1].decode()
    client.sendall(b"HTTP/1.1 200 open\r\n\r\n")
    host, _, port = asked.rpartition(":")
    return host.strip("[]"), int(port)


def accept(listener, target):
    global made
    while True:
        client, _ = listener.accept()
        pair = Pair(client, socket.create_connection(target or read_connect(client)))
        with lock:
            made += 1
            pairs.append(pair)


def main():
    target = (sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 2 else None
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, target), daemon=True).start()
    print("PORT %d" % listener.getsockname()[1], flush=True)
    for command in sys.stdin:
        with lock:
            for pair in pairs:
                if command.strip() == "freeze":
                    pair.frozen = True
                elif command.strip() == "cut":
                    pair.close(True)
            pairs.clear() if command.strip() == "cut" else None
        print("DONE %d %s" % (made, asked), flush=True)


if __name__ == "__main__":
    main()
