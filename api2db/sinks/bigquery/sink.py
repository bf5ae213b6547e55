"""``BigQuerySink``: batches into one table by load jobs, each exactly once. The choreography.

What a load brings is frozen in a manifest, its jobs are named after that, and only when each of them is known to be
done, or refused, are the batches entered in the ledger, and the manifest goes. Whatever is killed or cut off between:
the manifest that is found is brought to its end first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from api2db import shard
from api2db.batch import Batch, Receipt
from api2db.errors import BadDataError, FatalError, RetryableError, SinkError
from api2db.failpoint import reach
from api2db.sinks.base import Limits, Quarantine
from api2db.sinks.bigquery.access import Access
from api2db.sinks.bigquery.columns import NAMES
from api2db.sinks.bigquery.freezing import Freezing, hand_over
from api2db.sinks.bigquery.goal import Goal
from api2db.sinks.bigquery.manifest import Fate, Manifest, Member, Way, halves, read_manifests
from api2db.sinks.bigquery.pace import LAST, Pace
from api2db.sinks.bigquery.payload import RowsLost
from api2db.sinks.bigquery.record import SUFFIX, Record
from api2db.sinks.engines import Engines
from api2db.sinks.group import Group, group
from api2db.sinks.sql import IfExists

if TYPE_CHECKING:
    from api2db.sinks.bigquery.refusals import Cause

log = logging.getLogger(__name__)

# A job a minute has to carry what a minute brings, and a backlog: a million rows of a dozen columns. Beside the rows
# themselves some 50 MB in memory, more where values are nested or sent as JSON.
LIMITS: Final = Limits(rows=2_000_000, size=160 * 2**20, shards=10_000)


class BigQuerySink:
    """A table as a ``Sink``. Used by one thread at a time.

    stream    ``<collector>/<stream directory>``
    goal      the table and what is done to it
    access    the way in
    staging   the stream's queue directory, where manifests wait
    parked    the directory of its shards that failed to upload
    state     STORE's folder for what is remembered
    engines   the process's connections, for the ledger's file
    durable   flush files and directories
    store_id  of the STORE whose batches it loads
    clock     monotonic seconds
    """

    remembers = True
    max_threads: int | None = None

    def __init__(
        self,
        *,
        stream: str,
        goal: Goal,
        access: Access,
        staging: Path,
        parked: Path,
        state: Path,
        engines: Engines | None = None,
        durable: bool = True,
        store_id: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from api2db.sinks.bigquery.appends import Appends
        from api2db.sinks.bigquery.jobs import Jobs
        from api2db.sinks.bigquery.tables import Tables

        self.stream = stream
        self.horizon_ns = 0
        self._goal = goal
        self._access = access
        self._staging = staging
        self._parked = parked
        self._durable = durable
        self._store_id = store_id
        self._record = Record(state / f"{stream}{SUFFIX}", f"{stream} {goal.table}", engines)
        self._pace = Pace(staging / LAST, goal.load_every_s, clock)
        self._tables = Tables(lambda: access.client, goal)
        self._jobs = Jobs(lambda: access.client, goal.location, self._pace.started)
        self._appends = Appends(lambda: access.writer)
        self._manifest: Manifest | None = None
        self._looked = False  # on disk, for manifests of before

    @property
    def target(self) -> str:
        return f"bigquery://{self._goal.table}"

    @property
    def server(self) -> str:
        return f"bigquery://{self._goal.pid}"

    @property
    def ordered(self) -> bool:
        return bool(self._goal.key) or self.replaces

    @property
    def replaces(self) -> bool:
        return self._goal.replaces

    @property
    def limits(self) -> Limits:
        return LIMITS

    def wait_s(self) -> float:
        """Until another job may be started; 0 while one has to be asked for."""
        return 0.0 if self._manifest is not None else self._pace.wait_s()

    def sketch(self, batch: Batch) -> list[str]:
        columns = self._tables.sketch(group([batch]))
        if not columns:
            return []
        parts = [
            f"  {column.name} {column.field_type}{' REPEATED' * (column.mode == 'REPEATED')}" for column in columns
        ]
        return [f"table {self._goal.table} (", *(f"{part}," for part in parts[:-1]), parts[-1], ")"]

    def connect(self) -> None:
        """Reach the dataset, made where it is missing; bring what was under way to its end."""
        with self._errors():
            self._tables.make_dataset()
            self._settle((), None)
            self.horizon_ns = self._record.horizon(self._store_id)

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        if not batches:
            return []
        with self._errors():
            self._settle(batches, quarantine)
            ids = [batch.batch_id for batch in batches]
            had = self._record.loaded(ids)
            fresh = {batch.batch_id: batch for batch in batches if batch.batch_id not in had}
            if fresh:
                self._load(list(fresh.values()), quarantine)
            return self._receipts(batches, had)

    def publish(self, batches: Sequence[Batch]) -> None:
        """Nothing to do: a job that is done has made its rows visible."""

    def close(self) -> None:
        self._access.forget()
        self._record.close()

    @property
    def newest_wins(self) -> bool:
        return bool(self._goal.key) and self._goal.version is None

    @property
    def newer_wins(self) -> bool:
        """A merge by a version, which may be given older rows again."""
        return self._goal.version is not None and not self.replaces

    def lacks(self, shards: Mapping[int, str]) -> set[int]:
        there = self.loaded(list(shards.values()))
        return {created_ns for created_ns, batch_id in shards.items() if batch_id not in there}

    def release(self, batch_ids: Sequence[str]) -> None:
        with self._errors():
            self._record.release(batch_ids)

    def loaded(self, batch_ids: Sequence[str]) -> dict[str, int]:
        with self._errors():
            return self._record.loaded(batch_ids)

    def receipts(self) -> Generator[tuple[str, int], None, None]:
        with self._errors():
            yield from self._record.receipts()

    def horizon(self) -> int:
        with self._errors():
            return self._record.horizon(self._store_id)

    def forget(self, batch_ids: Sequence[str], horizon_ns: int) -> None:
        with self._errors():
            self._record.forget(self._store_id, batch_ids, horizon_ns)

    def recounted(self) -> Generator[tuple[str, int], None, None] | None:
        """(batch id, rows) in the table, by the column that holds the id; None without one."""
        return None if self._goal.batch_column is None else self._recounted(self._goal.batch_column)

    def counted_since(self) -> int | None:
        """``created_ns`` of the first batch whose rows hold its id; None where that isn't known."""
        with self._errors():
            column = self._goal.batch_column
            return None if column is None else self._record.labelled_since(column)

    def _recounted(self, batch_column: str) -> Generator[tuple[str, int], None, None]:
        with self._errors():
            table = self._tables.get()
            name = NAMES.legal(batch_column)
            if table is None or name not in {column.name for column in table.schema}:
                return
            sql = f"SELECT `{name}`, COUNT(*) FROM `{self._goal.table}` WHERE `{name}` IS NOT NULL GROUP BY 1"
            for batch_id, count in self._access.client.query(sql, location=self._goal.location).result():
                yield str(batch_id), int(count)

    # One load

    def _load(self, batches: Sequence[Batch], quarantine: Quarantine) -> None:
        self._check_owner()
        labelled = [self._labelled(batch) for batch in batches]
        if not self._goal.key:
            self._load_together(batches, group(labelled), quarantine)
            return
        # What a batch doesn't have stays as it is in the row it is merged into: each set of columns by itself.
        for one in group(labelled):
            self._load_together(one.batches, [one], quarantine)

    def _load_together(self, batches: Sequence[Batch], groups: Sequence[Group], quarantine: Quarantine) -> None:
        columns = self._tables.fit(groups, self._record.mark)
        if columns is not None and self._goal.batch_column is not None:
            self._record.label(self._goal.batch_column, min(batch.created_ns for batch in batches))
        freezing = Freezing(self._goal, batches, groups, columns)
        manifest = freezing.freeze(self._staging, quarantine, durable=self._durable)
        if manifest is not None:
            self._manifest = manifest
            self._finish(manifest, batches, quarantine, is_new=True)
            return
        refused = freezing.refused()
        rows = {batch.batch_id: batch.table.num_rows - len(refused.get(batch.batch_id, {})) for batch in batches}
        self._record.enter(batches, rows)

    def _labelled(self, batch: Batch) -> Batch:
        """The batch with its id beside each row."""
        name = self._goal.batch_column
        if name is None:
            return batch
        if name in batch.table.column_names:
            raise FatalError(f"the rows have a column {name} already: choose another batch_column")
        ids = pa.repeat(pa.scalar(batch.batch_id, pa.string()), batch.table.num_rows)
        return replace(batch, table=batch.table.append_column(name, ids))

    def _check_owner(self) -> None:
        """With if_exists="fail": the table is ours if it isn't there yet or the ledger knows this stream."""
        if self._goal.if_exists is IfExists.FAIL and not self._record.knows() and self._tables.get() is not None:
            raise FatalError(
                'the table was there before this stream\'s first load and if_exists="fail"; '
                'drop or rename the table, or set if_exists="append"'
            )

    def _receipts(self, batches: Sequence[Batch], had: Mapping[str, int]) -> list[Receipt]:
        now = self._record.loaded([batch.batch_id for batch in batches])
        seen = set(had)
        answers = []
        for batch in batches:
            rows = now[batch.batch_id]
            answers.append(Receipt(batch.batch_id, rows, batch.table.num_rows - rows, batch.batch_id in seen))
            seen.add(batch.batch_id)
        return answers

    # What is under way

    def _settle(self, batches: Sequence[Batch], quarantine: Quarantine | None) -> None:
        """Bring what is under way to its end. Raises what keeps it from that."""
        if not self._looked:
            found = read_manifests(self._staging) if self._staging.is_dir() else []
            self._manifest = found[0] if found else None
            self._looked = len(found) < 2
        if self._manifest is None:
            return
        if self._finish(self._manifest, batches, quarantine, is_new=False):
            self._settle(batches, quarantine)

    def _finish(
        self, manifest: Manifest, batches: Sequence[Batch], quarantine: Quarantine | None, *, is_new: bool
    ) -> bool:
        """False if it isn't over yet: its refused rows have to be handed to a quarantine, and there is none."""
        while (part := manifest.next_open()) is not None:
            try:
                if manifest.way is Way.WRITE:
                    cause, manifest = self._appends.load(manifest, part, self._saved, is_new=is_new)
                else:
                    cause = self._jobs.load(manifest, part, is_new=is_new)
            except RowsLost as lost:
                raise self._anew_without_rows(manifest, manifest.job_id(part), lost) from lost
            is_new = False
            if cause is None:
                manifest = self._saved(manifest.changed(part, replace(part, fate=Fate.IN)))
                reach("bigquery.part")
            elif manifest.is_untouched and (cause.refit or cause.error is FatalError):
                # Nothing of it is in, and nothing is under way: the next load is for the table as it is then.
                self._drop(manifest)
                raise _anew(cause).raised(f"job {manifest.job_id(part)}")
            elif cause.error is BadDataError:
                log.info("refused by BigQuery, looking for the rows stream=%s cause=%s", self.stream, cause.text)
                sifted = manifest.way is Way.REPLACE and manifest.rows > 1
                split = manifest.changed(part, *halves(replace(part, why=cause.text)))
                manifest = self._saved(replace(split, sifted=sifted))
                is_new = True
            else:
                self._saved(manifest.changed(part, replace(part, attempt=part.attempt + 1)))
                raise cause.raised(manifest.write_stream or f"job {manifest.job_id(part)}")
        if manifest.is_staged:
            self._unstage(manifest)
        if any(part.fate is Fate.REFUSED for part in manifest.parts):
            if quarantine is None:
                return False
            self._hand_over_refused(manifest, batches, quarantine)
        self._record.enter_counted(manifest.loaded())
        reach("bigquery.entered")
        self._drop(manifest)
        return True

    def _unstage(self, manifest: Manifest) -> None:
        """Bring into the table what is in the staging table, if anything is, and drop that."""
        if any(part.fate is Fate.IN for part in manifest.parts):
            merges = manifest.way is Way.MERGE
            try:
                cause = self._jobs.merge(manifest) if merges else self._jobs.replace(manifest)
            except RowsLost as lost:
                raise self._anew_without_rows(manifest, manifest.last_id, lost) from lost
            if cause is not None:
                if cause.error is RetryableError and not cause.refit:
                    self._saved(replace(manifest, last_attempt=manifest.last_attempt + 1))
                else:
                    # Nothing of it is in the table, so all of it may be put together anew.
                    self._tables.drop(manifest.staging)
                    self._drop(manifest)
                raise _anew(cause).raised(f"job {manifest.last_id}")
            reach("bigquery.merged")
        self._tables.drop(manifest.staging)

    def _anew_without_rows(self, manifest: Manifest, job_id: str, lost: RowsLost) -> SinkError:
        """What to raise where the frozen rows are gone, and Google knows no job that has them.

        Where nothing of the manifest is in the table, and can't come to be, it goes: its shards are there, and the next
        load puts them together anew. Raises Google's errors.
        """
        told = f"{manifest.rows_path} {lost}"
        if not (manifest.is_staged or manifest.is_untouched):
            batches = ", ".join(member.batch_id for member in manifest.members)
            return FatalError(
                f"{told}, and {manifest.rows_in} of its {manifest.rows} rows are in: take those out of the table (they"
                f" are of the batches {batches}), then remove {manifest.path}: the shards are there to be loaded anew"
            )
        if manifest.way is not Way.WRITE and not self._jobs.bar(job_id):
            return RetryableError(f"{told}, but its job {job_id} was started after all: it is asked for again")
        if manifest.is_staged:
            self._tables.drop(manifest.staging)
        self._drop(manifest)
        log.warning("frozen rows lost, put together anew of their shards stream=%s cause=%s", self.stream, told)
        return RetryableError(f"{told}: nothing of it is in, and its shards are put together anew")

    def _hand_over_refused(self, manifest: Manifest, batches: Sequence[Batch], quarantine: Quarantine) -> None:
        """Rows that only BigQuery refused to quarantine, with those of their batches that are there already."""
        at_hand = {batch.batch_id: batch for batch in batches}
        refused = manifest.refused()
        for member in manifest.members:
            if len(refused[member.batch_id]) > len(member.refused):
                batch = at_hand.get(member.batch_id) or self._batch_of(member)
                hand_over(batch, refused[member.batch_id], quarantine)

    def _batch_of(self, member: Member) -> Batch:
        for folder in (self._staging, self._parked):
            path = folder / f"{member.created_ns}.parquet"
            if path.exists():
                return shard.decode(path.read_bytes())[1]
        raise FatalError(f"batch {member.batch_id} has rows that BigQuery refuses, and its shard is gone")

    def _saved(self, manifest: Manifest) -> Manifest:
        manifest.save(durable=self._durable)
        self._manifest = manifest
        return manifest

    def _drop(self, manifest: Manifest) -> None:
        manifest.remove(durable=self._durable)
        self._manifest = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Every error as one of ours: stream, table, cause, what to do."""
        from api2db.sinks.bigquery.refusals import ERRORS, cause_of

        where = f"stream {self.stream}: table {self._goal.table}"
        try:
            yield
        except SinkError as error:
            if isinstance(error, FatalError):
                self._access.forget()
            raise type(error)(f"{where}: {error}") from error
        except ERRORS as error:
            cause = cause_of(error)
            if cause.error is not RetryableError:
                self._access.forget()  # the next look reads the credentials anew
            raise cause.raised(where) from error
        except self._record.errors as error:
            raise RetryableError(f"{where}: the ledger of it in STORE: {error}") from error
        except OSError as error:
            raise RetryableError(f"{where}: {error.filename or self._staging}: {error.strerror}") from error


def _anew(cause: Cause) -> Cause:
    """What is to be done about a job whose batches are put together anew."""
    if cause.refit:
        return replace(cause, error=RetryableError)
    return replace(cause, error=FatalError) if cause.error is BadDataError else cause
