"""Where rows and payloads go that can never load: beside the reason, so that they can be mended and replayed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.batch import Batch
from api2db.failpoint import reach
from api2db.files import make_dir, write_atomic
from api2db.layout import Layout

REASON = "_quarantine_reason"  # the column added to the rows
SOURCE = "source"  # the directory of payloads that couldn't be shaped


class RowQuarantine:
    """Keeps the rows one stream's place refuses: STORE/quarantine/<collector>/<stream>/<batch id>.parquet.

    The file has the batch's columns and ``_quarantine_reason`` (text). It is on disk when the call returns;
    a batch that is loaded again writes the same file again.
    """

    def __init__(self, layout: Layout, collector: str, stream: str, *, durable: bool = True) -> None:
        self.directory = layout.quarantine(collector, stream)
        self._durable = durable

    def __call__(self, batch: Batch, rows: pa.Table, reasons: Sequence[str]) -> None:
        make_dir(self.directory, flush=self._durable)
        table = rows.append_column(REASON, pa.array(list(reasons), pa.string()))
        table = table.replace_schema_metadata(
            {"api2db.batch_id": batch.batch_id, "api2db.created_ns": str(batch.created_ns)}
        )
        out = pa.BufferOutputStream()
        pq.write_table(table, out)
        write_atomic(self.directory / f"{batch.batch_id}.parquet", out.getvalue(), flush=self._durable)
        reach("quarantine.written")


def keep_payload(
    layout: Layout, collector: str, received_ns: int, payload: object, reason: str, *, durable: bool = True
) -> Path:
    """Keep a payload that couldn't be shaped, as it arrived, with the reason. Returns the file.

    One JSON object with ``reason``, ``received_ns`` and ``payload``; what JSON can't hold is written as its
    ``repr``. The same payload with the same reason is kept once, however often a source repeats it.
    """
    try:
        text = json.dumps(payload, default=repr)
    except (ValueError, TypeError, RecursionError):
        text = json.dumps(_shown(payload))
    about = json.dumps(reason)
    directory = layout.quarantine(collector, SOURCE)
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
