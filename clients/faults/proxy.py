"""A TCP proxy that does to a connection what the steps of a row say, when a certain event passes.

It knows neither HTTP nor gRPC: an event is noticed by its `"sequence_number":N`, which stands in the bytes of every surface, or
by its `id: N`.
"""

import contextlib
import re
import socket
import struct
import threading
import time

# Bytes that are passed on at once.
PIECE = 1 << 16

# Bytes that are kept to find a number that two pieces share.
TAIL = 64

NUMBER = re.compile(rb'(?:"sequence_number":|\nid: )(\d+)[,}\n]')

# A slow connection: bytes of a piece, and seconds between two.
SLOW_PIECE = 7
SLOW_PAUSE = 0.0005

# With this a socket is closed by RST.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """The proxy in front of `target`, which may change. `act` is called with what a step does beyond the connection."""

    def __init__(self, act):
        self.act = act
        self.target = None
        self.lock = threading.Lock()
        self.open = []
        # Set when an event has passed since it was cleared.
        self.passed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.begin([])
        threading.Thread(target=self.accept, daemon=True).start()

    def begin(self, steps):
        """Begins a row. Steps come one after the other; `every` is a cut at each event, before it or after it."""
        with self.lock:
            # Whoever keeps connections for later would come by one of the row before.
            for connection in self.open:
                close(connection)
            self.open = []
            self.steps = [dict(step) for step in steps]
            self.connections, self.cuts, self.next, self.closed_until, self.stalled = 0, 0, 0, 0, []
            # Whether the model shall say one thing after the other has passed.
            self.in_step = any("every" in step for step in steps)

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            if time.monotonic() < self.closed_until:
                close(client)
                continue
            try:
                server = socket.create_connection(self.target)
            except OSError:
                close(client)
                continue
            with self.lock:
                self.connections += 1
                self.open += [client, server]
                held, self.stalled = self.stalled, []
            for release in held:
                release.set()
            threading.Thread(target=self.send, args=(client, server), daemon=True).start()
            threading.Thread(target=self.answer, args=(client, server), daemon=True).start()

    def send(self, client, server):
        with contextlib.suppress(OSError):
            while piece := client.recv(PIECE):
                server.sendall(piece)
        close(server)

    def answer(self, client, server):
        tail, slow = b"", False
        with contextlib.suppress(OSError):
            while piece := server.recv(PIECE):
                step, end = self.due(tail, piece)
                tail = (tail + piece)[-TAIL:]
                do = step and step["do"]
                slow = slow or do == "slow"
                if do in (None, "slow"):
                    drip(client, piece) if slow else client.sendall(piece)
                    continue
                client.sendall(piece[:end])
                if do == "stall":
                    self.hold(step)
                    client.sendall(piece[end:])
                elif do in ("cut", "reset"):
                    self.cut(client, do)
                    break
                elif do == "away":
                    self.closed_until = time.monotonic() + step["seconds"]
                    self.cut(client, "reset")
                    break
                else:
                    self.act(step)
                    client.sendall(piece[end:])
        close(client)
        close(server)

    def due(self, tail, piece):
        """The step that this piece brings on, and how many bytes of the piece come before it."""
        numbers = [found for found in NUMBER.finditer(tail + piece) if found.end() > len(tail)]
        with self.lock:
            step = self.steps[0] if self.steps else {"at": float("inf")}
            at = step.get("at", self.next)
            found = next((found for found in numbers if int(found[1]) >= at), None)
            before = bool(found) and (step.get("every") or step["when"]) == "before"
            if numbers and not before:
                self.passed.set()
            if not found:
                return None, 0
            if "every" in step:
                self.next = int((found if before else numbers[-1])[1]) + 1
            else:
                self.steps.pop(0)
            return step, max(found.start() - len(tail), 0) if before else len(piece)

    def cut(self, client, how):
        with self.lock:
            self.cuts += 1
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            # Nothing is sent by this, but whoever waits for the client wakes; only then a close is one.
            client.shutdown(socket.SHUT_RD)
            client.close()

    def hold(self, step):
        """Nothing more comes; with `release`, until another connection is made."""
        release = threading.Event()
        if step.get("release"):
            with self.lock:
                self.stalled.append(release)
        release.wait(step.get("seconds", 30))


def drip(client, piece):
    for start in range(0, len(piece), SLOW_PIECE):
        client.sendall(piece[start : start + SLOW_PIECE])
        time.sleep(SLOW_PAUSE)


def close(connection):
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
