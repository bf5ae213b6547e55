"""A question to the event service: how it is written in an address, and what answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from api2db.demo.recording import Recording, Version

_MAX_LIMIT = 20_000
_ORDERS: dict[str, Callable[[Version], float]] = {
    "time": lambda version: -version.feature["properties"]["time"],
    "time-asc": lambda version: version.feature["properties"]["time"],
    "magnitude": lambda version: -version.feature["properties"]["mag"],
    "magnitude-asc": lambda version: version.feature["properties"]["mag"],
}
_TIMES = ("updatedafter", "starttime", "endtime")


class BadRequest(ValueError):
    """The service would refuse this query; the message is its reason."""


@dataclass(frozen=True)
class Query:
    """One question and the replay time of its answer: together they are the answer. Epoch milliseconds."""

    at_ms: int
    updatedafter_ms: int | None = None
    starttime_ms: int | None = None
    endtime_ms: int | None = None
    orderby: str = "time"
    limit: int | None = None
    offset: int = 1


def answer(recording: Recording, query: Query) -> list[Version]:
    """The current versions at the query's time that it asks for, in its order."""
    chosen = [
        version
        for version in recording.current(query.at_ms)
        if (query.updatedafter_ms is None or version.updated_ms > query.updatedafter_ms)
        and (query.starttime_ms is None or version.feature["properties"]["time"] >= query.starttime_ms)
        and (query.endtime_ms is None or version.feature["properties"]["time"] <= query.endtime_ms)
    ]
    chosen.sort(key=lambda version: (_ORDERS[query.orderby](version), version.id))
    return chosen[query.offset - 1 :][: query.limit]


def parse_query(parameters: list[tuple[str, str]]) -> Query:
    """The query of a request's parameters, at time 0. Raises BadRequest with the service's kind of reason."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in ("format", "orderby", "limit", "offset", *_TIMES):
            raise BadRequest(f'Unknown parameter "{name}".')
        given[name] = value
    if given.get("format") != "geojson":
        raise BadRequest(f'Bad format value "{given.get("format", "")}". Valid values are: "geojson".')
    order = given.get("orderby", "time")
    if order not in _ORDERS:
        raise BadRequest(f'Bad orderby value "{order}". Valid values are: {", ".join(_ORDERS)}.')
    times_ms = {name: _time_ms(name, given[name]) if name in given else None for name in _TIMES}
    return Query(
        at_ms=0,
        updatedafter_ms=times_ms["updatedafter"],
        starttime_ms=times_ms["starttime"],
        endtime_ms=times_ms["endtime"],
        orderby=order,
        limit=_whole("limit", given["limit"], _MAX_LIMIT) if "limit" in given else None,
        offset=_whole("offset", given.get("offset", "1"), 10**9),
    )


def _time_ms(name: str, text: str) -> int:
    if text.isascii() and text.lstrip("-").isdigit() and len(text) > 8:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f'Bad {name} value "{text}". Valid values are ISO-8601 timestamps.') from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _whole(name: str, text: str, maximum: int) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= maximum:
        return int(text[:12])
    raise BadRequest(f'Bad {name} value "{text}". Valid values are integers from 1 to {maximum}.')
