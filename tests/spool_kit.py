"""A spool in a temporary STORE, as tests need it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from api2db.layout import Layout
from api2db.spool.recovery import recover
from api2db.spool.store import Spool
from api2db.usage import Usage

PLENTY = 2**40


def make_spool(root: Path, *, durable: bool = False, **limits: int) -> Spool:
    """A recovered spool; without flushes unless asked, since no test can pull the plug."""
    layout = Layout(root)
    layout.prepare()
    usage = Usage(
        root,
        max_collector_bytes=limits.get("max_collector_bytes", PLENTY),
        max_store_bytes=limits.get("max_store_bytes", PLENTY),
        min_free_bytes=limits.get("min_free_bytes", 0),
    )
    spool = Spool(layout, usage, durable=durable)
    recover(spool)
    return spool


def rows(*values: int) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64())})
