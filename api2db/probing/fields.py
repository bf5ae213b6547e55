"""What records have in common: their columns, and which of them is the key, the version, a time."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from api2db.form.path import parse_path

DEPTH: Final = 3
"""Objects in objects become columns of their own so deep; what is deeper stays JSON."""

_SHORT_LIST: Final = 4
"""A list of plain values, always as long, and no longer: a place's coordinates, say. Each is a column."""

_EARLIEST, _LATEST = 631_152_000, 4_102_444_800  # 1990 and 2100, in seconds since 1970
_UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_TIME_WORDS: Final = re.compile(r"(^|_)(time|timestamp|ts|at|on|date|day|created|updated|modified|changed|when)($|_)")
_VERSION_WORDS: Final = re.compile(r"(^|_)(updated|modified|changed|edited|lastmodified|lastupdated|lastupdate)($|_)")
_CREATED_WORDS: Final = re.compile(r"(^|_)(created|published|inserted|time|timestamp|date|at)($|_)")
_KEY_NAMES: Final = (
    "id",
    "uuid",
    "guid",
    "_id",
    "_key",
    "key",
    "uid",
    "code",
    "sha",
    "number",
    "slug",
    "name",
    "symbol",
)
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_OF_TEXT: Final = ("int", "float", "bool")
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,2})?")
_OBJECT: Final = object()
"""For an object that becomes columns of its own: other records may have something else there."""
_NOT_PLAIN: Final = re.compile(r"[^0-9a-zA-Z]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Sureness(Enum):
    """How sure a finding is, in the words that a written collector has for it."""

    SURE = "sure"
    LIKELY = "likely"
    GUESS = "a guess"


@dataclass(frozen=True)
class Column:
    """A column that records could become.

    name     what it would be called in a table
    path     where it is in a record, as a form writes it
    kind     ``int float str bool ms s us ns iso date json``, ``null`` where every value is; of lists ``list``, of lists
             of objects ``objects``
    present  of so many records it has a value
    distinct so many different values, of those that can be compared
    text     are its values text, whatever their kind?
    """

    name: str
    path: str
    kind: str
    present: int
    distinct: int
    example: object
    text: bool = False

    @property
    def is_time(self) -> bool:
        return self.kind in (*_UNITS, "iso", "date")

    @property
    def declared(self) -> str:
        """The path with its kind, where a form needs to be told: a number or text that is a time, a text a number."""
        told = self.is_time or (self.text and self.kind in _OF_TEXT)
        return f"{self.path}:{self.kind}" if told else self.path


@dataclass(frozen=True)
class Choice:
    """A column that was chosen, how sure that is, and why."""

    column: Column
    sureness: Sureness
    why: str


def columns_of(records: Sequence[Mapping[str, object]], *, text: bool = False) -> list[Column]:
    """The columns of some records, in the order in which they first appear; names are each there once.

    text  their values are all text: what they look like is their kind, and nothing is a text without letters
    """
    values: dict[str, list[object]] = {}
    for record in records:
        for path, value in _leaves(record, DEPTH):
            values.setdefault(path, []).append(value)
    found = []
    for path, given in values.items():
        present = [value for value in given if value is not None and not (text and value == "")]
        if any(value is _OBJECT for value in given):
            present = [{} if value is _OBJECT else value for value in present]
            if all(value == {} for value in present):
                continue  # its own columns say it
        short = _short_list(present)
        if short:
            for at in range(short):
                items = [value[at] for value in present]  # type: ignore[index]
                found.append((f"{path}.{at}", items))
        else:
            found.append((path, present))
    names = _names([path for path, _ in found])
    return [_column(names[path], path, present, text=text) for path, present in found]


def key_of(columns: Sequence[Column], count: int) -> Choice | None:
    """The column that tells records apart; None if no single one does."""
    whole = [
        column
        for column in columns
        if column.present == column.distinct == count > 0
        and (column.kind in ("int", "str") or (column.is_time and not _VERSION_WORDS.search(column.name)))
    ]
    if not whole or count < 2:
        return None  # of one record every column could be
    best = min(whole, key=lambda column: (_key_rank(column), columns.index(column)))
    told = f"{count:,} records, {count:,} different values"
    if _key_rank(best) > len(_KEY_NAMES):
        return Choice(best, Sureness.GUESS, f"{told}, but its name doesn't say that it is one")
    if count < 10:
        return Choice(best, Sureness.LIKELY, f"{told}: few to go by")
    return Choice(best, Sureness.SURE, told)


def version_of(columns: Sequence[Column], count: int) -> Choice | None:
    """The time at which a record was last changed."""
    return _time(columns, count, _VERSION_WORDS)


def born_of(columns: Sequence[Column], count: int) -> Choice | None:
    """The time at which a record came to be, or which it is about."""
    return _time([one for one in columns if not _VERSION_WORDS.search(one.name)], count, _CREATED_WORDS)


def lists_of(columns: Sequence[Column]) -> list[Column]:
    """Those whose values are lists of objects: they could be a table of their own."""
    return [column for column in columns if column.kind == "objects"]


def items_of(column: Column, records: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """The objects in the lists of a column."""
    path = parse_path(column.path, ())[0]
    lists = [path.read(record) for record in records]
    return [item for found in lists if isinstance(found, list) for item in found if isinstance(item, Mapping)]


def plain_name(text: str) -> str:
    """As a column or a function may be called: lower case, digits and ``_``."""
    name = _NOT_PLAIN.sub("_", _HUMP.sub("_", text)).strip("_").lower()
    return f"_{name}" if name[:1].isdigit() else name or "value"


def _time(columns: Sequence[Column], count: int, words: re.Pattern[str]) -> Choice | None:
    named = [column for column in columns if column.is_time and words.search(column.name) and column.present]
    if not named:
        return None
    best = max(named, key=lambda column: (column.present, -column.path.count("."), -columns.index(column)))
    if best.present < count:
        return Choice(best, Sureness.GUESS, f"{count - best.present:,} of {count:,} records have none")
    return Choice(best, Sureness.LIKELY, "by its name, and its values are times")


def _key_rank(column: Column) -> int:
    last = column.path.rpartition(".")[2].lower()
    if last in _KEY_NAMES:
        return _KEY_NAMES.index(last) + 20 * column.path.count(".")
    return 10 if last.endswith(("_id", "id")) else len(_KEY_NAMES) + 100


def _leaves(value: Mapping[str, object], depth: int, path: str = "") -> Iterator[tuple[str, object]]:
    for key, inner in value.items():
        if not str(key):
            continue  # no path leads there
        here = f"{path}.{escaped(str(key))}" if path else escaped(str(key))
        if isinstance(inner, Mapping) and inner and depth > 1:
            yield here, _OBJECT
            yield from _leaves(inner, depth - 1, here)
        else:
            yield here, inner


def escaped(key: str) -> str:
    """A key as one part of a path."""
    return re.sub(r"([\\.:])", r"\\\1", key)


def _short_list(values: Sequence[object]) -> int:
    """How long all of them are, if they are short lists of numbers; else 0."""
    lengths = {len(value) if isinstance(value, list) else 0 for value in values}
    if len(lengths) != 1 or not 0 < (length := lengths.pop()) <= _SHORT_LIST:
        return 0
    numbers = all(_is_number(item) for value in values for item in value)  # type: ignore[attr-defined]
    return length if numbers and length > 1 else 0


def _names(paths: Sequence[str]) -> dict[str, str]:
    """The last key of each, with those before where that isn't enough, and a number where nothing is."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        parts = re.split(r"(?<!\\)\.", path)
        least = next((at for at in range(1, len(parts) + 1) if not parts[-at].isdigit()), len(parts))
        options = [plain_name("_".join(parts[-at:])) for at in range(least, len(parts) + 1)]
        name = next((one for one in options if one not in taken), None)
        number = 2
        while name is None:
            numbered = f"{options[-1]}_{number}"
            name, number = (numbered if numbered not in taken else None), number + 1
        taken.add(name)
        names[path] = name
    return names


def _column(name: str, path: str, present: Sequence[object], *, text: bool) -> Column:
    kind = _kind(name, _meant(present) if text else present)
    comparable = [value for value in present if isinstance(value, (str, int, float))]
    example = present[0] if present else None
    return Column(name, path, kind, len(present), len(set(comparable)), example, text)


def _meant(texts: Sequence[object]) -> Sequence[object]:
    """What texts say, where all of them say numbers, or true and false. A number that begins with zeros is a name."""
    words = [str(text) for text in texts]
    if not all(isinstance(text, str) for text in texts):
        return texts
    if all(_WHOLE.fullmatch(word) for word in words):
        return [int(word) for word in words]
    if all(_NUMBER.fullmatch(word) for word in words):
        return [float(word) for word in words]
    if all(word.lower() in ("true", "false") for word in words):
        return [word.lower() == "true" for word in words]
    return texts


def _kind(name: str, present: Sequence[object]) -> str:
    if not present:
        return "null"
    if all(isinstance(value, bool) for value in present):
        return "bool"
    if all(_is_number(value) for value in present):
        if any(isinstance(value, float) and value != int(value) for value in present if abs(value) < 2**63):  # type: ignore[arg-type]
            return "float"
        return _unit(name, present) or ("int" if all(isinstance(value, int) for value in present) else "float")
    if all(isinstance(value, str) for value in present):
        return _text_kind([str(value) for value in present])
    if all(isinstance(value, list) for value in present):
        inner = [item for value in present for item in value]  # type: ignore[attr-defined]
        return "objects" if inner and all(isinstance(item, Mapping) for item in inner) else "list"
    return "json"


def _unit(name: str, present: Sequence[object]) -> str | None:
    """The unit in which numbers could be times of our time, if their name says that they are times."""
    for unit, factor in _UNITS.items():
        if all(_EARLIEST * factor <= value <= _LATEST * factor for value in present):  # type: ignore[operator]
            return unit if unit != "s" or _TIME_WORDS.search(name) else None
    return None


def unit_of(value: int) -> str | None:
    """The unit in which a number is a time of our time."""
    return next((unit for unit, factor in _UNITS.items() if _EARLIEST * factor <= value <= _LATEST * factor), None)


def is_value(name: str) -> bool:
    """Is what should be a column's name a number, a time, or nothing?"""
    return not name or not isinstance(_meant([name])[0], str) or _text_kind([name]) != "str"


def _text_kind(texts: Sequence[str]) -> str:
    given = [text for text in texts if text]
    if given and all(_DAY.fullmatch(text) for text in given) and all(map(_is_iso, given)):
        return "date"
    if given and all(_ISO.match(text) for text in given) and all(map(_is_iso, given)):
        return "iso"
    return "str"


def _is_iso(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
