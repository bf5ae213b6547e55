"""What a measured project's main.py runs: the daemon's own main, with clocks around three calls.

At exit ``measured.json`` beside main.py holds

accept_s   seconds inside ``CollectorSpool.accept``, all calls together
latencies  of each batch: seconds from the collector's HTTP answer until ``SqlSink.load`` returned
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import requests

from api2db.batch import Batch, Receipt
from api2db.cli import main
from api2db.sinks.base import Quarantine
from api2db.sinks.sql import SqlSink
from api2db.spool.collector import CollectorSpool

_accept = CollectorSpool.accept
_load = SqlSink.load
_send = requests.Session.send

_poll = threading.local()
_answered: dict[str, float] = {}
_latencies: list[float] = []
_accept_s = 0.0


def run() -> int:
    CollectorSpool.accept = accept
    SqlSink.load = load
    requests.Session.send = send
    try:
        return main.run()
    finally:
        project = Path(sys.modules["__main__"].__file__ or "").parent
        measured = {"accept_s": _accept_s, "latencies": _latencies}
        (project / "measured.json").write_text(json.dumps(measured))


def send(self: requests.Session, *arguments: Any, **options: Any) -> requests.Response:
    answer = _send(self, *arguments, **options)
    _poll.answered = time.perf_counter()
    return answer


def accept(self: CollectorSpool, table: pa.Table, cursor: str | None, **options: Any) -> Batch:
    global _accept_s
    start = time.perf_counter()
    # Called in the thread that had the answer. Deliveries can only hear of the batch after this returns.
    batch = _accept(self, table, cursor, **options)
    _accept_s += time.perf_counter() - start
    _answered[batch.batch_id] = _poll.answered
    return batch


def load(self: SqlSink, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
    receipts = _load(self, batches, quarantine)
    committed = time.perf_counter()
    _latencies.extend(committed - _answered.pop(batch.batch_id) for batch in batches)
    return receipts
