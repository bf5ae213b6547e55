"""Where rows and payloads go that can never load: beside the reason, so that they can be mended and replayed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.batch import Batch
from api2db.failpoint import reach
from api2db.files import make_dir, write_atomic
from api2db.layout import Layout
from api2db.secret import redact
from api2db.usage import Usage

REASON = "_quarantine_reason"  # the column added to the rows
SOURCE = "source"  # the directory of payloads that couldn't be shaped
PAYLOADS_KEPT = 100  # of each collector: enough to see what is wrong, whatever a broken source sends


class RowQuarantine:
    """Keeps the rows one stream's place refuses: STORE/quarantine/<collector>/<stream>/<batch id>.parquet.

    usage  where the files' bytes are counted, towards the collector's limit

    The file has the batch's columns and ``_quarantine_reason`` (text). It is on disk when the call returns;
    a batch that is loaded again writes the same file again.
    """

    def __init__(
        self, layout: Layout, collector: str, stream: str, *, usage: Usage | None = None, durable: bool = True
    ) -> None:
        self.directory = layout.quarantine(collector, stream)
        self._collector = collector
        self._usage = usage
        self._durable = durable

    def __call__(self, batch: Batch, rows: pa.Table, reasons: Sequence[str]) -> None:
        make_dir(self.directory, flush=self._durable)
        table = rows.append_column(REASON, pa.array(list(reasons), pa.string()))
        table = table.replace_schema_metadata(
            {"api2db.batch_id": batch.batch_id, "api2db.created_ns": str(batch.created_ns)}
        )
        out = pa.BufferOutputStream()
        pq.write_table(table, out)
        path, data = self.directory / f"{batch.batch_id}.parquet", out.getvalue()
        fresh = not path.exists()
        write_atomic(path, data, flush=self._durable)
        if fresh and self._usage is not None:
            self._usage.add(self._collector, data.size)  # it is kept until a person has looked: it counts
        reach("quarantine.written")


def keep_payload(
    layout: Layout, collector: str, received_ns: int, payload: object, reason: str, *, durable: bool = True
) -> Path | None:
    """Keep a payload that couldn't be shaped, as it arrived, with the reason. Returns the file.

    None where ``PAYLOADS_KEPT`` are kept already: the cursor stands before it, so the source has it still.

    One JSON object with ``reason``, ``received_ns`` and ``payload``; what JSON can't hold is written as its
    ``repr``. The same payload with the same reason is kept once, however often a source repeats it.
    """
    try:
        text = json.dumps(payload, default=repr)
    except (ValueError, TypeError, RecursionError):
        text = json.dumps(_shown(payload))
    about = json.dumps(redact(reason))
    directory = layout.quarantine(collector, SOURCE)
    if directory.is_dir() and len(os.listdir(directory)) >= PAYLOADS_KEPT:
        return None
    path = directory / f"{hashlib.sha256((about + text).encode()).hexdigest()[:32]}.json"
    if not path.exists():
        make_dir(directory, flush=durable)
        whole = f'{{"reason": {about}, "received_ns": {received_ns}, "payload": {text}}}\n'
        write_atomic(path, whole.encode("ascii"), flush=durable)  # json.dumps writes ASCII: \\ud800 stays an escape
    return path


def _shown(payload: object) -> str:
    try:
        return repr(payload)
    except Exception as error:  # noqa: BLE001 - a payload of user code, whose repr may raise anything
        return f"<{type(payload).__name__}: repr raised {type(error).__name__}>"
