"""Update and replace mode: one file, rewritten whole by each group of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from api2db.batch import Batch, Receipt
from api2db.childrows import as_json
from api2db.errors import FatalError, RetryableError
from api2db.failpoint import reach
from api2db.files import make_dir
from api2db.sinks.base import Quarantine
from api2db.sinks.local.manifest import GROUP, Counted, Group, read_groups
from api2db.sinks.local.publish import Publisher, locked, sink_errors
from api2db.sinks.local.rewrite import Rewrite, check_file

_ATTEMPTS: Final = 5


class WholeSink:
    """One file that readers always find whole: the old one or the new one.

    stream   ``<collector>/<stream directory>``
    rewrite  makes the file
    staging  the stream's queue directory, where groups wait
    parked   the directory of its shards that failed to upload
    durable  flush files and directories

    All batches of one ``load`` are one rewrite, a group. While all shards of a ready group are there, it counts for
    nothing: it is made again. Once one of them is gone, the group is published, and its shards are known to be in the
    file if they are seen again. The group's new rows are kept until then, so that a file that somebody has changed
    meanwhile gets them too, rather than losing what was changed.
    """

    ordered = True
    remembers = False  # what was published may have been taken away since
    max_threads: int | None = 1

    def __init__(self, *, stream: str, rewrite: Rewrite, staging: Path, parked: Path, durable: bool = True) -> None:
        self.stream = stream
        self.replaces = rewrite.replaces
        self._rewrite = rewrite
        self._staging = staging
        self._parked = parked
        self._durable = durable
        self._publisher = Publisher(staging, durable=durable)
        self._groups: list[Group] | None = None  # None: look on disk; else those that aren't over, oldest first
        self._had: dict[int, Counted] = {}  # shards in the file that delivery may still bring

    @property
    def path(self) -> Path:
        return self._rewrite.path

    @property
    def target(self) -> str:
        return str(self.path)

    @property
    def server(self) -> str:
        return self.target

    def sketch(self, batch: Batch) -> list[str]:
        return [f"{self.path}, one file, {'replaced by each poll' if self.replaces else 'to which rows are added'}"]

    def connect(self) -> None:
        with sink_errors(self.stream):
            make_dir(self.path.parent, flush=self._durable)
            check_file(self.path)
            self._settle_groups()

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        with sink_errors(self.stream):
            self._settle_groups()
            fresh = [batch for batch in batches if batch.created_ns not in self._had]
            counted = self._prepared(fresh) if fresh else {}
        reach("local.prepared")
        return [self._receipt(batch, counted) for batch in batches]

    def publish(self, batches: Sequence[Batch]) -> None:
        reach("local.publishing")
        with sink_errors(self.stream):  # the shards are gone and the group is safe: connect() goes on with it
            self._settle_groups()
        for batch in batches:
            self._had.pop(batch.created_ns, None)

    def published(self, created_ns: int) -> bool | None:
        """True for a batch of a group that isn't over yet; None for others: rows of a file don't say whose they are."""
        return True if any(created_ns in group.shards for group in read_groups(self._staging)) else None

    def lacks(self, shards: Mapping[int, str]) -> set[int]:
        """All of them where the file is gone. What a file that is there holds can't be told: FatalError."""
        with sink_errors(self.stream):
            if self.path.exists():
                raise FatalError(
                    f"{self.path} is there, and doesn't say which batches it holds; move it away to have it made"
                    " again, of all batches that are kept"
                )
            return set(shards)

    def rows_in_file(self, created_ns: int) -> int | None:
        """Never: the file holds rows of many batches."""
        return None

    def close(self) -> None:
        """Nothing is held open between loads."""

    def _prepared(self, batches: Sequence[Batch]) -> dict[int, Counted]:
        made = self._rewrite.made([as_json(batch.table) for batch in batches])
        counted = dict(zip((batch.created_ns for batch in batches), made.counts, strict=True))
        if made.data is not None:
            group = Group(self._staging / f"{batches[-1].created_ns}{GROUP}", counted, made.base)
            try:
                group.write(made.data, made.rows, like=self.path, durable=self._durable)
            except BaseException:
                # What is on disk of it is found and removed before another group is made.
                self._groups = None
                raise
            assert self._groups is not None
            self._groups.append(group)
        return counted

    def _receipt(self, batch: Batch, counted: dict[int, Counted]) -> Receipt:
        duplicate = batch.created_ns in self._had
        of = self._had[batch.created_ns] if duplicate else counted[batch.created_ns]
        return Receipt(batch.batch_id, of.rows, duplicate=duplicate)

    def _settle_groups(self) -> None:
        """Publish the groups that count, drop the others, forget what is over. Repeatable at any moment."""
        if self._groups is None:
            self._groups = read_groups(self._staging)
        for group in list(self._groups):
            left = group.present(self._staging, self._parked)
            if len(left) == len(group.shards) and self._publisher.is_ready(group.ready, self.path):
                group.remove(durable=self._durable)
            else:
                group = self._put(group)
                self._had.update(group.shards)
                if left:
                    continue
                group.remove(durable=self._durable)
            self._groups = [other for other in self._groups if other.path != group.path]

    def _put(self, group: Group) -> Group:
        with locked(self.path.parent):
            for _ in range(_ATTEMPTS):
                if not self._publisher.is_ready(group.ready, self.path):
                    break
                if self._publisher.put(group.ready, self.path, unless=partial(self._is_stale, group)):
                    break
                group = self._merged_again(group)
            else:
                raise RetryableError(f"{self.path} keeps changing while rows are added to it")
        reach("local.published")
        self._publisher.flush(self.path.parent, self._staging)
        return group

    def _is_stale(self, group: Group) -> bool:
        return group.rows.exists() and self._rewrite.stale(group.base)

    def _merged_again(self, group: Group) -> Group:
        check_file(self.path)
        merge = self._rewrite.merged(group.rows.read_bytes())
        if merge.data is None:
            self._publisher.forget(group.ready, self.path)
            return group
        return group.rewrite(merge.data, merge.base, like=self.path, durable=self._durable)
