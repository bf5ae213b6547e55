"""An API: where it is, how it is asked, and its answers page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from api2db.durations import seconds
from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.secret import remember, shown_url
from api2db.sizes import size_bytes
from api2db.sources.rest import options
from api2db.sources.rest.ask import Ask, as_params, is_address, joined, json_body
from api2db.sources.rest.declared import check_options, check_whole, checked, mistaken
from api2db.sources.rest.page import NO_CURSOR, RestPage
from api2db.sources.rest.paging import Detect, Paging
from api2db.sources.rest.records import selector
from api2db.sources.rest.since import SinceWalk, held_in, taken_out
from api2db.sources.rest.walk import Plan, Walk, begun_at

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.incremental.incremental import Incremental
    from api2db.sources.net.fetcher import Fetcher

_WAITS: Final = ("connect_s", "read_s", "deadline_s")
_HTTP_OPTIONS: Final = (*_WAITS, "max_bytes", "secrets")
OPTIONS: Final = ("auth", "rate", "concurrency", "params", "headers", "conditional", "retry", *_HTTP_OPTIONS)


class Rest:
    """An API at ``base``. Making one asks nothing; any number of collectors and threads may use it.

    auth           the name of its credentials, or what proves who asks
    rate           the most requests there may be to its host, "60/min"
    concurrency    the most requests under way to its host at once
    params, headers  sent with each request
    conditional    ask whether anything changed since the last poll, where the API can say so
    retry          what is asked again, and how often

    Besides them ``connect_s``, ``read_s``, ``deadline_s``, ``max_bytes`` and ``secrets`` as for ``Http``. Raises
    ConfigError, which names the line of the declaration.
    """

    def __init__(
        self,
        base: str,
        *,
        auth: object = None,
        rate: str | None = None,
        concurrency: int | None = None,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        conditional: bool = True,
        retry: object = None,
        **http: Any,
    ) -> None:
        check_options("Rest", http, OPTIONS)
        if not isinstance(base, str) or not is_address(base):
            shown = shown_url(base) if isinstance(base, str) else repr(base)
            raise mistaken(f"Rest({shown!r}): the base is an address that begins with https:// or http://")
        parts = urlsplit(base)
        if parts.query or parts.fragment:
            raise mistaken(
                f"Rest({shown_url(base)!r}): paths are put behind the base, so it can have no ? and no #: give the"
                " parameters of all requests as params={'name': 'value'}"
            )
        remember(unquote(parts.password or parts.username or ""))
        self.base = base
        self._params = checked(lambda: as_params(options.mapping("params", params)))
        self._headers = tuple(checked(lambda: options.mapping("headers", headers)).items())
        self._conditional = checked(lambda: options.conditional(conditional))
        self._detect = Detect()
        self.fetcher = checked(lambda: self._fetcher(auth, rate, concurrency, retry, http))

    def __repr__(self) -> str:
        return f"Rest({shown_url(self.base)!r})"

    def get(
        self,
        path: str = "",
        /,
        *,
        method: str = "GET",
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | str | None = None,
        **more: object,
    ) -> Answer:
        """One answer, whole, whether anything changed or not: for loops over pages of one's own.

        Other keywords are parameters, like ``params``. What is asked so is only read, whatever the method: it is
        asked again where it fails. Raises ConfigError, HttpError.
        """
        own = {**checked(lambda: options.mapping("params", params)), **more}
        ask = self.ask(method, path, params=own, headers=headers, json=json, body=body)
        fetched = self.fetcher.fetch(ask, conditional=False, repeatable=True)
        assert fetched.answer is not None
        return fetched.answer

    def pages(
        self,
        path: str = "",
        /,
        *,
        method: str = "GET",
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | str | None = None,
        records: object = None,
        paging: Paging | None = None,
        key: str | tuple[str, ...] | None = None,
        cursor: Any = NO_CURSOR,
        max_pages: int | None = None,
        deadline: float | str | None = None,
        format: str | None = None,
        charset: str | None = None,
        delimiter: str | None = None,
        decode: Callable[[Answer], object] | None = None,
        conditional: bool | None = None,
        ignore: tuple[int, ...] = (),
        incremental: Incremental | None = None,
        **more: object,
    ) -> Iterator[RestPage]:
        """The answers, one after the other; the next is asked for when the one before was taken.

        records      where the records are in an answer; found if it isn't said, and ``page.rows`` may say it
        paging       how the next page is asked for; found in the first answer if it isn't said
        key          the fields that identify a record: what moves to the next page while one reads comes once
        cursor       where to go on: what the collector was handed
        max_pages    of one poll
        deadline     of one poll: no page is asked for after it
        format       "json", "ndjson", "csv", "tsv" or "xml", where the Content-Type doesn't say it, or the wrong;
                     ``charset`` likewise, and what is between the values of CSV, ``delimiter``
        decode       makes the body's value of the answer, in their place
        ignore       statuses that mean that there is nothing, (404,) for example
        incremental  asks for what is new alone; it may be a parameter's value, too

        Other keywords are parameters, like ``params``. Raises ConfigError at once, SourceError on the way.
        """
        own, how = checked(lambda: taken_out({**options.mapping("params", params), **more}, incremental))
        ask = self.ask(method, path, params=own, headers=headers, json=json, body=body)
        plan = self.plan(
            ask,
            records=records,
            paging=paging,
            key=key,
            max_pages=max_pages,
            deadline=deadline,
            format=format,
            charset=charset,
            delimiter=delimiter,
            decode=decode,
            conditional=conditional,
            ignore=ignore,
        )
        if how is not None:
            checked(lambda: held_in(cursor))
            return (page for _, page in SinceWalk(how, plan, self.fetcher, cursor).pages())
        return Walk(plan, self.fetcher, begun_at(cursor)).pages()

    def graphql(
        self,
        query: str,
        variables: Mapping[str, object] | None = None,
        /,
        *,
        path: str = "/graphql",
        records: str | None = None,
        after: str = "after",
        **options: Any,
    ) -> Iterator[RestPage]:
        """The answers to a query. Where it takes ``$after`` it is asked again with each of the API's cursors.

        records  path of a connection below ``data``, "repository.issues": its nodes are the records
        after    the variable that takes the API's cursor

        The other options are those of ``pages``. An answer with errors is a SourceError. Raises ConfigError where
        the query takes no cursor or doesn't ask for pageInfo.
        """
        from api2db.sources.rest import graphql

        select, paging = checked(lambda: graphql.convention(query, records, after))
        asked: dict[str, Any] = {"method": "POST", "json": graphql.content(query, variables), "decode": graphql.decode}
        return self.pages(path, **{"records": select, "paging": paging, **asked, **options})

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | str | None = None,
    ) -> Ask:
        """A request to this API. Raises ConfigError."""
        return checked(lambda: self._ask(method, path, params or {}, headers or {}, json, body))

    def plan(
        self,
        ask: Ask,
        *,
        records: object = None,
        paging: Paging | None = None,
        key: str | tuple[str, ...] | None = None,
        max_pages: int | None = None,
        deadline: float | str | None = None,
        format: str | None = None,
        charset: str | None = None,
        delimiter: str | None = None,
        decode: Callable[[Answer], object] | None = None,
        conditional: bool | None = None,
        ignore: tuple[int, ...] = (),
    ) -> Plan:
        """A paged request as declared. Raises ConfigError."""
        if max_pages is not None:
            check_whole("max_pages=", max_pages, 1)
        return checked(
            lambda: Plan(
                ask,
                paging=self._detect if paging is None else _convention(paging),
                select=selector(records),
                decode=_decoder(decode, format, charset, delimiter),
                key=options.key(key),
                max_pages=max_pages,
                deadline_s=None if deadline is None else seconds(deadline),
                conditional=self._conditional if conditional is None else options.conditional(conditional),
                ignore=options.ignored(ignore),
            )
        )

    def _fetcher(
        self, auth: object, rate: str | None, concurrency: int | None, retry: object, http: dict[str, Any]
    ) -> Fetcher:
        # Light, unlike what it sends requests with; made here, so that what it can't take is told at the start.
        from api2db.sources.net.fetcher import Fetcher

        for name in _WAITS:
            if name in http and not (isinstance(http[name], (int, float)) and http[name] > 0):
                raise ConfigError(f"Rest({name}={http[name]!r}): give seconds, more than 0")
        remember(*_texts(http.get("secrets", ())), in_words=True)
        if "max_bytes" in http:
            size_bytes(http["max_bytes"])
        retried: dict[str, Any] = {} if retry is None else {"retry": retry}
        return Fetcher(
            auth=auth,
            home=self.base,
            rate=rate,
            concurrency=concurrency,
            conditional=self._conditional,
            http=http,
            **retried,
        )

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, object],
        headers: Mapping[str, str],
        json: object,
        body: bytes | str | None,
    ) -> Ask:
        if json is not None and body is not None:
            raise ConfigError("give json= or body=, not both")
        params, headers = options.mapping("params", params), options.mapping("headers", headers)
        ask = Ask(options.method(method), joined(self.base, path), self._params, self._headers).with_params(**params)
        data, kind = json_body(json) if json is not None else (body.encode() if isinstance(body, str) else body, ())
        own = {name.lower() for name in headers}
        kept = tuple(pair for pair in (*ask.headers, *kind) if pair[0].lower() not in own)
        return replace(ask, headers=(*kept, *headers.items()), body=data)


def _texts(secrets: object) -> tuple[str, ...]:
    if isinstance(secrets, (tuple, list, set, frozenset)) and all(isinstance(one, str) for one in secrets):
        return tuple(secrets)
    raise ConfigError("Rest(secrets=...): give texts in a tuple, also where it is only one: ('text',)")


def _document(answer: Answer) -> object:
    return answer.document()


def _decoder(
    decode: Callable[[Answer], object] | None, format: str | None, charset: str | None, delimiter: str | None
) -> Callable[[Answer], object]:
    """Raises ConfigError."""
    if format is None and charset is None and delimiter is None:
        return decode or _document
    if decode is not None:
        raise ConfigError("give decode= or format=, charset= and delimiter=, not both")
    from api2db.sources.decoding.reading import FORMATS, Said

    if format is not None and format not in FORMATS:
        raise ConfigError(
            f"format={format!r} is none of {', '.join(FORMATS)}{nearest(format, FORMATS)}; a parameter of the address"
            " that has the name of an option goes into params={...}"
        )
    said = Said(format, charset, delimiter)
    return lambda answer: answer.document(said.format, charset=said.charset, delimiter=said.delimiter)


def _convention(paging: object) -> Paging:
    if isinstance(paging, type) or not (hasattr(paging, "ask") and hasattr(paging, "after")):
        raise ConfigError(f"paging={paging!r} is no way of paging: give PageNumber(), OffsetLimit(), NextCursor(...)")
    return paging  # type: ignore[return-value]
