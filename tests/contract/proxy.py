"""A TCP proxy that loses an answer: it passes a request on, waits for the reply, and hangs up instead."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

TIMEOUT_S = 30.0


class Proxy:
    """Forwards connections on ``port`` to a server. Once armed, the answer to the next request that contains
    ``needle`` is received and dropped, and the connection cut: the server has done it, the client never hears.
    """

    def __init__(self, host: str, port: int, needle: bytes) -> None:
        self._upstream = host, port
        self._needle = needle
        self._armed = threading.Event()
        self.cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def arm(self) -> None:
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
                    lose.set()
                server.sendall(data)
        self._hang_up(client, server)

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
