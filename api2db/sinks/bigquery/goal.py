"""What a stream's table is, and how it is filled: parsed once, at the edge."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from api2db.durations import seconds
from api2db.errors import ConfigError
from api2db.sinks.sql import IfExists

# A table takes some 1,500 load jobs a day (https://cloud.google.com/bigquery/quotas#load_jobs): 1,440 are less.
LOAD_EVERY = "1m"
PARTITIONS = ("HOUR", "DAY", "MONTH", "YEAR")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{4,61}[a-z0-9]")
_DATASET = re.compile(r"\w{1,1024}", re.ASCII)


class Nested(Enum):
    """What a column that is made for nested values is."""

    JSON = "json"
    STRUCT = "struct"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One table, appended to, replaced or, with a key, merged into.

    pid, did, tid     project, dataset, table
    location          of a dataset that is made, and of every job
    key               columns that identify a row: with them a load is a merge
    version           column whose highest value wins within a key; without it the later row wins
    chunk_size        rows a job loads at most; 0 leaves it to their size
    batch_column      a column that is added to each row, with the id of its batch; where rows are appended
    partition_by      of a table that is made: the DATE, DATETIME or TIMESTAMP column it is partitioned by
    partition_type    and how finely: "HOUR", "DAY", "MONTH" or "YEAR"
    cluster_by        and the columns, at most four, its rows are clustered by
    nested            what a column that is made for nested values is
    load_every_s      between the starts of two jobs, on average; 0 is without a pause
    fresh             rows are appended by the Storage Write API, as they come, instead of by jobs
    """

    pid: str
    did: str
    tid: str
    location: str = "US"
    if_exists: IfExists = IfExists.APPEND
    key: tuple[str, ...] = ()
    version: str | None = None
    chunk_size: int = 0
    batch_column: str | None = None
    partition_by: str | None = None
    partition_type: str = "DAY"
    cluster_by: tuple[str, ...] = ()
    load_every_s: float = 60.0
    fresh: bool = False
    nested: Nested = Nested.JSON

    @property
    def table(self) -> str:
        return f"{self.pid}.{self.did}.{self.tid}"

    @property
    def dataset(self) -> str:
        return f"{self.pid}.{self.did}"

    @property
    def replaces(self) -> bool:
        return self.if_exists is IfExists.REPLACE


def parse_goal(
    where: str,
    *,
    pid: str,
    did: str | None,
    tid: str,
    location: str = "US",
    if_exists: str = "append",
    key: str | Sequence[str] = (),
    version: str | None = None,
    chunk_size: int = 0,
    batch_column: str | None = None,
    partition_by: str | None = None,
    partition_type: str = "DAY",
    cluster_by: str | Sequence[str] = (),
    load_every: str | float | None = None,
    fresh: bool = False,
    nested: str = "json",
) -> Goal:
    """Raises ConfigError, beginning with ``where``, for what can't work."""
    for name, value, pattern in (("pid", pid, _PROJECT), ("did", did, _DATASET)):
        if not value:
            raise ConfigError(f"{where}: {name} missing or empty")
        if not pattern.fullmatch(value):
            raise ConfigError(f"{where}: {name}={value!r} is no name Google gives")
    assert did is not None
    if not tid or len(tid.encode()) > 1024 or re.search(r"[^\w -]", tid):
        raise ConfigError(f"{where}: tid={tid!r} is no table's name: letters, digits, _, - and spaces")
    keys, clusters = _names(key), _names(cluster_by)
    if version is not None and not keys:
        raise ConfigError(f'{where}: version="{version}" says which row of a key wins: it needs key="…" too')
    mode = IfExists.parse(if_exists)
    if batch_column is not None and (keys or mode is IfExists.REPLACE):
        raise ConfigError(
            f'{where}: batch_column="{batch_column}" is for rows that are appended: not with key or replace'
        )
    if keys and mode is IfExists.REPLACE:
        raise ConfigError(f'{where}: key="…" merges and if_exists="replace" replaces: choose one')
    if fresh:
        _check_fresh(where, appends=not keys and mode is not IfExists.REPLACE)
        if nested != "json":
            raise ConfigError(f'{where}: fresh=True writes nested values as JSON: leave nested="{nested}" out')
        if load_every is not None:
            raise ConfigError(f"{where}: fresh=True writes rows as they come: leave load_every out")
    if chunk_size < 0:
        raise ConfigError(f"{where}: chunk_size={chunk_size} is a number of rows: 0 leaves it to the sink")
    if partition_type.upper() not in PARTITIONS:
        raise ConfigError(f"{where}: partition_type={partition_type!r} is none of {', '.join(PARTITIONS)}")
    if nested not in {each.value for each in Nested}:
        raise ConfigError(f'{where}: nested={nested!r} is none of "json", "struct"')
    if len(clusters) > 4:
        raise ConfigError(f"{where}: cluster_by names {len(clusters)} columns: BigQuery takes four")
    return Goal(
        pid=pid,
        did=did,
        tid=tid,
        location=location,
        if_exists=mode,
        key=keys,
        version=version,
        chunk_size=chunk_size,
        batch_column=batch_column,
        partition_by=partition_by,
        partition_type=partition_type.upper(),
        cluster_by=clusters,
        load_every_s=_pause((0.0 if fresh else LOAD_EVERY) if load_every is None else load_every, where),
        fresh=fresh,
        nested=Nested(nested),
    )


def _check_fresh(where: str, *, appends: bool) -> None:
    if not appends:
        raise ConfigError(
            f'{where}: fresh=True appends: rows that are merged (key="…") or replaced can\'t be written that way'
            " exactly once; leave fresh out, and load_every says how old the table may be"
        )
    try:
        found = importlib.util.find_spec("google.cloud.bigquery_storage_v1")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigError(f"{where}: fresh=True needs: pip install 'api2db-daemon[bigquery-storage]'")


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _pause(given: str | float, where: str) -> float:
    try:
        return seconds(given)
    except ConfigError as error:
        raise ConfigError(f"{where}: load_every: {error}") from None
