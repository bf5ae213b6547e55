"""Rows written to a stream of the Storage Write API, each exactly once: an offset says where they belong.

A stream of type COMMITTED is this sink's alone; what is appended is readable at once. A request names the offset of its
first row, so the same request sent again is refused where it was done the first time. Where a stream can't go on it is
finalized: nothing is added to it any more, and Google says how many rows it has. See docs/sinks/bigquery.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from google.api_core.exceptions import (
    AlreadyExists,
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
)

from api2db.errors import BadDataError, FatalError, RetryableError
from api2db.failpoint import reach
from api2db.sinks.bigquery.manifest import Manifest, Part
from api2db.sinks.bigquery.payload import RowsLost, arrow_message
from api2db.sinks.bigquery.refusals import Cause, cause_of_write

if TYPE_CHECKING:
    from google.cloud.bigquery_storage_v1 import BigQueryWriteClient

TIMEOUT_S: Final = 60.0
# A request has at most 10 MB (https://cloud.google.com/bigquery/quotas#write-api-limits), and is more than its rows.
MAX_BYTES: Final = 9_500_000
_ALREADY_EXISTS: Final = 6  # https://grpc.io/docs/guides/status-codes/


class Appends:
    """The appends of one stream of ours. One thread at a time.

    client  asked for at each use
    """

    def __init__(self, client: Callable[[], BigQueryWriteClient]) -> None:
        self._client = client
        # Where the next manifest goes on; no stream outlives its process, but for a manifest that is left.
        self._stream, self._end = "", 0
        self._mine = ""  # the manifest of which it is known here what was sent
        self._sent: set[tuple[int, int]] = set()

    def load(
        self, manifest: Manifest, part: Part, saved: Callable[[Manifest], Manifest], *, is_new: bool
    ) -> tuple[Cause | None, Manifest]:
        """Append a part, or learn that it was; None once it is in, else why nothing of it is. And the manifest since.

        saved   puts a manifest on disk: stream and offset are there before a request is sent
        is_new  no request for any of the manifest can have been sent before

        Raises Google's errors, FatalError where nobody can tell any more whether the part is in, and RowsLost where it
        isn't and its rows can't be read.
        """
        if is_new or not manifest.write_stream:
            self._mine, self._sent = manifest.id, set()
        if not manifest.write_stream:
            manifest = saved(self._begun(manifest))
        in_doubt = manifest.id != self._mine or (part.start, part.stop) in self._sent
        self._mine = manifest.id
        offset = manifest.next_offset
        try:
            request = arrow_message(manifest, part, offset)
        except RowsLost as lost:
            # Its stream is ended, so that it is known whether the part is in, and it can't come later.
            gone = Cause(RetryableError, str(lost))
            cause, manifest = self._replaced(manifest, part, gone, saved, in_doubt=in_doubt)
            if cause is None:
                return None, manifest
            raise
        if request._pb.ByteSize() > MAX_BYTES:
            return Cause(BadDataError, "it is larger than the 10 MB that a request may have"), manifest
        self._sent.add((part.start, part.stop))
        reach("bigquery.submitting")
        code, cause = self._append(request)
        reach("bigquery.submitted")
        if cause is None or (code == _ALREADY_EXISTS and in_doubt):
            self._stream, self._end = manifest.write_stream, offset + part.stop - part.start
            return None, manifest
        if not cause.refit:
            return cause, manifest
        # It can't go on as it is: finalized, expired, its table altered, or its end isn't where we left it.
        return self._replaced(manifest, part, cause, saved, in_doubt=in_doubt)

    def _begun(self, manifest: Manifest) -> Manifest:
        from google.cloud.bigquery_storage_v1 import types

        if not self._stream:
            kind = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
            try:
                made = self._client().create_write_stream(
                    parent=_parent(manifest.table), write_stream=kind, retry=None, timeout=TIMEOUT_S
                )
            except NotFound as error:
                raise RetryableError(f"the Storage Write API doesn't know it, or not yet: {error.message}") from error
            self._stream, self._end = made.name, 0
        return replace(manifest, write_stream=self._stream, write_offset=self._end - manifest.rows_in)

    def _append(self, request: Any) -> tuple[int, Cause | None]:
        """Google's answer to one request: its code and, if it isn't done, why. Raises what may pass by itself."""
        try:
            answers = self._client().append_rows(
                iter([request]),
                retry=None,
                timeout=TIMEOUT_S,
                metadata=(("x-goog-request-params", f"write_stream={request.write_stream}"),),
            )
            answer = next(iter(answers))
        except StopIteration:
            raise RetryableError("the Storage Write API ended the connection without an answer") from None
        except Cancelled as error:
            raise RetryableError(str(error)) from error
        except (AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange) as error:
            code = _ALREADY_EXISTS if isinstance(error, AlreadyExists) else -1
            return code, Cause(RetryableError, str(error), refit=True)
        return answer.error.code, cause_of_write(answer)

    def _replaced(
        self,
        manifest: Manifest,
        part: Part,
        cause: Cause,
        saved: Callable[[Manifest], Manifest],
        *,
        in_doubt: bool,
    ) -> tuple[Cause | None, Manifest]:
        """End the manifest's stream; whether the part is in it is then known for good."""
        self._stream = ""
        try:
            rows = (
                self._client()
                .finalize_write_stream(name=manifest.write_stream, retry=None, timeout=TIMEOUT_S)
                .row_count
            )
        except (FailedPrecondition, InvalidArgument, NotFound) as error:
            if in_doubt:
                raise FatalError(
                    f"{manifest.path}: Google has forgotten the stream these rows were on their way in, so nobody can"
                    f" tell whether rows {part.start} to {part.stop} of it are in {manifest.table}: look there, then"
                    " remove that file, and the shards too if they are"
                ) from error
            rows = 0
        if in_doubt and rows >= manifest.next_offset + part.stop - part.start:
            manifest = saved(replace(manifest, write_stream="", write_offset=0))
            return None, manifest
        return cause, saved(replace(manifest, write_stream="", write_offset=0))


def _parent(table: str) -> str:
    project, dataset, name = table.rsplit(".", 2)
    return f"projects/{project}/datasets/{dataset}/tables/{name}"
