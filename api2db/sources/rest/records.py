"""Where in an answer the records are, and how what is there becomes a list of objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from api2db.errors import ConfigError, SourceError
from api2db.form.path import Path, parse_path
from api2db.sources.decoding.elements import Elements
from api2db.sources.decoding.named import NamedRows
from api2db.sources.rest.declared import checked, mistaken
from api2db.sources.rest.find import find_records, kind_of

Record = dict[str, Any]
_MISSING: Final = object()
_WHOLE: Final = ("", ".")
_KEYED: Final = "*"
_NO_NAMES: Final = "HeaderRow is for pages that have one each: find the records by a function of the answer"


class Select(Protocol):
    """Finds the records of a decoded answer. Raises SourceError where they aren't what was said."""

    def __call__(self, body: object) -> Sequence[Any]: ...


@dataclass(frozen=True)
class At:
    """The list at a path; an object there is one record, a null none. ``""`` is the whole answer."""

    path: str = ""

    def __post_init__(self) -> None:
        _check(self.path)

    def __call__(self, body: object) -> Sequence[Any]:
        found = _read(body, self.path)
        if found is None:
            return []
        if isinstance(found, dict):
            return [found]
        if isinstance(found, list):
            return found
        raise _unlike(self.path, "a list or an object", found)


@dataclass(frozen=True)
class Keyed:
    """An object of objects: each value is a record, its key the field ``key`` of it. ``"data.*"`` for short.

    ``value``: the field for what is under a key, where that is no object: ``{"EUR": 1.1, "USD": 1.2}``.
    """

    path: str = ""
    key: str = "_key"
    value: str | None = None

    def __post_init__(self) -> None:
        _check(self.path)
        if self.value == self.key:
            raise mistaken(f"Keyed({self.path!r}): key and value are both {self.key!r}")

    def __call__(self, body: object) -> Sequence[Any]:
        found = _read(body, self.path)
        if found is None or found == []:  # what PHP makes of an empty map
            return []
        if not isinstance(found, dict):
            raise _unlike(self.path, "an object whose values are records", found)
        if self.value is not None:
            return [{self.key: key, self.value: value} for key, value in found.items()]
        for key, value in found.items():
            if not isinstance(value, dict):
                raise SourceError(
                    f"the value at {_shown(self.path)}, key {key!r}, is {kind_of(value)}, not an object; where that is"
                    f" what is wanted, say Keyed({self.path!r}, value='value')"
                )
            if self.key in value:
                raise SourceError(
                    f"the records at {_shown(self.path)} have a field {self.key!r} of their own;"
                    f" give the keys another name: Keyed({self.path!r}, key=...)"
                )
        return [{self.key: key, **value} for key, value in found.items()]


@dataclass(frozen=True)
class HeaderRow:
    """A table of lists: the names of its columns are its first row, or at the path ``header`` of the answer.

    There they are texts, or objects that have the name as ``name``. Where the answer has none, ``columns`` are the
    names; rows may go on behind them, those values are left out.
    """

    path: str = ""
    header: str | None = None
    name: str = "name"
    columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check(self.path)
        _check(self.header or "")
        if self.columns is not None:
            object.__setattr__(self, "columns", self._said())

    def _said(self) -> tuple[str, ...]:
        if self.header is not None:
            raise mistaken("HeaderRow: the names are either in the answer, header=, or said, columns=")
        given = () if isinstance(self.columns, str) else tuple(self.columns or ())
        if not given or not all(isinstance(name, str) and name for name in given) or len(set(given)) < len(given):
            raise mistaken(f"HeaderRow(columns={self.columns!r}): different names are meant, ['time', 'price']")
        return given

    def __call__(self, body: object) -> Sequence[Any]:
        rows = _read(body, self.path)
        if rows is None:
            return []
        if not isinstance(rows, list):
            raise _unlike(self.path, "a list of lists", rows)
        if self.columns is not None:
            return self._records(rows, 0, self.columns)
        if self.header is not None:
            return self._records(rows, 0, self._names(_read(body, self.header)))
        if not rows:
            return []
        names = self._names(rows[0])
        return NamedRows(self._records(rows, 1, names), names, _NO_NAMES)

    def _records(self, rows: list[Any], first: int, names: Sequence[str]) -> list[Record]:
        records = []
        for number, row in enumerate(rows[first:], first):
            if not isinstance(row, list) or not self._fits(len(row), len(names)):
                found = f"{len(row)} values" if isinstance(row, list) else kind_of(row)
                raise SourceError(f"row {number} at {_shown(self.path)} is {found}, but there are {len(names)} columns")
            records.append(dict(zip(names, row, strict=False)))
        return records

    def _fits(self, values: int, names: int) -> bool:
        return values >= names if self.columns is not None else values == names

    def _names(self, found: object) -> list[str]:
        names: list[Any] = [item.get(self.name) if isinstance(item, dict) else item for item in _listed(found)]
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            where = _shown(self.path if self.header is None else self.header)
            raise SourceError(
                f"the header at {where} isn't a list of different names: {kind_of(found)}; where there is none, say"
                f" HeaderRow({self.path!r}, columns=[...])"
            )
        return names


