"""The declaration: which field tells what is new, how the API is asked for it, and what it may be late by."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from functools import cached_property
from typing import Any, Final, Literal

import msgspec

from api2db.errors import ConfigError, SourceError
from api2db.form.path import Path, Records, parse_path
from api2db.sources.incremental.known import DIGEST_BYTES, KEY_BYTES
from api2db.sources.incremental.times import UNITS_US, Times
from api2db.sources.incremental.values import SUFFIXES, Kind, Numbers, Rank, Texts, kind_of, unreadable

ASCENDING: Final = "ascending"
NEWEST_FIRST: Final = "newest_first"
_ORDERS: Final = (ASCENDING, NEWEST_FIRST, None)
_KINDS: Final = (*SUFFIXES, "iso", "int", "float", "str")

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True)
class Incremental:
    """Only what is new, by a field that grows: a time of change, a number.

    field         its path in a record: ``"updated"``, ``"properties.updated:ms"``; with ``:iso`` its times are texts,
                  whatever ``format`` is sent
    param         the parameter that asks for what is newer; or parameters and their texts, in which ``{since}`` and
                  ``{until}`` stand for the bounds: ``{"q": "updated:>={since}"}``. None: the API can't be asked
    start         where the first poll begins, as the API has it; everything there is by default
    lag           rows appear up to this late: each poll reads again that far behind the newest row it has; a duration
                  for times, a number for numbers. What is seen again, and is the same, isn't delivered again
    inclusive     ``param`` asks for rows from there on; False: for those after it
    format        what ``param`` takes: "iso" (2026-01-31T12:00:00Z), "iso-naive" (without zone), "date", "s", "ms",
                  "us", "ns" (since 1970), "number", "text", "opaque" (text in an order that only the API knows), or a
                  pattern of strftime; by default as the field is read (``"updated:ms"``), or as ``start`` tells
    zone          of times that name none, in records and in what is sent
    window        ask for stretches this long, one after the other, as long as more than that is missing: "1d"
    until_param   the parameter for a window's end
    order         how the API's pages are sorted by the field: "ascending", "newest_first", or None: not at all
    sent_in       "params" of the request, or the fields of its "json" body, "filter.since" for one inside another
    identity      paths whose values tell one record from another; everything in it by default
    partitions    values each of which has a cursor of its own: accounts, stations
    partition_param   the parameter that takes one

    Frozen; knows nothing of HTTP. Raises ConfigError.
    """

    field: str
    param: str | Mapping[str, str] | None = None
    start: object = None
    lag: str | int | float | None = None
    inclusive: bool = True
    format: str | None = None
    zone: str = "UTC"
    window: str | int | float | None = None
    until_param: str | None = None
    order: Literal["ascending", "newest_first"] | None = None
    sent_in: Literal["params", "json"] = "params"
    identity: str | Sequence[str] | None = None
    partitions: Sequence[object] | None = None
    partition_param: str | None = None
    kind: Kind = made(init=False, repr=False, compare=False)
    lag_width: Rank | None = made(init=False, repr=False, compare=False)
    window_width: Rank | None = made(init=False, repr=False, compare=False)
    start_rank: Rank | None = made(init=False, repr=False, compare=False)
    _partitions: Mapping[str, object] = made(init=False, repr=False, compare=False, default_factory=dict)  # by name
    _path: Path = made(init=False, repr=False, compare=False)
    _key: tuple[Path, ...] = made(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        put = object.__setattr__
        try:
            path, suffix = parse_path(self.field, _KINDS)
            put(self, "_path", path)
            kind = kind_of(suffix, self.format, self.zone, self.start)
            put(self, "kind", kind)
            put(self, "lag_width", None if self.lag is None else kind.width(self.lag))
            put(self, "window_width", None if self.window is None else kind.width(self.window))
            put(self, "start_rank", None if self.start is None else self.at(self.start))
            self._check()
        except ConfigError as error:
            raise ConfigError(f"Incremental({self.field!r}): {error}") from None

    def at(self, value: object) -> Rank:
        """A value that a person names: ``start``, or where a cursor was reset to. Raises ConfigError."""
        try:
            return self.kind.told(self.kind.declared(value))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{value!r} is no value of {self.field!r}: {error}") from error

    def _check(self) -> None:
        if self.order not in _ORDERS:
            raise ConfigError(f"order={self.order!r}: 'ascending', 'newest_first' or None")
        if isinstance(self.kind, Texts) and self.kind.opaque and self.order != ASCENDING:
            raise ConfigError("format='opaque' needs order='ascending': the last record's value is where to go on")
        if self.sent_in not in ("params", "json"):
            raise ConfigError(f"sent_in={self.sent_in!r}: 'params' or 'json'")
        self._check_window()
        if (self.partitions is None) != (self.partition_param is None):
            raise ConfigError("partitions= and partition_param= belong together")
        if self.partitions is not None and (
            isinstance(self.partitions, str) or len(set(map(str, self.partitions))) != len(self.partitions)
        ):
            raise ConfigError("partitions= is a list of values, each once")
        if self.partitions is not None:
            object.__setattr__(self, "_partitions", {str(value): value for value in self.partitions})
            object.__setattr__(self, "partitions", tuple(self.partitions))
        if isinstance(self.param, Mapping) and not any("{since}" in text for text in self.param.values()):
            raise ConfigError("param= has no {since} in any of its texts")

    def _check_window(self) -> None:
        if self.window is None:
            return
        if not isinstance(self.kind, Times):
            raise ConfigError("window= needs times: where numbers end nobody knows")
        if self.start_rank is None:
            raise ConfigError("window= needs start=: where the first window begins")
        ends = self.until_param or (
            isinstance(self.param, Mapping) and any("{until}" in text for text in self.param.values())
        )
        if not ends:
            raise ConfigError("window= needs until_param=, or {until} in param=: how the API is told where it ends")
        if not self.window_width or not self.kind.tells_apart(self.window_width):
            raise ConfigError(f"window={self.window!r} is shorter than what format={self.kind.format!r} can say")

    @property
    def sends_numbers(self) -> bool:
        """Whether what is sent is a number, where there are numbers."""
        is_epoch = isinstance(self.kind, Times) and self.kind.format in UNITS_US
        return isinstance(self.param, str) and (is_epoch or isinstance(self.kind, Numbers))

    def partition(self, name: str) -> object:
        """The partition of that name as JSON takes it: what was declared as a number is one."""
        value = self._partitions.get(name, name)
        return value if isinstance(value, (bool, int, float)) else name

    def ranks(self, records: Sequence[Any]) -> list[Rank | None]:
        """What a page's records hold at the field, comparable; None where one holds nothing. Raises SourceError."""
        values = Records(records, (self._path,)).values(self._path)
        try:
            return self.kind.ranks(values)
        except (ValueError, TypeError, ArithmeticError):
            for number, value in enumerate(values, 1):
                try:
                    self.kind.ranks([value])
                except (ValueError, TypeError, ArithmeticError) as error:
                    raise unreadable(self.field, number, value, error) from None
            raise

    def keyed(self, key: Sequence[str]) -> Incremental:
        """The same, for records of which those paths tell one from another, whatever else is in them."""
        made = copy.copy(self)
        object.__setattr__(made, "_key", tuple(parse_path(path, ())[0] for path in key))
        return made

    def digest(self, record: Any, rank: Rank | None) -> bytes:
        """What a record is known by: its content, or what ``identity`` names of it; where it is keyed, key and rank
        (``KEY_BYTES``) before that: of those that are alike in them the newest alone is known.
        """
        told = record if not self._identity else [path.read(record) for path in self._identity]
        if self._identity and all(value is None for value in told):
            raise SourceError(f"a record has nothing at identity={self.identity!r}: it can't be told from another")
        content = _hashed(told, DIGEST_BYTES)
        key = [path.read(record) for path in self._key]
        return content if not key or None in key else _hashed([*key, repr(rank)], KEY_BYTES) + content

    @cached_property
    def _identity(self) -> tuple[Path, ...]:
        paths = (self.identity,) if isinstance(self.identity, str) else tuple(self.identity or ())
        return tuple(parse_path(path, ())[0] for path in paths)

    def params(self, low: Rank | None, until: Rank | None, partition: str = "") -> dict[str, str]:
        """The parameters that ask for [low, until); of an open end ``until`` is now. Empty where nothing is asked."""
        kind = self.kind
        since = None if low is None else kind.text(low) if self.inclusive else kind.before(low)
        end = None if until is None else kind.after(until)
        found: dict[str, str] = {}
        if isinstance(self.param, Mapping):
            if since is not None:
                found = {name: _filled(text, since, end) for name, text in self.param.items()}
        elif self.param is not None and since is not None:
            found[self.param] = since
        if self.until_param is not None and end is not None:
            found[self.until_param] = end
        if self.partition_param is not None:
            found[self.partition_param] = partition
        return found


def _hashed(value: Any, size: int) -> bytes:
    try:
        text = _encode(value)
    except (UnicodeError, TypeError, ValueError, OverflowError):
        text = json.dumps(value, sort_keys=True, default=repr).encode()
    return hashlib.blake2b(text, digest_size=size).digest()


def _filled(text: str, since: str, until: str | None) -> str:
    return text.replace("{since}", since).replace("{until}", until or "")
