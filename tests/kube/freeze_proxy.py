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


def accept(listener, target):
    while True:
        client, _ = listener.accept()
        pair = Pair(client, socket.create_connection(target))
        with lock:
            pairs.append(pair)


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, (sys.argv[1], int(sys.argv[2]))), daemon=True).start()
    print("PORT %d" % listener.getsockname()[1], flush=True)
    for command in sys.stdin:
        with lock:
            for pair in pairs:
                if command.strip() == "freeze":
                    pair.frozen = True
                elif command.strip() == "cut":
                    pair.close(True)
            pairs.clear() if command.strip() == "cut" else None
        print("DONE", flush=True)


if __name__ == "__main__":
    main()
