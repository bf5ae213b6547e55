"""A TCP proxy that loses an answer, or a request, or both for ever: as networks and hanging servers do."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from types import TracebackType

TIMEOUT_S = 30.0


class Fate(enum.Enum):
    """What becomes of a request.

    ANSWER_LOST  it is passed on, the answer received and dropped, the connection cut: done, and nobody knows
    RESET        it isn't passed on, and both sides are reset
    UNANSWERED   it isn't passed on, and the connection stays as it is, in silence
    """

    ANSWER_LOST = enum.auto()
    RESET = enum.auto()
    UNANSWERED = enum.auto()


class Proxy:
    """Forwards connections on ``port`` to a server. Once armed, the next request that contains ``needle`` meets its
    ``Fate``; ``cut`` is set then.
    """

    def __init__(self, host: str, port: int, needle: bytes) -> None:
        self._upstream = host, port
        self._needle = needle
        self._fate = Fate.ANSWER_LOST
        self._armed = threading.Event()
        self.cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def arm(self, fate: Fate = Fate.ANSWER_LOST, needle: bytes | None = None) -> None:
        self.cut.clear()
        self._fate = fate
        self._needle = needle or self._needle
        self._armed.set()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._hang_up(self._listener, *self._sockets)
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                self._sockets += [client, server]
                lose = threading.Event()
                for pump in (self._requests, self._answers):
                    thread = threading.Thread(target=pump, args=(client, server, lose), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _requests(self, client: socket.socket, server: socket.socket, lose: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._armed.is_set() and self._needle in data:
                    self._armed.clear()
                    if self._fate is Fate.ANSWER_LOST:
                        lose.set()
                    else:
                        self._drop(client, server)
                        break
                server.sendall(data)
        self._hang_up(client, server)

    def _drop(self, client: socket.socket, server: socket.socket) -> None:
        self.cut.set()
        if self._fate is Fate.RESET:
            for one in (client, server):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RD)  # wakes whoever reads from it, who would keep it open
                one.close()
        while self._fate is Fate.UNANSWERED and client.recv(65536):
            pass

    def _answers(self, client: socket.socket, server: socket.socket, lose: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if lose.is_set():
                    self.cut.set()
                    break
                client.sendall(data)
        self._hang_up(client, server)

    def _hang_up(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
