"""The rows of a manifest: kept as one parquet file, sent as parquet, or as lines of JSON where a column is JSON.

BigQuery loads no JSON column from parquet ("Unsupported field type: JSON"), only from JSON and CSV.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from api2db.failpoint import change
from api2db.sinks.bigquery.columns import arrow_of
from api2db.sinks.bigquery.nested import RECORDS, arrow_of_nested, is_nested, value_of

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField
    from google.cloud.bigquery_storage_v1.types import AppendRowsRequest

    from api2db.sinks.bigquery.manifest import Manifest, Part

_ROW_GROUP = 100_000


class RowsLost(Exception):
    """A file of frozen rows is missing or damaged. The message is the end of a sentence that begins with its path."""


def schema_of(columns: Sequence[SchemaField]) -> pa.Schema:
    return pa.schema(
        [
            pa.field(column.name, arrow_of_nested(column) if is_nested(column) else arrow_of(column))
            for column in columns
        ]
    )


def write_rows(path: Path, columns: Sequence[SchemaField], chunks: Iterable[pa.RecordBatch], *, durable: bool) -> int:
    """One file of all chunks, each column of the table in it; how many rows. A chunk's missing columns are NULL."""
    schema, rows = schema_of(columns), 0
    nested = {column.name: column for column in columns if is_nested(column)}
    temporary = path.with_name(f".{path.name}.tmp")
    change(temporary)
    with open(temporary, "wb") as file, pq.ParquetWriter(file, schema, compression="snappy") as writer:
        for chunk in chunks:
            writer.write_table(_fitted(chunk, schema, nested), row_group_size=_ROW_GROUP)
            rows += chunk.num_rows
    if durable:
        with open(temporary, "rb") as written:
            change(temporary)
            os.fsync(written.fileno())
    os.replace(temporary, path)
    return rows


def _fitted(chunk: pa.RecordBatch, schema: pa.Schema, nested: Mapping[str, SchemaField]) -> pa.Table:
    given = dict(zip(chunk.schema.names, chunk.columns, strict=True))
    for name in given.keys() & nested.keys():
        texts = given[name].to_pylist()
        values = [None if text is None else value_of(text, nested[name]) for text in texts]
        given[name] = pa.array(values, schema.field(name).type)
    columns = [
        given[field.name].cast(field.type) if field.name in given else pa.nulls(chunk.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def opened(
    path: Path, columns: Sequence[SchemaField], start: int, stop: int, without: Sequence[int] = ()
) -> tuple[IO[bytes], str]:
    """Rows from one to before another, but for some, ready to be sent, and the name of their format.

    The caller closes it. Raises RowsLost.
    """
    as_json = any(column.field_type == "JSON" for column in columns)
    with _whole(path) as file:
        if not as_json and not without and (start, stop) == (0, file.metadata.num_rows):
            return open(path, "rb"), "PARQUET"
        table = file.read().slice(start, stop - start)
    if without:
        kept = np.ones(table.num_rows, np.bool_)
        kept[np.array(without) - start] = False
        table = table.filter(pa.array(kept))
    sent = io.BytesIO()
    if as_json:
        _write_lines(sent, table, columns)
    else:
        pq.write_table(table, sent, compression="snappy", row_group_size=_ROW_GROUP)
    sent.seek(0)
    return sent, "NEWLINE_DELIMITED_JSON" if as_json else "PARQUET"


def arrow_message(manifest: Manifest, part: Part, offset: int) -> AppendRowsRequest:
    """A part as one request of the Storage Write API, its first row at an offset of the manifest's stream."""
    from google.cloud.bigquery_storage_v1 import types

    batch = _read(manifest.rows_path, part.start, part.stop).combine_chunks().to_batches()[0]
    rows = types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes())
    schema = types.ArrowSchema(serialized_schema=batch.schema.serialize().to_pybytes())
    data = types.AppendRowsRequest.ArrowData(writer_schema=schema, rows=rows)
    return types.AppendRowsRequest(write_stream=manifest.write_stream, offset=offset, arrow_rows=data)


@contextmanager
def _whole(path: Path) -> Iterator[pq.ParquetFile]:
    """The file, open. Raises RowsLost for one that isn't there or isn't what was written."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise RowsLost("is missing") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise RowsLost(f"is damaged ({type(error).__name__})") from error  # pyarrow's own OSErrors have no number


def _read(path: Path, start: int, stop: int) -> pa.Table:
    """Rows from one to before another, without decoding more than the groups of rows they are in. Raises RowsLost."""
    with _whole(path) as file:
        groups: list[int] = []
        first = at = 0
        for index in range(file.num_row_groups):
            rows = file.metadata.row_group(index).num_rows
            if at < stop and at + rows > start:
                first = at if not groups else first
                groups.append(index)
            at += rows
        return file.read_row_groups(groups).slice(start - first, stop - start)


def compact_json(text: str) -> str | None:
    """JSON on one line, its numbers as they are; None for what isn't JSON."""
    try:
        return msgspec.json.format(text, indent=-1)
    except msgspec.DecodeError:
        return None


def _write_lines(sent: IO[bytes], table: pa.Table, columns: Sequence[SchemaField]) -> None:
    encode = msgspec.json.Encoder().encode
    shown = [(column.name, _shown(column)) for column in columns]
    for chunk in table.to_batches(max_chunksize=10_000):
        values = [chunk.column(name).to_pylist() for name, _ in shown]
        for row in zip(*values, strict=True):
            line = {name: show(value) for (name, show), value in zip(shown, row, strict=True) if value is not None}
            sent.write(encode(line))
            sent.write(b"\n")


def _shown(column: SchemaField) -> Callable[[Any], Any]:
    """How a value of a column, which isn't None, is written."""
    one = _shown_record(column) if column.field_type in RECORDS else _SHOWN.get(column.field_type, _as_it_is)
    return (lambda values: [one(value) for value in values]) if column.mode == "REPEATED" else one


def _shown_record(column: SchemaField) -> Callable[[Any], Any]:
    inside = {field.name: _shown(field) for field in column.fields}
    return lambda value: {name: show(value[name]) for name, show in inside.items() if value[name] is not None}


def _as_it_is(value: Any) -> Any:
    return value


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


_SHOWN: dict[str, Callable[[Any], Any]] = {
    "JSON": lambda text: msgspec.Raw(text.encode()),
    "BYTES": lambda data: base64.b64encode(data).decode(),
    "FLOAT": _float,
    "FLOAT64": _float,
    "INTEGER": str,  # a JSON number would go through a double
    "INT64": str,
    "NUMERIC": lambda number: format(number, "f"),
    "BIGNUMERIC": lambda number: format(number, "f"),
    "DECIMAL": lambda number: format(number, "f"),
    "BIGDECIMAL": lambda number: format(number, "f"),
    "DATE": str,
    "TIME": str,
    "DATETIME": lambda at: at.isoformat(sep=" "),
    "TIMESTAMP": lambda at: at.isoformat(sep=" "),
}
