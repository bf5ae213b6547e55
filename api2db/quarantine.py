"""Where rows and payloads go that can never load: beside the reason, so that they can be mended and replayed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from api2db.batch import Batch
from api2db.errors import StoreError, StoreFullError, in_one_line
from api2db.failpoint import reach
from api2db.files import make_dir, write_atomic
from api2db.layout import ACCEPTED, HELD, Layout
from api2db.secret import redact
from api2db.usage import Usage

REASON = "_quarantine_reason"  # the columns added to the rows
ROW = "_quarantine_row"
SOURCE = "source"  # the directory of payloads that couldn't be shaped
PAYLOADS_KEPT = 100  # of each collector: enough to see what is wrong, whatever a broken source sends


class RowQuarantine:
    """Keeps the rows one stream's place refuses: STORE/quarantine/<collector>/<stream>/<batch id>.parquet.

    usage  where the files' bytes are counted, towards the collector's limit

    The file has the batch's columns, ``_quarantine_reason`` (text) and ``_quarantine_row`` (which row of the batch it
    is, counted from 0). It is on disk when the call returns; a batch that is loaded again writes the same file again.
    Rows that the batch was loaded without stay in it.
    """

    def __init__(
        self, layout: Layout, collector: str, stream: str, *, usage: Usage | None = None, durable: bool = True
    ) -> None:
        self.directory = layout.quarantine(collector, stream)
        self._collector = collector
        self._usage = usage
        self._durable = durable

    def __call__(self, batch: Batch, rows: pa.Table, reasons: Sequence[str], at: Sequence[int] | None = None) -> None:
        make_dir(self.directory, flush=self._durable)
        path = self.directory / f"{batch.batch_id}.parquet"
        table = rows.append_column(REASON, pa.array(list(reasons), pa.string()))
        if at is not None:
            table = table.append_column(ROW, pa.array(batch.numbers(at), pa.int64()))
        before = path.stat().st_size if path.exists() else 0
        if before and batch.left_out:
            table = _with_those_left_out(path, table, batch.left_out)
        table = table.replace_schema_metadata(
            {"api2db.batch_id": batch.batch_id, "api2db.created_ns": str(batch.created_ns)}
        )
        out = pa.BufferOutputStream()
        pq.write_table(table, out)
        data = out.getvalue()
        write_atomic(path, data, flush=self._durable)
        if self._usage is not None:
            self._usage.add(self._collector, data.size - before)  # it is kept until a person has looked: it counts
        reach("quarantine.written")


def _with_those_left_out(path: Path, refused: pa.Table, left_out: Sequence[int]) -> pa.Table:
    """What is in the file already of rows the batch was loaded without, and what is refused of it now."""
    try:
        there = pq.read_table(path)
        row = there.column(ROW)
        stays = pc.or_(pc.is_in(row, pa.array(left_out, row.type)), pc.is_null(row))
        return pa.concat_tables([there.filter(stays), refused], promote_options="permissive")
    except (KeyError, pa.ArrowException) as error:
        raise StoreError(
            f"{path} holds rows that were edited, beside which no others can be kept: {in_one_line(error)};"
            " give its columns the types they had, or give the rows up: api2db shards purge --in quarantine"
        ) from error


def rows_kept(layout: Layout, collector: str, stream: str, batch_id: str, created_ns: int) -> int | None:
    """How many rows of a batch its file of refused rows holds; -1 where it can't be read.

    None where there is none, or the batch's whole shard is there.
    """
    mine, name = layout.quarantine(collector, stream), f"{created_ns}.parquet"
    if (mine / name).exists() or (layout.quarantine(collector, ACCEPTED) / name).exists():
        return None
    try:
        return int(pq.read_metadata(mine / f"{batch_id}.parquet").num_rows)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowInvalid):
        return -1


def rows_of_batch(refused: pa.Table) -> tuple[int, ...] | None:
    """Which rows of their batch refused rows are; None where nobody can tell. Those a person added are none."""
    if ROW not in refused.column_names or not pa.types.is_integer(refused.schema.field(ROW).type):
        return None
    return tuple(sorted({number for number in refused.column(ROW).to_pylist() if number is not None and number >= 0}))


def keep_payload(
    layout: Layout, collector: str, received_ns: int, payload: object, reason: str, *, durable: bool = True
) -> Path | None:
    """Keep a payload that couldn't be shaped, as it arrived, with the reason. Returns the file.

    None where ``PAYLOADS_KEPT`` are kept already: the cursor stands before it, so the source has it still.

    One JSON object with ``reason``, ``received_ns`` and ``payload``; what JSON can't hold is written as its
    ``repr``. The same payload with the same reason is kept once, however often a source repeats it.
    """
    text = _json(payload)
    about = json.dumps(redact(reason))
    directory = layout.quarantine(collector, SOURCE)
    if directory.is_dir() and len(os.listdir(directory)) >= PAYLOADS_KEPT:
        return None
    path = directory / f"{hashlib.sha256((about + text).encode()).hexdigest()[:32]}.json"
    if not path.exists():
        make_dir(directory, flush=durable)
        # json.dumps writes ASCII: \\ud800 stays an escape
        write_atomic(path, payload_text(payload, reason, received_ns).encode("ascii"), flush=durable)
    return path


def keep_rows(
    layout: Layout, collector: str, rows: Sequence[tuple[object, str]], *, usage: Usage, durable: bool = True
) -> Path | None:
    """Keep rows that aren't accepted, as they arrived, each with its reason. Returns the file; None if it is there.

    One JSON object a line, with ``reason`` and ``row``. The same rows with the same reasons are kept once, however
    often a source repeats them. On disk when the call returns; raises StoreError if it can't be.
    """
    data = held_text(rows).encode("ascii")
    path = layout.quarantine(collector, HELD) / f"{hashlib.sha256(data).hexdigest()[:32]}.jsonl"
    if path.exists():
        return None
    try:
        make_dir(path.parent, flush=durable)
        write_atomic(path, data, flush=durable)
    except OSError as error:
        kind = StoreFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"collector {collector}: rows can't be kept in {path.parent}: {error.strerror}") from error
    usage.add(collector, len(data))
    reach("quarantine.held")
    return path


def payload_text(payload: object, reason: str, received_ns: int) -> str:
    """A payload as it is kept: one JSON object, ASCII."""
    about = json.dumps(redact(reason))
    return f'{{"reason": {about}, "received_ns": {received_ns}, "payload": {_json(payload)}}}\n'


def held_text(rows: Sequence[tuple[object, str]]) -> str:
    """Rows with their reasons as they are kept: a JSON object a line, ASCII."""
    return "".join(f'{{"reason": {json.dumps(redact(reason))}, "row": {_json(row)}}}\n' for row, reason in rows)


def _json(value: object) -> str:
    try:
        return json.dumps(value, default=repr)
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_shown(value))


def _shown(payload: object) -> str:
    try:
        return repr(payload)
    except Exception as error:  # noqa: BLE001 - a payload of user code, whose repr may raise anything
        return f"<{type(payload).__name__}: repr raised {type(error).__name__}>"


def is_kept(layout: Layout, collector: str, stream: str, batch_id: str, created_ns: int) -> bool:
    """Whether a file in quarantine holds rows of a stream's batch, or its whole shard."""
    refused = layout.quarantine(collector, stream) / f"{batch_id}.parquet"
    return refused.exists() or is_set_aside(layout, collector, stream, created_ns)


def is_set_aside(layout: Layout, collector: str, stream: str, created_ns: int) -> bool:
    """Whether a batch's whole shard is in quarantine: it was damaged, or held."""
    name = f"{created_ns}.parquet"
    return any((layout.quarantine(collector, of) / name).exists() for of in (stream, ACCEPTED))
