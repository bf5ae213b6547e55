"""How far an incremental source has read: the largest value of a column among the rows accepted."""

from __future__ import annotations

import datetime
import decimal
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api2db.durations import seconds
from api2db.errors import ConfigError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa

_UTC = datetime.UTC


@dataclass(frozen=True)
class Cursor:
    """Given as the default of a collector function's parameter; the function is called with where to go on.

    column  the column, as the form names it, whose largest accepted value is the cursor
    start   what the first poll gets: a number or text, as the API wants it
    lag     read again this far behind the cursor, for APIs that publish late: a duration ("10m")
            for times, a number for numbers

    Times are handed over as ISO-8601 text in UTC with microseconds, numbers and text as they are. The cursor
    moves by the rename that accepts the batch, and never back. So of several batches in one poll each has to be newer
    than the one before: a poll that ends between two of them goes on behind what it has (``Incremental`` doesn't).
    """

    column: str
    start: str | int | float | None = None
    lag: str | int | float | None = None

    def since(self, reached: str | None) -> object:
        """What the function is called with. ``reached`` is JSON text as ``after`` made it; None at the start."""
        if reached is None:
            return self.start
        value = json.loads(reached)
        return value if self.lag is None else _minus(value, self.lag, self.column)

    def after(self, table: pa.Table, reached: str | None) -> str | None:
        """JSON text of the cursor once ``table`` is accepted. Raises SourceError if there is no such column."""
        if self.column not in table.column_names:
            raise SourceError(
                f"the cursor's column {self.column!r} isn't among the rows' columns ({', '.join(table.column_names)})"
            )
        # Not when a module that declares a collector is imported: its own process may never need them.
        import pyarrow as pa
        import pyarrow.compute as pc

        column = table.column(self.column)
        if pa.types.is_null(column.type):
            return reached
        largest = _plain(pc.max(column).as_py())
        if largest is None:
            return reached
        if reached is not None:
            before = json.loads(reached)
            # Of another type than before: the form has changed, and the new values count.
            alike = type(before) is type(largest) or (_is_number(before) and _is_number(largest))
            if alike and before >= largest:
                return reached
        return json.dumps(largest)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: object) -> Any:
    """As JSON can hold it; times in one fixed-width form, so that their text order is their order."""
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=_UTC)
        text = aware.astimezone(_UTC).isoformat(timespec="microseconds")
        return text if value.tzinfo else text.removesuffix("+00:00")
    if isinstance(value, (datetime.date, datetime.time)):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value == int(value) else float(value)
    if isinstance(value, bytes):
        raise SourceError("a cursor can't be a column of bytes")
    return value


def _minus(value: object, lag: str | int | float, column: str) -> object:
    if isinstance(value, (int, float)) and not isinstance(lag, str):
        return value - lag
    if isinstance(value, str):
        try:
            then = datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise ConfigError(f"Cursor({column!r}): lag needs times or numbers, but the column holds text") from error
        earlier = then - datetime.timedelta(seconds=seconds(lag))
        return earlier.isoformat(timespec="microseconds")
    raise ConfigError(f"Cursor({column!r}): a lag of {lag!r} can't be taken from {value!r}")
