"""Streams data into a table of Google BigQuery."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from api2db.credentials import read_service_account
from api2db.errors import Api2dbError, ConfigError, SinkError
from api2db.form.tables import from_frame
from api2db.schema import Kind, canonical, fields_of
from api2db.sinks.base import Placement
from api2db.sinks.bigquery.access import Access, client_of, credentials_of
from api2db.sinks.bigquery.columns import NAMES, declare
from api2db.sinks.bigquery.goal import parse_goal
from api2db.sinks.bigquery.sink import BigQuerySink
from api2db.stream.stream import Stream

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud.bigquery import Client, Dataset, SchemaField, Table

log = logging.getLogger(__name__)


class Stream2Bigquery(Stream):
    """Appends to one table by load jobs, merges into it or replaces what is in it; dataset and table are created.

    name        the collector's name, and the table's where tid is left out
    auth_path   a Google service account's file; left out, the application-default credentials are used
    pid         the project; left out, the one of the service account
    did         the dataset
    tid         the table
    location    where the dataset is made, and jobs run
    if_exists   "append" adds rows; "replace" puts what a poll brings in the place of all rows, in one job;
                "fail" refuses a table that was there before this stream
    chunk_size  rows a job loads at most; 0 leaves it to their size
    store       True when a store uses the stream
    key         column or columns of which a row is unique: rows are merged, the newest ``version`` wins
    version     the column that says which row of a key is newest; without it the later batch wins
    batch_column    a text column that is added, with each row's batch id, where rows are appended
    partition_by    the date or timestamp column by which a table that is made is partitioned
    partition_type  and how finely: "HOUR", "DAY", "MONTH" or "YEAR"
    cluster_by      up to four columns by which it is clustered
    nested          of JSON values, the column that is made: "json", or "struct" for STRUCT and ARRAY
    load_every      between two jobs, on average: a table takes some 1,500 a day
    api_endpoint    where BigQuery answers, if not at Google's usual address
    fresh           append by the Storage Write API, within seconds, instead of by load jobs
    storage_endpoint  where that answers, if not at Google's usual address

    dtypes      as given; else those of the first frame that is streamed
    schema      the columns as the client library has them, where dtypes are known, else None; it follows ``dtypes``
    bq_schema   the same as ``to_gbq`` takes it
    cred, client, dataset, table   after ``connect()``, or once a frame is in; before it None
    connected   True once a connection was established

    Raises ConfigError (a ValueError) for what can't work. The file of credentials is read when it is needed.
    """

    _dtypes: Mapping[str, object] | None = None
    schema: list[SchemaField] | None = None
    bq_schema: list[dict[str, str]] | None = None

    def __init__(
        self,
        name: str,
        auth_path: str | None = None,
        pid: str | None = None,
        did: str | None = None,
        tid: str | None = None,
        location: str = "US",
        if_exists: str = "append",
        chunk_size: int = 0,
        store: bool = False,
        *,
        dtypes: Mapping[str, object] | None = None,
        key: str | Iterable[str] = (),
        version: str | None = None,
        batch_column: str | None = None,
        partition_by: str | None = None,
        partition_type: str = "DAY",
        cluster_by: str | Iterable[str] = (),
        load_every: str | float | None = None,
        nested: str = "json",
        api_endpoint: str | None = None,
        fresh: bool = False,
        storage_endpoint: str | None = None,
    ) -> None:
        super().__init__(name, dtypes=dtypes, chunk_size=chunk_size, stream_type="bigquery", store=store)
        where = f"Stream2Bigquery {name}"
        self.auth_path = auth_path
        if pid is None:
            if auth_path is None:
                raise ConfigError(f"{where}: pid missing or empty")
            pid = str(read_service_account(auth_path).get("project_id") or "")
        self._goal = parse_goal(
            where,
            pid=pid,
            did=did,
            tid=tid or name,
            location=location,
            if_exists=if_exists,
            key=key if isinstance(key, str) else tuple(key),
            version=version,
            chunk_size=chunk_size,
            batch_column=batch_column,
            partition_by=partition_by,
            partition_type=partition_type,
            cluster_by=cluster_by if isinstance(cluster_by, str) else tuple(cluster_by),
            load_every=load_every,
            fresh=fresh,
            nested=nested,
        )
        self.pid, self.did, self.tid = self._goal.pid, self._goal.did, self._goal.tid
        self.location = location
        self.if_exists = if_exists
        self.key, self.version = self._goal.key, version
        self.batch_column = batch_column
        self.api_endpoint = api_endpoint
        self.fresh = fresh
        self.storage_endpoint = storage_endpoint
        self.cred: Credentials | None = None
        self.client: Client | None = None
        self.dataset: Dataset | None = None
        self.table: Table | None = None
        self.connected = False

    @property
    def dtypes(self) -> Mapping[str, object] | None:
        """Column -> pandas dtype, as ``DataFrame.astype`` takes them; None where nothing is known yet."""
        return self._dtypes

    @dtypes.setter
    def dtypes(self, dtypes: Mapping[str, object] | None) -> None:
        if dtypes is self._dtypes:
            return
        self._dtypes = dtypes
        self.schema = self.build_schema()
        self.bq_schema = _plain(self.schema)

    def build_schema(self) -> list[SchemaField] | None:
        """The columns a table is made with; None where no dtypes are known, or not all are dtypes (which is logged)."""
        if self.dtypes is None:
            return None
        try:
            frame = pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in self.dtypes.items()})  # type: ignore[call-overload]
            fields = fields_of(canonical(from_frame(frame).table).schema)
        except (TypeError, ValueError, AttributeError, Api2dbError) as error:
            log.warning("no schema made of dtypes stream=%s/bigquery cause=%s", self.name, error)
            return None
        return [declare(NAMES.legal(field.name), field) for field in fields if field.kind is not Kind.NULL]

    def build_bq_schema(self) -> list[dict[str, str]] | None:
        """The same, each as ``{"name": …, "type": …}``."""
        return _plain(self.build_schema())

    def connect(self) -> bool:
        """Try to reach the dataset and the table, and make them; the reason is logged if that doesn't work.

        Without ``schema``, and with if_exists="fail", the table is made by the first load; until then it is None.
        """
        from api2db.sinks.bigquery.refusals import ERRORS, cause_of
        from api2db.sinks.bigquery.tables import Tables

        self.connected = False
        try:
            self.cred = credentials_of(self._key_file(Path.cwd()))
            self.client = client = client_of(self.cred, self.pid, self.location, self.api_endpoint)
            tables = Tables(lambda: client, self._goal)
            self.dataset = tables.make_dataset()
            self.table = tables.get()
            if self.table is None and self.schema and self.if_exists != "fail":
                self.table = tables.make(self.schema) or tables.get()
        except (ConfigError, SinkError) as error:
            log.warning("not connected table=%s cause=%s", self._goal.table, error)
        except ERRORS as error:
            log.warning("not connected table=%s cause=%s", self._goal.table, cause_of(error).text)
        else:
            self.connected = True
        return self.connected

    def stream(self, data: pd.DataFrame, retry_depth: int = 5) -> None:
        """Load a frame at once: for a stream used on its own, without a daemon.

        It is accepted in STORE first. A load that fails is repeated ``retry_depth`` times, with growing pauses; then
        the reason is logged and the rows stay in ``STORE/upload_failed/<name>/bigquery/<timestamp_ns>.parquet``,
        to be loaded by ``check_failures`` or after the next frame that can be. Rows that never fit the table are
        kept in STORE/quarantine. Raises StoreFullError or StoreError if the frame can't be accepted, ShapeError for
        one that no table can be made of, StoreLockedError while a daemon uses the same STORE.
        """
        loaded = self._load_at_once(data, retry_depth)
        if loaded and self.table is None:
            self.connect()
        if loaded is not None:
            self.connected = loaded

    def _table(self, data: pd.DataFrame) -> pa.Table:
        table = super()._table(data)
        if self.dtypes is None:
            self.dtypes = _dtypes_of(data, table)
        return table

    def target(self, project: Path, store: Path) -> str:
        return f"bigquery://{self._goal.table}"

    def sink(self, placement: Placement) -> BigQuerySink:
        # As for the other streams' auth_path: against the folder the program runs in.
        access = Access(self._key_file(Path.cwd()), self.pid, self.location, self.api_endpoint, self.storage_endpoint)
        return BigQuerySink(
            stream=placement.stream,
            goal=self._goal,
            access=access,
            staging=placement.staging,
            parked=placement.parked,
            state=placement.store / "state",
            engines=placement.engines,
            durable=placement.durable,
            store_id=placement.store_id,
        )

    def _key_file(self, folder: Path) -> Path | None:
        return None if self.auth_path is None else Path(os.path.abspath(folder / self.auth_path))


def _plain(schema: list[SchemaField] | None) -> list[dict[str, str]] | None:
    return None if schema is None else [{"name": each.name, "type": each.field_type} for each in schema]


def _dtypes_of(data: pd.DataFrame, table: pa.Table) -> dict[str, object]:
    """A frame's own; of columns of objects what they are found to be, where a dtype says that."""
    dtypes: dict[str, object] = {str(name): dtype for name, dtype in data.dtypes.items()}
    for field in fields_of(table.schema):
        if getattr(dtypes.get(field.name), "kind", "") == "O" and field.kind not in (Kind.NULL, Kind.JSON):
            dtypes[field.name] = pd.StringDtype() if field.kind is Kind.TEXT else pd.ArrowDtype(field.arrow)
    return dtypes
