"""A session of requests that ends: in time, within a size, at the host it was sent to, with an error that says why."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from typing import Any

import requests
from requests import PreparedRequest, Request, RequestException, Response

from api2db._version import __version__
from api2db.errors import ConfigError
from api2db.secret import redact, shown_url
from api2db.sizes import size_bytes
from api2db.sources.answer import Answer, HttpError, asked, in_our_words, secrets_of
from api2db.sources.deadline import LIMITS, DeadlineAdapter, Limits
from api2db.sources.exchanges import read
from api2db.sources.noticed import Noticed, credentials_in, mark_secrets
from api2db.sources.redirects import keys_of, take_marks, with_keys, without_keys
from api2db.sources.tape.recorder import TAPE

__all__ = ["Answer", "Http", "HttpError"]

# What may go to another host than it was meant for; any other header may be a credential.
HARMLESS_HEADERS = (
    *("accept", "accept-charset", "accept-encoding", "accept-language", "connection", "content-length"),
    *("content-type", "range", "transfer-encoding", "user-agent"),
)


_OWN: ContextVar[tuple[int, float]] = ContextVar("api2db_http_own_limits")
"""``max_bytes`` and ``deadline_s`` of the request that is being made ready in this thread."""


class Http(requests.Session):
    """A ``requests.Session`` for collectors: everything requests can do, within limits.

    connect_s     the longest a connection may take
    read_s        the longest silence of a server
    deadline_s    the longest a request may take in all: redirects, headers and body
    max_bytes     the largest body, decompressed: bytes, or a size such as ``"64 MiB"``
    check_status  raise HttpError for a status of 400 and above; with False: ``answer.raise_for_status()``
    secrets       texts that no error may show; headers, ``auth`` and parameters aren't shown anyway
    headers, params, auth    sent with each request

    Sent to another origin by a redirect, a request goes there without headers and parameters that may be credentials,
    and not at all if it has a body. Used by one thread at a time: make one for each collector.
    """

    def __init__(
        self,
        *,
        connect_s: float = 10.0,
        read_s: float = 30.0,
        deadline_s: float = 120.0,
        max_bytes: int | str = "64 MiB",
        check_status: bool = True,
        secrets: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        auth: Any = None,
    ) -> None:
        super().__init__()
        for name, value in (("connect_s", connect_s), ("read_s", read_s), ("deadline_s", deadline_s)):
            if not value > 0:
                raise ConfigError(f"Http({name}={value!r}): must be more than 0 seconds")
        self.timeout_s = (connect_s, read_s)
        self.deadline_s = deadline_s
        self.max_bytes = size_bytes(max_bytes)
        self.check_status = check_status
        self.secrets = tuple(secrets)
        self.max_redirects = 10
        self.headers["User-Agent"] = f"api2db/{__version__}"
        self.headers.update(headers or {})
        self.params = dict(params or {})
        self.auth = auth
        for scheme in ("https://", "http://"):
            self.mount(scheme, DeadlineAdapter(Answer))

    def __repr__(self) -> str:
        return f"Http(deadline_s={self.deadline_s:g}, max_bytes={self.max_bytes})"

    def request(
        self,
        method: Any,
        url: Any,
        *args: Any,
        max_bytes: int | str | None = None,
        deadline_s: float | None = None,
        **kwargs: Any,
    ) -> Answer:
        """As of requests. ``max_bytes`` and ``deadline_s`` are this request's own: of a body that is streamed, say."""
        most = self.max_bytes if max_bytes is None else size_bytes(max_bytes)
        within_s = self.deadline_s if deadline_s is None else deadline_s
        if not within_s > 0:
            raise ConfigError(f"request(deadline_s={deadline_s!r}): must be more than 0 seconds")
        own = _OWN.set((most, within_s))
        try:
            return super().request(method, url, *args, **kwargs)  # type: ignore[return-value]
        except HttpError:
            raise
        except (RequestException, UnicodeError) as error:
            # Before anything was sent. Not chained: requests quotes the whole address.
            text = f"{str(method).upper()} {shown_url(str(url))}: it can't be asked for: {type(error).__name__}"
            raise HttpError(redact(text, self.secrets)) from None
        except ValueError as error:
            if not str(error).startswith("Invalid header"):
                raise
            # Of http.client, which quotes it.
            what = "a header has a line break or a letter that none can have: correct headers= or auth="
            text = f"{str(method).upper()} {shown_url(str(url))}: it can't be asked for: {what}"
            raise HttpError(redact(text, self.secrets)) from None
        finally:
            _OWN.reset(own)

    def prepare_request(self, request: Request) -> PreparedRequest:
        """As of requests; what ``auth`` puts in is noticed, since no tape and no cursor may hold it."""
        auth = request.auth or self.auth
        if callable(auth):
            request.auth = Noticed(auth)
        prepared = super().prepare_request(request)
        mark_secrets(prepared, self.secrets)
        return prepared

    def send(self, request: PreparedRequest, **kwargs: Any) -> Answer:
        """Send a prepared request; every way of asking ends up here, and each redirect."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeout_s
        refused: str | None = getattr(request, "api2db_refused", None)
        if refused is not None:
            raise HttpError(redact(refused, self.secrets), request=request)
        token, limits = None, LIMITS.get(None)
        if limits is None:
            max_bytes, deadline_s = _OWN.get((self.max_bytes, self.deadline_s))
            secrets = (*self.secrets, *secrets_of(request))
            limits = Limits(time.monotonic() + deadline_s, deadline_s, max_bytes, secrets)
            token = LIMITS.set(limits)
        # Of a redirect's next request the first one's answer tells.
        tape = TAPE.get() if token is not None else None

        def ask() -> Any:
            with in_our_words(request, limits):
                return super(Http, self).send(request, **kwargs)

        try:
            stream = bool(kwargs.get("stream"))
            hidden = (*self.secrets, *credentials_in(request))
            answer = ask() if tape is None else tape.send(request, hidden, ask, stream=stream)
        finally:
            if token is not None:
                LIMITS.reset(token)
            read()
        if not isinstance(answer, Answer):
            raise ConfigError("an adapter without limits is mounted: mount a DeadlineAdapter(Answer, ...)")
        if self.check_status:
            answer.raise_for_status()
        return answer

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """What a redirect takes along: to another origin no credential, and no body, which may hold one.

        At the same one a key that is sent as a parameter goes along, which the new address seldom has.
        """
        here, there = str(response.request.url), str(prepared_request.url)
        mark_secrets(prepared_request, self.secrets)
        keys = keys_of(response.request, _names(self.params), self.secrets)
        if self.should_strip_auth(here, there):  # type: ignore[no-untyped-call]
            if prepared_request.body:
                # Told when it is sent: who doesn't follow redirects may look at where this one leads.
                text = f"{asked(response.request)} is redirected to another host, {shown_url(there)}: its body isn't"
                prepared_request.api2db_refused = f"{text} sent there; correct the address"  # type: ignore[attr-defined]
            kept = {name: value for name, value in prepared_request.headers.items() if _goes_along(name)}
            prepared_request.headers.clear()
            prepared_request.headers.update(kept)
            prepared_request.hooks = {"response": []}  # a digest's would answer that host's challenge
            bare = without_keys(there, keys, (*self.secrets, *credentials_in(response.request)))
            if bare is None:
                text = f"{asked(response.request)} is redirected to another host by an address with a credential in it"
                prepared_request.api2db_refused = f"{text}; it isn't asked"  # type: ignore[attr-defined]
            else:
                prepared_request.url = bare
        else:
            take_marks(response.request, prepared_request)
            whole = with_keys(there, keys)
            # Unless that is where one was sent on from: a server that took the key, and knows one by a cookie now.
            if whole not in (here, *(str(each.request.url) for each in response.history)):
                prepared_request.url = whole
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]


def _names(params: object) -> Collection[str]:
    return [str(name) for name in params] if isinstance(params, Mapping) else ()


def _goes_along(header: str) -> bool:
    """Cookies are the jar's, which knows whose they are."""
    return header.lower() in HARMLESS_HEADERS or header.lower() == "cookie"
