"""Sessions of one API: as many as are asking at once, and others for hosts that its credentials aren't for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from api2db.errors import SourceError
from api2db.secret import shown_url

if TYPE_CHECKING:
    from requests import PreparedRequest

    from api2db.sources.answer import Answer
    from api2db.sources.http import Http
    from api2db.sources.rest.ask import Ask

Auth = Callable[["PreparedRequest"], "PreparedRequest"]
"""Makes a request one that is ours, as ``requests.auth.AuthBase`` does."""

Pairs = tuple[tuple[str, str], ...]

# Options of ``Http`` that may hold credentials, and so are for its own host alone.
_OF_THE_HOST = ("headers", "params", "auth")


class Sessions:
    """Lends sessions, each to one request at a time. Any thread.

    options   of ``Http``
    home      an address of the host that credentials are for; None: the first that is asked
    """

    def __init__(self, options: Mapping[str, Any], home: str | None) -> None:
        self._options = {**options, "check_status": False}
        self._lock = threading.Lock()
        self._home = home
        self._idle: dict[bool, list[Http]] = {True: [], False: []}

    def send(self, ask: Ask, headers: Mapping[str, str], auth: Auth | None) -> Answer:
        """One request, with credentials if its host is the one they are for. Raises HttpError, SourceError."""
        at_home = self.at_home(ask.url)
        if ask.body and not at_home:
            raise SourceError(
                f"{ask.method} {shown_url(ask.url)} is another host than {host_of(self._home or '')}: its body isn't"
                " sent there, since it may hold credentials; declare that host as an API of its own"
            )
        with self._lent(at_home) as http:
            return http.request(
                ask.method,
                ask.url,
                params=list(ask.params),
                headers={**dict(ask.headers if at_home else _harmless(ask.headers)), **headers},
                data=ask.body,
                auth=auth if at_home else None,
            )

    def at_home(self, url: str) -> bool:
        """Whether credentials may go there."""
        with self._lock:
            if self._home is None:
                self._home = url
            return may_have_credentials(url, of=self._home)

    @contextmanager
    def _lent(self, at_home: bool) -> Iterator[Http]:
        with self._lock:
            http = self._idle[at_home].pop() if self._idle[at_home] else None
        http = http or self._made(at_home)
        try:
            yield http
        finally:
            with self._lock:
                self._idle[at_home].append(http)

    def _made(self, at_home: bool) -> Http:
        from api2db.sources.net.lasting import LastingHttp  # requests loads when the first request is sent

        options = dict(self._options)
        if not at_home:
            headers = dict(_harmless(tuple(options.get("headers", {}).items())))
            options = {name: value for name, value in options.items() if name not in _OF_THE_HOST}
            options["headers"] = headers
        return LastingHttp(**options)


def _harmless(headers: Pairs) -> Pairs:
    from api2db.sources.http import HARMLESS_HEADERS

    return tuple(pair for pair in headers if pair[0].lower() in HARMLESS_HEADERS)


def may_have_credentials(url: str, *, of: str) -> bool:
    """Whether an address is of the host that credentials are for: same name, port and scheme, or https for http."""
    here, there = urlsplit(of), urlsplit(url)
    if here.hostname != there.hostname:
        return False
    if (here.scheme, here.port, there.scheme, there.port) == ("http", None, "https", None):
        return True
    return here.scheme == there.scheme and _port(here) == _port(there)


def _port(parts: SplitResult) -> int | None:
    return parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def host_of(url: str) -> str:
    """Host and port, as budgets and waits know them."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
