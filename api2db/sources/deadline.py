"""One deadline for a whole HTTP request: headers and body, however slowly they come, over all redirects.

requests' own ``timeout`` is for each read: a server that sends a byte a second never meets it.
"""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from api2db.sources.exchanges import watched


@dataclass(frozen=True)
class Limits:
    """What one request may cost, all its redirects together.

    until       monotonic seconds at which it must be over; ``deadline_s`` is how long that was at its start
    max_bytes   of each body, decompressed
    secrets     what no error about it may show
    """

    until: float
    deadline_s: float
    max_bytes: int
    secrets: tuple[str, ...] = ()

    def wait_s(self, at_most_s: float | None) -> float:
        """How long the next wait may take. Raises TimeoutError if the deadline has passed."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of the whole request has passed")
        return left if at_most_s is None else min(left, at_most_s)


LIMITS: ContextVar[Limits] = ContextVar("api2db_http_limits")
"""Of the request that is under way in this thread."""


class _Reader(io.RawIOBase):
    """What a socket receives; each wait ends at the deadline of the request that was sent last."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._raw: io.RawIOBase = sock.makefile("rb", 0)
        self._limits = LIMITS.get()
        self._wait_s: float | None = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._limits.wait_s(self._wait_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Opener:
    """A socket, as far as http.client's answer needs one."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock))


class _Timed(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Opener(sock), *args, **kwargs)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    response_class = _Timed


class _SecureConnection(HTTPSConnection):
    response_class = _Timed


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class DeadlineAdapter(HTTPAdapter):
    """Connections that keep ``LIMITS.until``, also through HTTP proxies.

    Not under it: the name lookup, which nothing can interrupt, and reads through a SOCKS proxy, which have the
    timeout of each read alone. ``answer`` makes the empty answer that is filled in.
    """

    def __init__(self, answer: Callable[[], Response], **kwargs: Any) -> None:
        self._answer = answer
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager: Any = super().proxy_manager_for(proxy, **kwargs)
        if not str(proxy).lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        timeout, limits = kwargs.get("timeout"), LIMITS.get()
        connect_s, read_s = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        kwargs["timeout"] = (limits.wait_s(connect_s), limits.wait_s(read_s))
        with watched(request) as exchange:
            exchange.answer = super().send(request, *args, **kwargs)
        return exchange.answer

    def build_response(self, request: PreparedRequest, raw: Any) -> Response:
        answer = self._answer()
        answer.__dict__.update(super().build_response(request, raw).__dict__)
        return answer
