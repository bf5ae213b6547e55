"""What a source may hand over, told apart once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import pyarrow as pa

from api2db.errors import SourceError
from api2db.form.shaped import Form, Shaped
from api2db.form.tables import from_arrow, from_frame
from api2db.sources.page import Page


def items(returned: object) -> Iterator[object]:
    """The items of one poll: those of a generator as it makes them, else the one value returned."""
    if isinstance(returned, Iterator):
        return returned
    return iter((returned,))


def take_cursor(item: object) -> tuple[object, str | None]:
    """An item's records, and JSON text of the cursor it carries, if any. Raises SourceError."""
    if not isinstance(item, Page):
        return item, None
    try:
        return item.records, json.dumps(item.cursor)
    except (TypeError, ValueError) as error:
        raise SourceError(f"a Page's cursor must be a JSON value: {error}") from error


def shape(records: object, form: Form) -> Shaped | None:
    """The table of one item; None if it holds nothing. Frames and Arrow tables are tables already: no form.

    Raises SourceError for what isn't data at all, ShapeError for data that can't become a table.
    """
    if records is None:
        return None
    shaped = _table(records)
    if shaped is None:
        return _shaped(records, form)
    lacking = [name for name in getattr(form, "lists", ()) if name not in shaped.table.column_names]
    if lacking:
        raise SourceError(
            f"the source returned {_named(records)}, a table already, in which no children can be found"
            f" ({', '.join(lacking)}): return records, or leave children= out; page.rows(…) of a Rest takes them"
            f" as a column, {lacking[0]}=Children(…)"
        )
    return shaped


def _table(records: object) -> Shaped | None:
    """What is a table already."""
    if isinstance(records, Shaped):
        return records
    if isinstance(records, pd.DataFrame):
        return from_frame(records)
    if isinstance(records, pa.RecordBatch):
        return from_arrow(pa.Table.from_batches([records]))
    if isinstance(records, pa.Table):
        return from_arrow(records)
    return None


def _shaped(records: object, form: Form) -> Shaped | None:
    if isinstance(records, Mapping):
        return form.shape([records])
    if isinstance(records, Sequence) and not isinstance(records, (str, bytes, bytearray)):
        if not records:
            return None
        stray = next(
            (at for at, one in enumerate(records) if type(one) is not dict and not isinstance(one, (Mapping, list))),
            None,
        )
        if stray is None:
            return form.shape(records)
        raise SourceError(
            f"the source returned a list whose item {stray} is {_named(records[stray])};"
            " expected dicts, one per response"
        )
    raise SourceError(
        f"the source returned {_named(records)}; expected a list of dicts, None, a DataFrame, an Arrow table,"
        " a Page, or a generator of these"
    )


def _named(value: object) -> str:
    return f"{type(value).__name__} ({len(value)} long)" if isinstance(value, (str, bytes)) else type(value).__name__
