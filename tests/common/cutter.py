"""A TCP proxy that cuts connections when their answer begins: the request has landed, and its sender never learns of it."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit

# Bytes that are passed on at once.
PIECE = 1 << 16


class Cutter:
    """The proxy in front of a URL, from `start` to `stop`. It cuts as many answers as `cuts` says, and passes on the others."""

    def __init__(self, url, cuts):
        self.target = (urlsplit(url).hostname, urlsplit(url).port)
        self.cuts = cuts
        self.lock = threading.Lock()

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def stop(self):
        # A close alone does not wake whoever waits in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
                for pump in (self.send, self.answer):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def send(self, client, server):
        with contextlib.suppress(OSError):
            while piece := client.recv(PIECE):
                server.sendall(piece)
        close(server)

    def answer(self, client, server):
        with contextlib.suppress(OSError):
            while piece := server.recv(PIECE):
                if self.shall_cut():
                    break
                client.sendall(piece)
        close(client)
        close(server)

    def shall_cut(self):
        with self.lock:
            self.cuts -= 1
            return self.cuts >= 0


def close(connection):
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
