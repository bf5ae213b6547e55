"""A feature: one column, where its values are in a record, and their type."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from api2db.errors import ConfigError
from api2db.form.column import Column
from api2db.form.kinds import BOOL, FLOAT, INT, SUFFIX_TYPES, SUFFIXES, Kind, feature_kind
from api2db.form.path import Path, Records, parse_path
from api2db.form.step import Step
from api2db.form.tally import MISSING, Tally
from api2db.form.times import NAIVE, UTC


class Feature(Step):
    """One column of the table.

    key      the column's name
    lam      a function of a record, or a path into it: ``"properties.mag"``, ``"properties.time:ms"``
    dtype    ``int``, ``float``, ``bool``, ``str``; ``datetime.datetime`` and ``datetime.date`` (of ISO-8601 text),
             ``decimal.Decimal``, ``dict`` and ``list`` (as JSON); None: found from the values. Any other callable
             makes text of what it returns.
    nan_*    stands for values that can't be found or don't fit, by type; ``nan_str`` for texts none, nan, null
             and nil too

    Raises ConfigError for a path or a type that can't be.
    """

    ctype = "feature"

    def __init__(
        self,
        key: str,
        lam: Callable[[Any], Any] | str,
        dtype: Any = None,
        nan_int: int | None = None,
        nan_float: float | None = None,
        nan_bool: bool | None = False,
        nan_str: str | None = None,
    ) -> None:
        self.key = key
        self.lam = lam
        self.dtype = dtype
        self.nan_int = nan_int
        self.nan_float = nan_float
        self.nan_bool = nan_bool
        self.nan_str = nan_str
        self.path, self.kind = _resolve(key, lam, dtype)
        self.fill = self._fill()

    def lam_wrap(self, lam_arg: Any) -> Any:
        """The value of one record, as Python has it."""
        found = self._column([self._find(lam_arg, Tally())]).array
        if found.type != UTC or found.null_count:
            return found[0].as_py()
        # Arrow would look the zone up in a database that a bare machine lacks.
        return found[0].cast(NAIVE).as_py().replace(tzinfo=dt.UTC)

    def column(self, records: Records, rows: Sequence[object]) -> Column:
        """The values of all records. ``records`` reads the same rows by path."""
        if type(self).lam_wrap is not Feature.lam_wrap:
            return self._column([self.lam_wrap(row) for row in rows])
        if self.path is not None:
            return self._column(records.values(self.path, self._missing))
        tally = Tally()
        column = self._column([self._find(row, tally) for row in rows])
        return Column(column.array, column.nulled + tally.nulled, column.replaced, column.json)

    def _column(self, values: Sequence[object]) -> Column:
        return self.kind.column(values, self.fill)

    @property
    def _missing(self) -> object:
        """A null in the payload is ``bool(None)``, a missing key is ``nan_bool``: only there they can differ."""
        return MISSING if self.kind is BOOL and self.fill is not False else None

    def _find(self, row: object, tally: Tally) -> object:
        if self.path is not None:
            return self.path.read(row, self._missing)
        assert callable(self.lam)
        try:
            return self.lam(row)
        except LookupError:
            return MISSING
        except Exception:  # noqa: BLE001
            tally.nulled += 1
            return MISSING

    def _fill(self) -> object:
        """The documented stand-in of this type, as the column's own type; None leaves nulls."""
        if self.kind.name in (INT.name, FLOAT.name, BOOL.name):
            given: Any = {INT.name: self.nan_int, FLOAT.name: self.nan_float, BOOL.name: self.nan_bool}[self.kind.name]
            filled = None if given is None else self.kind.convert(given, Tally())
            if filled is None and given is not None and given == given:
                raise ConfigError(f"feature {self.key!r}: {given!r} can't stand for a missing {self.kind.name}")
            return filled
        return str(self.nan_str) if self.kind.name == "str" and self.nan_str is not None else None


def _resolve(key: str, lam: Callable[[Any], Any] | str, dtype: Any) -> tuple[Path | None, Kind]:
    if not isinstance(lam, str):
        if not callable(lam):
            raise ConfigError(f"feature {key!r}: {lam!r} is neither a path nor a function of a record")
        return None, feature_kind(dtype)
    path, suffix = parse_path(lam, SUFFIXES)
    if suffix is None:
        return path, feature_kind(dtype)
    kind = SUFFIXES[suffix]
    if dtype is not None and dtype not in SUFFIX_TYPES[suffix]:
        raise ConfigError(f"feature {key!r}: {lam!r} says another kind than dtype {dtype!r}; leave one of them out")
    return path, kind
