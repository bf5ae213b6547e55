"""A project whose batches are accepted and delivered by a test itself, and commands run on it in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from click.testing import CliRunner

from api2db.cli.here import Here
from api2db.cli.main import main
from api2db.layout import StoreLock
from api2db.runtime.assembly import Kept, opened
from api2db.runtime.works import Part, deliver_all, prepared
from api2db.stream.places import targets_of
from api2db.upgrade import take_over
from tests.project_kit import Project


class Bench(Project):
    """No daemon runs unless ``start`` is called."""

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[Part, Kept]]:
        """STORE, and one collector of the project, as a daemon has them."""
        here = Here(self.folder, {})
        here.layout.prepare()
        (collector,) = [each for each in here.declared[0] if each.name == name]
        lock = StoreLock(here.layout)
        take_over(here.layout)
        kept = opened(here.settings, here.layout)
        try:
            yield prepared(collector, targets_of(collector, here.settings), kept), kept
        finally:
            kept.engines.close()
            kept.journal.close()
            lock.close()

    def collect(self, name: str, *batches: list[dict[str, object]], deliver: bool = True) -> None:
        """Accept each batch, and deliver all of them."""
        with self.open(name) as (part, kept):
            for batch in batches:
                accept(part, kept, pa.Table.from_pylist(batch))
            if deliver:
                assert deliver_all(part.deliveries) == []

    def command(self, *arguments: str, status: int = 0, typed: str | None = None) -> dict[str, Any]:
        """``api2db -C <folder> <arguments> --json``; ``typed`` answers a question, and the output is text then."""
        words = ["-C", str(self.folder), *arguments, *([] if typed is not None else ["--json"])]
        done = CliRunner().invoke(main, words, input=typed)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == status, done.output
        return {"text": done.output} if typed is not None else answer_of(done.output)


def answer_of(output: str) -> dict[str, Any]:
    return dict(json.loads(output)) if output.startswith("{") else {"text": output}


def accept(part: Part, kept: Kept, table: pa.Table, *, run: int = 0, ends: int = 0) -> None:
    from api2db.shard import Header

    batch = part.shards.accept(table, None, run=run, ends=ends)
    streams = tuple(each.stream for each in part.deliveries)
    kept.journal.accepted(Header(batch.batch_id, part.collector.name, batch.created_ns, table.num_rows, None, streams))
    for delivery in part.deliveries:
        delivery.notify(batch)


def rows(*ids: int, value: int = 0) -> list[dict[str, object]]:
    return [{"id": number, "value": value} for number in ids]


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))
