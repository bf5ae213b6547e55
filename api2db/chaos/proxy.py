"""A TCP proxy before a server, and the ways a connection goes wrong in it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from enum import Enum
from types import TracebackType

TIMEOUT_S = 30.0
_RESET = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What becomes of connections while it lasts; those that were open are ended, but for HANG."""

    REFUSE = "refuse"  # nobody listens
    RESET = "reset"  # each is reset as soon as it is made, those that were open at once
    CUT = "cut"  # those that were open end in the midst of what they say; new ones end at once
    HANG = "hang"  # nothing passes, nothing ends


class Fate(Enum):
    """What becomes of one request.

    ANSWER_LOST  it is passed on, the answer received and dropped, the connection cut: done, and nobody knows
    RESET        it isn't passed on, and both sides are reset
    UNANSWERED   it isn't passed on, and the connection stays as it is, in silence
    """

    ANSWER_LOST = "answer lost"
    RESET = "reset"
    UNANSWERED = "unanswered"


class Proxy:
    """Forwards connections on ``port`` to a server, until told to be at fault.

    Once armed, the next request that contains ``needle`` meets its ``Fate``; ``cut`` is set then. Safe to use from any
    thread.
    """

    def __init__(self, host: str, port: int, needle: bytes = b"") -> None:
        self._upstream = host, port
        self._needle = needle
        self._fate = Fate.ANSWER_LOST
        self._armed = threading.Event()
        self.cut = threading.Event()
        self._lock = threading.Lock()
        self._pass = threading.Event()
        self._pass.set()
        self._fault: Fault | None = None
        self._closed = False
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept, self._listener)

    def arm(self, fate: Fate = Fate.ANSWER_LOST, needle: bytes | None = None) -> None:
        self.cut.clear()
        self._fate = fate
        self._needle = needle or self._needle
        self._armed.set()

    def fail(self, fault: Fault) -> None:
        """Be at fault until ``heal``."""
        with self._lock:
            self._fault = fault
            open_now = list(self._sockets)
        if fault is Fault.HANG:
            self._pass.clear()
            return
        if fault is Fault.REFUSE:
            self._listen(False)
        self._hang_up(*open_now)

    def heal(self) -> None:
        """Pass everything on again."""
        with self._lock:
            self._fault = None
        self._listen(True)
        self._pass.set()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._listen(False)
        self._pass.set()
        with self._lock:
            open_now = list(self._sockets)
        self._hang_up(*open_now)
        for thread in list(self._threads):
            thread.join(TIMEOUT_S)

    def _listen(self, wanted: bool) -> None:
        with self._lock:
            if wanted == (self._listener is not None):
                return
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port))
                self._spawn(self._accept, self._listener)
            else:
                self._hang_up(self._listener)
                self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if self._fault in (Fault.RESET, Fault.CUT):
                    if self._fault is Fault.RESET:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.close()
                    continue
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream)
        except OSError:  # the server itself is away: so is this one
            client.close()
            return
        with self._lock:
            self._sockets |= {client, server}
        lose = threading.Event()
        for pump in (self._requests, self._answers):
            self._spawn(pump, client, server, lose)

    def _requests(self, client: socket.socket, server: socket.socket, lose: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self._pass.wait()
                if self._armed.is_set() and self._needle in data:
                    self._armed.clear()
                    if self._fate is not Fate.ANSWER_LOST:
                        self._drop(client, server)
                        break
                    lose.set()
                server.sendall(data)
        self._hang_up(client, server)

    def _drop(self, client: socket.socket, server: socket.socket) -> None:
        self.cut.set()
        if self._fate is Fate.RESET:
            for one in (client, server):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RD)  # wakes who reads from it, who would keep it open
                one.close()
        while self._fate is Fate.UNANSWERED and client.recv(65536):
            pass

    def _answers(self, client: socket.socket, server: socket.socket, lose: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self._pass.wait()
                if lose.is_set():
                    self.cut.set()
                    break
                client.sendall(data)
        self._hang_up(client, server)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _hang_up(self, *sockets: socket.socket) -> None:
        reset = self._fault is Fault.RESET
        for one in sockets:
            with contextlib.suppress(OSError):
                if reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Closing alone doesn't wake who reads from it. Before a reset nothing may be sent: an end would be.
                one.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            one.close()
            self._sockets.discard(one)
