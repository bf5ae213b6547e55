"""The proxy's faults, as a client meets them."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from api2db.chaos.proxy import Fault, Proxy

TIMEOUT_S = 30.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        with Proxy("127.0.0.1", server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


def connected(proxy: Proxy) -> socket.socket:
    """A connection that has carried an answer."""
    client = socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S)
    assert answer(client) == b"ping"
    return client


def answer(client: socket.socket) -> bytes:
    client.sendall(b"ping")
    return client.recv(4)


def test_a_refusing_place_ends_what_is_open_and_takes_nobody(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.fail(Fault.REFUSE)
        assert client.recv(4) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S)


def test_a_resetting_place_resets_what_is_open_and_what_comes(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.fail(Fault.RESET)
        with pytest.raises(ConnectionResetError):
            client.recv(4)
    with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as client:
        client.recv(4)


def test_a_place_that_is_cut_off_ends_what_is_open_and_what_comes(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.fail(Fault.CUT)
        assert client.recv(4) == b""
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as client:
        assert client.recv(4) == b""


def test_what_hangs_says_nothing_and_goes_on_when_it_is_healed(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.fail(Fault.HANG)
        client.sendall(b"ping")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(4)
        client.settimeout(TIMEOUT_S)
        proxy.heal()
        assert client.recv(4) == b"ping"


@pytest.mark.parametrize("fault", list(Fault))
def test_a_healed_place_is_as_before(proxy: Proxy, fault: Fault) -> None:
    proxy.fail(fault)
    proxy.heal()
    with connected(proxy) as client:
        assert answer(client) == b"ping"