@dataclass(frozen=True)
class Parallel:
    """Lists side by side, ``{"time": [1, 2], "temp": [20, 21]}``: the n-th values of all are the n-th record.

    What isn't a list there (a unit, a place) is in every record.
    """

    path: str = ""

    def __post_init__(self) -> None:
        _check(self.path)

    def __call__(self, body: object) -> Sequence[Any]:
        found = _read(body, self.path)
        if found is None:
            return []
        if not isinstance(found, dict):
            raise _unlike(self.path, "an object of lists", found)
        lists = {name: value for name, value in found.items() if isinstance(value, list)}
        if not lists:
            raise _unlike(self.path, "an object of lists", found)
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise SourceError(f"the lists at {_shown(self.path)} aren't of one length: {said}")
        rest = {name: value for name, value in found.items() if name not in lists}
        return [rest | dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


class Found:
    """Not said where: the one list of objects in the answer."""

    def __call__(self, body: object) -> Sequence[Any]:
        return At(find_records(body))(body)


def selector(where: object) -> Select:
    """What a person gave as ``records=``: a path, one of the classes here, or None. Raises ConfigError."""
    if where is None:
        return Found()
    if isinstance(where, str):
        if where == _KEYED or where.endswith("." + _KEYED):
            return Keyed(where[: -len(_KEYED)].removesuffix("."))
        return At(where)
    if callable(where):
        return where
    raise ConfigError(
        f"records={where!r} is neither a path ('data.items', 'data.*', '' for the whole answer)"
        " nor HeaderRow, Parallel, Keyed or a function of the answer"
    )


def objects(selected: object) -> Sequence[Any]:
    """The same records as dicts, once they are known to be objects, whatever kind of mapping. Raises SourceError.

    What a person's function selects may be any iterable of them.
    """
    if not isinstance(selected, Iterable) or isinstance(selected, (str, bytes, Mapping)):
        raise SourceError(f"what records= selected is {kind_of(selected)}, not a list of objects")
    rows = selected if isinstance(selected, Sequence) else list(selected)
    if set(map(type, rows)) <= {dict}:
        return rows
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            advice = (
                "; for a table of lists say records=HeaderRow(...), with columns=[...] where it has no names"
                if isinstance(row, list)
                else ""
            )
            raise SourceError(f"record {number} is {kind_of(row)}, not an object{advice}")
    return list(map(dict, rows))


def _parsed(path: str) -> Path:
    return Path(()) if path in _WHOLE else parse_path(path, ())[0]


def _check(path: str) -> None:
    """Raises ConfigError, which names the line of the declaration."""
    checked(lambda: _parsed(path))


def _read(body: object, path: str) -> Any:
    where = _parsed(path)
    found = where.read(body, _MISSING)
    if found is _MISSING and isinstance(body, Elements) and Path(where.parts[:-1]).read(body, _MISSING) is not _MISSING:
        return None
    if found is _MISSING:
        raise SourceError(f"there is nothing at {_shown(path)} in the answer, which is {kind_of(body)}")
    return found


def _listed(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _unlike(path: str, wanted: str, found: object) -> SourceError:
    return SourceError(f"at {_shown(path)} should be {wanted}, but there is {kind_of(found)}")


def _shown(path: str) -> str:
    return "the top of the answer" if path in _WHOLE else repr(path)
