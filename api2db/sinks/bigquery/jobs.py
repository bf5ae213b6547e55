"""One job of a manifest, from its id to its outcome. What the answers say is believed; what they don't is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import BadRequest, Conflict, NotFound

from api2db.errors import FatalError, RetryableError
from api2db.failpoint import reach
from api2db.sinks.bigquery.manifest import Manifest, Part, Way
from api2db.sinks.bigquery.merge import merge_sql
from api2db.sinks.bigquery.payload import opened
from api2db.sinks.bigquery.refusals import Cause, cause_of, cause_of_job

if TYPE_CHECKING:
    from google.cloud import bigquery

# Google's client would repeat for ten minutes what delivery repeats, visibly, by its own rule.
ONCE: Any = None
TIMEOUT_S = (10.0, 120.0)  # to connect, and between two bytes
JOB_TIMEOUT_S = 600.0
# Google forgets a job after six months: of an older one nobody can tell whether it was.
FORGOTTEN_S = 150 * 86_400.0
_NOTHING = "SELECT 1"
_FIRST_LOOK_S, _SLOWEST_LOOK_S = 0.05, 2.0


class Jobs:
    """The jobs of one stream. One thread at a time.

    client    asked for at each use
    location  where they run
    started   called before each job that is new
    """

    def __init__(self, client: Callable[[], bigquery.Client], location: str, started: Callable[[], None]) -> None:
        self._client = client
        self._location = location
        self._started = started
        self._pause = threading.Event()  # never set: nobody calls off a job that Google has

    def load(self, manifest: Manifest, part: Part, *, is_new: bool) -> Cause | None:
        """Load a part, or learn that it was loaded; None once it is in, else why nothing of it is.

        is_new  no request for this job can have been sent before

        Raises Google's errors, RetryableError for a job that isn't done in time: it is asked for next time, and
        RowsLost where Google knows no such job and its rows can't be read.
        """

        to = manifest.staging if manifest.is_staged else manifest.table
        rows = part.start, part.stop

        def start() -> Any:
            return self._upload(manifest, manifest.job_id(part), to, *rows)

        return self._settled(manifest, manifest.job_id(part), start, is_new=is_new)

    def replace(self, manifest: Manifest) -> Cause | None:
        """The same for the rows of what was sifted that BigQuery takes, which replace those of the table."""

        def start() -> Any:
            refused = manifest.refused_places
            return self._upload(manifest, manifest.last_id, manifest.table, 0, manifest.rows, refused)

        return self._settled(manifest, manifest.last_id, start, is_new=False)

    def _upload(
        self, manifest: Manifest, job_id: str, to: str, start: int, stop: int, without: Sequence[int] = ()
    ) -> Any:
        from google.cloud.bigquery import SchemaField

        columns = [SchemaField.from_api_repr(column) for column in manifest.columns]
        sent, form = opened(manifest.rows_path, columns, start, stop, without)
        with sent:
            size = sent.seek(0, 2)
            return self._client().load_table_from_file(
                sent,
                to,
                rewind=True,
                size=size,
                num_retries=0,
                job_id=job_id,
                location=self._location,
                job_config=_config(manifest, to, columns, form),
                timeout=TIMEOUT_S,
            )

    def merge(self, manifest: Manifest) -> Cause | None:
        """The same for the statement that merges what is staged."""

        def start() -> Any:
            return self._client().query(
                merge_sql(manifest),
                job_id=manifest.last_id,
                location=self._location,
                retry=ONCE,
                job_retry=ONCE,
                timeout=TIMEOUT_S[1],
            )

        return self._settled(manifest, manifest.last_id, start, is_new=False)

    def bar(self, job_id: str) -> bool:
        """Whether nothing was done under this id, and never will be: it is given to a job that does nothing.

        Google refuses the second of one id, so a request that is still on its way does no harm. Raises Google's errors.
        """
        try:
            self._client().query(
                _NOTHING, job_id=job_id, location=self._location, retry=ONCE, job_retry=ONCE, timeout=TIMEOUT_S[1]
            )
        except Conflict:
            job = self._known(job_id)
            return job is not None and job.job_type == "query" and job.query == _NOTHING
        return True

    def _settled(self, manifest: Manifest, job_id: str, start: Callable[[], Any], *, is_new: bool) -> Cause | None:
        job = None if is_new else self._known(job_id)
        if job is None:
            if time.time() - manifest.frozen_s > FORGOTTEN_S:
                raise FatalError(
                    f"{manifest.path} is of a time whose jobs Google has forgotten: see whether its rows are in"
                    f" {manifest.table}, then remove it, and the shards too if they are"
                )
            self._started()
            reach("bigquery.submitting")
            try:
                job = start()
            except Conflict:
                # The client has repeated a request whose answer was lost, or an earlier one arrived late.
                job = self._known(job_id)
                if job is None:
                    raise
            except (BadRequest, NotFound) as error:
                return cause_of(error)  # there is no such job, or it has ended at once
            reach("bigquery.submitted")
        return self._outcome(job_id, job)

    def _known(self, job_id: str) -> Any:
        try:
            return self._client().get_job(job_id, location=self._location, retry=ONCE, timeout=TIMEOUT_S[1])
        except NotFound:
            return None

    def _outcome(self, job_id: str, job: Any) -> Cause | None:
        deadline, pause_s = time.monotonic() + JOB_TIMEOUT_S, _FIRST_LOOK_S
        while job is None or job.state != "DONE":
            if time.monotonic() > deadline:
                raise RetryableError(f"job {job_id} isn't done after {JOB_TIMEOUT_S:g} s; it is asked for again")
            self._pause.wait(pause_s)
            pause_s = min(2 * pause_s, _SLOWEST_LOOK_S)
            job = self._client().get_job(job_id, location=self._location, retry=ONCE, timeout=TIMEOUT_S[1])
        return None if job.error_result is None else cause_of_job(job.error_result)


def _config(manifest: Manifest, to: str, columns: Sequence[bigquery.SchemaField], form: str) -> bigquery.LoadJobConfig:
    from google.cloud.bigquery import LoadJobConfig
    from google.cloud.bigquery.format_options import ParquetOptions

    stages = to == manifest.staging
    config = LoadJobConfig(
        schema=list(columns),
        source_format=form,
        create_disposition="CREATE_IF_NEEDED",
        write_disposition="WRITE_TRUNCATE" if manifest.way is Way.REPLACE and not stages else "WRITE_APPEND",
    )
    if form == "PARQUET" and any(column.mode == "REPEATED" or column.fields for column in columns):
        parquet = ParquetOptions()  # type: ignore[no-untyped-call]
        parquet.enable_list_inference = True  # else an ARRAY is a RECORD of a list of records
        config.parquet_options = parquet
    if not stages:
        # Google refuses to replace the rows of a partitioned table by a job that doesn't say how it is partitioned;
        # and a table that was dropped meanwhile becomes what it was.
        if manifest.way is not Way.REPLACE:
            config.schema_update_options = ["ALLOW_FIELD_ADDITION"]
        about = config.to_api_repr()
        about["load"] |= manifest.layout
        config = LoadJobConfig.from_api_repr(about)  # type: ignore[assignment]
    return config
