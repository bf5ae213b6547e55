"""What a server answered, read within limits; and errors that say what came, and no secret."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from requests import PreparedRequest, RequestException, Response
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectTimeout,
    ReadTimeout,
    SSLError,
    Timeout,
    TooManyRedirects,
)
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError
from urllib3.response import HTTPResponse

from api2db.errors import SourceError
from api2db.secret import is_number_or_date, redact, shown_url
from api2db.sources.deadline import LIMITS, Limits
from api2db.sources.decode import NotJson, decode
from api2db.sources.decoding import reading
from api2db.sources.decoding.chunked import Block, chunked
from api2db.sources.decoding.encoded import is_cut_short
from api2db.sources.decoding.unreadable import Unreadable

_SHOWN_CHARS = 100
_CAUSE_CHARS = 300
_PIECE_BYTES = 2**16  # of a body that is read as records
# Of the start of a body so much is looked through for secrets before it is cut to what is shown.
_LOOKED_AT_BYTES = 4096
# A secret shorter than that stands in many words; what is as short and a parameter's value is an ordinary one.
_SECRET_CHARS, _SECRET_VALUE_CHARS = 4, 8
_ORDINARY_HEADERS = frozenset(
    ("accept", "accept-encoding", "accept-language", "connection", "content-length", "content-type", "user-agent")
)
_OBJECT = re.compile(r"<?[\w.]*(?:Connection|Pool)(?:\([^)]*\)| object at \w+)>?: ")


class HttpError(SourceError, RequestException):
    """A request failed, or its answer isn't what was asked for. ``response`` is the answer, if there was one.

    The text names method, address, status, content type and how the body starts, but no secret: of the address's
    parameters only numbers and dates are shown, and nothing that was sent as a header or as ``auth``.
    ``transient`` where no whole answer came, and asking again may help.
    """

    transient = False


class Answer(Response):
    """An answer whose body is read within ``limits``, also where it is streamed."""

    _content_consumed: bool

    def __init__(self) -> None:
        super().__init__()
        self.limits = LIMITS.get()
        self.taped: Callable[[Iterator[bytes]], Iterator[bytes]] | None = None  # hears a body that is streamed

    def json(self, **kwargs: Any) -> Any:
        """The JSON value, integers exact. Raises HttpError for anything else, HTML with status 200 for example."""
        if kwargs:
            return super().json(**kwargs)
        try:
            return decode(self.content)
        except NotJson as error:
            raise self.error(f"{error.reason}: {self._start()}") from None

    def records(
        self,
        path: str = "",
        format: str | None = None,
        *,
        charset: str | None = None,
        delimiter: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> list[Any]:
        """All records of the body: JSON, NDJSON, CSV, TSV or XML, by its Content-Type unless ``format`` says it.

        path       where they are in JSON ("data.items") and XML ("rss.channel.item"); "" for the whole
        charset    where header and document say nothing, or the wrong
        delimiter, columns   of CSV: the names where it has none, or not on each page

        Raises HttpError for what isn't that, ConfigError.
        """
        said = reading.Said(format, charset, delimiter, columns)
        with self._unreadable():
            return reading.records(self._body(), path, said)

    def document(self, format: str | None = None, *, charset: str | None = None, delimiter: str | None = None) -> Any:
        """The whole body as one value, by its Content-Type unless ``format`` says it; JSON if neither does.

        A JSON value; of XML the root element under its name; of CSV, TSV and NDJSON the list of their rows. Raises
        HttpError for what isn't that, ConfigError.
        """
        said = reading.Said(format, charset, delimiter)
        if said == reading.Said() and reading.is_plainly_json(self.headers.get("Content-Type", ""), self.content):
            with suppress(NotJson):  # else it is looked at more closely, and that says what is wrong
                return decode(self.content)
        with self._unreadable():
            return reading.document(self._body(), said)

    def format(self) -> str:
        """As Content-Type, address or the body's start tell it; "" where none does. Raises HttpError."""
        with self._unreadable():
            return reading.format_of(self._body())

    def stream(
        self,
        path: str = "",
        size: int = 10_000,
        format: str | None = None,
        *,
        charset: str | None = None,
        delimiter: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[list[Any]]:
        """The same records in chunks, ``size`` at most, while the body comes: ask with ``stream=True``.

        What is wrong further on is raised there, after the records before it. As ``records`` else.
        """
        said = reading.Said(format, charset, delimiter, columns)
        return chunked(self._blocks(path, said), size)

    def raise_for_status(self) -> None:
        """Raises HttpError for a status of 400 and above."""
        if self.status_code >= 400:
            raise self.error(self._start())

    @property
    def content(self) -> bytes:
        """As of requests, read in larger pieces: its own are so small that a page of records takes dozens."""
        if not (isinstance(self._content, bytes) or self._content_consumed or self.raw is None):
            self._content = b"".join(self.iter_content(_PIECE_BYTES))
        return super().content

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        chunks = super().iter_content(chunk_size, decode_unicode)
        if self._content_consumed:
            return chunks
        bounded = self._bounded(chunks)
        return bounded if self.taped is None else self.taped(bounded)

    def error(self, what: str) -> HttpError:
        """An error about this answer."""
        kind = self.headers.get("Content-Type", "no content type")[:_SHOWN_CHARS]
        status = f"{self.status_code} {(self.reason or '')[:_SHOWN_CHARS]}".rstrip()
        text = f"{asked(self.request)} answered {status}, {kind}: {what}"
        return HttpError(redact(text, self.limits.secrets), response=self)

    def _body(self) -> reading.Body:
        packed = [one.strip().lower() for one in self.headers.get("Content-Encoding", "").split(",")]
        unknown = [one for one in packed if one and one not in (*HTTPResponse.CONTENT_DECODERS, "identity")]
        if unknown:
            extra = "; it needs the extra brotli: pip install 'api2db-daemon[brotli]'" if "br" in unknown else ""
            raise Unreadable(f"its Content-Encoding {unknown[0][:_SHOWN_CHARS]!r} can't be unpacked{extra}")
        kind = self.headers.get("Content-Type", "")
        return reading.Body(self.iter_content(_PIECE_BYTES), kind, str(self.url), self.limits.max_bytes)

    def _blocks(self, path: str, said: reading.Said) -> Iterator[Block]:
        with self._unreadable():
            yield from reading.blocks(self._body(), path, said)

    @contextmanager
    def _unreadable(self) -> Iterator[None]:
        try:
            yield
        except Unreadable as error:
            # Of one that was read in parts the start is gone.
            start = f": {self._start()}" if isinstance(getattr(self, "_content", None), bytes) else ""
            self.close()
            raise self.error(error.reason + start) from None

    def _bounded(self, chunks: Iterator[Any]) -> Iterator[Any]:
        """However much is compressed in it, no more than ``max_bytes`` and one chunk are ever held."""
        most = self.limits.max_bytes
        announced = self.headers.get("Content-Length", "")
        size = int(announced) if re.fullmatch(r"\d{1,18}", announced, re.ASCII) else 0
        try:
            with in_our_words(self.request, self.limits):
                if size <= most:
                    size = 0
                    for chunk in chunks:
                        size += len(chunk)
                        if size > most:
                            break
                        yield chunk
            if size > most:
                raise self.error(f"its body is larger than {most:,} bytes; ask for less at once, or raise max_bytes")
            if is_cut_short(self.raw, size):
                cut = self.error("its body is cut short: what its Content-Encoding packed doesn't end")
                cut.transient = True
                raise cut
        except HttpError:
            self.close()  # the rest isn't wanted, so the connection can't be used again
            raise

    def _start(self) -> str:
        """How the body starts. Secrets go before it is cut, so that no half of one is left."""
        if self._content_consumed:
            body, size = self.content or b"", f"{len(self.content or b''):,} bytes, "
        else:
            body, size = next(self.iter_content(_LOOKED_AT_BYTES), b""), ""
        return f"{size}starting {self.quoted(body[:_LOOKED_AT_BYTES].decode('utf-8', 'replace'))!r}"

    def quoted(self, text: str) -> str:
        """How a part of the answer starts, as an error may quote it."""
        return redact(text[:_LOOKED_AT_BYTES], self.limits.secrets)[:_SHOWN_CHARS]


def asked(request: PreparedRequest) -> str:
    """A request as an error names it."""
    return f"{request.method} {shown_url(str(request.url))}"


def secrets_of(request: PreparedRequest) -> list[str]:
    """What a server may quote of the request, and no error may: headers, the long parameters, user and password."""
    found = [value for name, value in parse_qsl(urlsplit(str(request.url)).query) if not is_number_or_date(value)]
    found = [value for value in found if len(value) >= _SECRET_VALUE_CHARS]
    userinfo = urlsplit(str(request.url)).netloc.rpartition("@")[0]
    parts = [unquote(part) for part in userinfo.split(":")]
    for name, value in request.headers.items():
        if name.lower() in _ORDINARY_HEADERS:
            continue
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        parts += [text, *text.split()[1:], *basic_pair(text)]
    return [*found, *(part for part in parts if len(part) >= _SECRET_CHARS)]


def basic_pair(header: str) -> list[str]:
    """User and password of an Authorization of type Basic; [] of any other."""
    scheme, _, code = header.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        user, _, password = base64.b64decode(code).decode("utf-8", "replace").partition(":")
        return [user, password]
    except (binascii.Error, ValueError):
        return []


@contextmanager
def in_our_words(request: PreparedRequest, limits: Limits) -> Iterator[None]:
    """Turn what requests and urllib3 raise into HttpError. Not chained: their texts hold the whole address."""
    try:
        yield
    except HttpError:
        raise
    except (RequestException, HTTPError, OSError) as error:
        text = redact(f"{asked(request)}: {_cause(error, limits)}", limits.secrets)
        told = HttpError(text, request=request, response=getattr(error, "response", None))
        told.transient = _transient(error)
        raise told from None


def _transient(error: Exception) -> bool:
    """A connection that failed or broke, or took too long; not one that was refused for what was asked."""
    if isinstance(error, RequestException):
        broken = isinstance(error, (requests.ConnectionError, Timeout, ChunkedEncodingError))
        return broken and not isinstance(error, SSLError)
    return isinstance(error, (HTTPError, TimeoutError, ConnectionError))


def _cause(error: Exception, limits: Limits) -> str:
    if time.monotonic() >= limits.until:
        return f"not answered whole within its deadline of {limits.deadline_s:g} s"
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    if isinstance(inner, ProtocolError):
        inner = inner.args[-1]
    if isinstance(error, ConnectTimeout):
        return "no connection in time: the server doesn't answer"
    if isinstance(error, ReadTimeout) or isinstance(inner, ReadTimeoutError):
        return "the server fell silent: nothing came within the timeout of a read"
    if isinstance(error, TooManyRedirects):
        last = error.response.url if error.response is not None else ""
        return f"redirected too often, the last time from {shown_url(str(last))}"
    said = _OBJECT.sub("", " ".join(str(inner).split()))[:_CAUSE_CHARS]
    advice = "; give the file of its authority as verify=" if isinstance(error, SSLError) else ""
    return f"{type(error).__name__}: {said}{advice}"
