"""Google's errors as ours: the one place where they are translated. The list: docs/sinks/bigquery.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from api2db.errors import BadDataError, FatalError, RetryableError, SinkError
from api2db.secret import redact

if TYPE_CHECKING:
    from google.cloud.bigquery_storage_v1.types import AppendRowsResponse

ERRORS: tuple[type[Exception], ...] = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
_MAX_CHARS = 400

# https://cloud.google.com/bigquery/docs/error-messages
_RETRYABLE = {
    "backendError": "",
    "internalError": "",
    "jobBackendError": "",
    "jobInternalError": "",
    "jobRateLimitExceeded": "",
    "rateLimitExceeded": "",
    "quotaExceeded": "a quota of the project is used up; see its quotas in Google's console",
    "resourceInUse": "",
    "resourcesExceeded": "load fewer rows at once by chunk_size",
    "stopped": "somebody cancelled the job",
    "tableUnavailable": "",
    "timeout": "",
}
_FATAL = {
    "accessDenied": "give the service account the role BigQuery Data Editor on the dataset, and BigQuery Job User on"
    " the project",
    "billingNotEnabled": "link the project to a billing account",
    "billingTierLimitExceeded": "raise the limit in Google's console",
    "blocked": "ask Google why the project is blocked",
    "invalidQuery": "compare the table's definition with what is merged into it",
    "invalidUser": "ask Google why the account is invalid",
    "notFound": "see that project, dataset and location are the ones meant",
    "notImplemented": "",
    "responseTooLarge": "",
}
# A load job's refusal of the table's or the file's shape, not of a row: made to fit, it goes.
_OUT_OF_STEP = ("provided schema does not match table", "cannot add fields")
# "invalid" is said of requests and settings too: of rows only where the message says so, else good ones would be set
# aside one by one. Partitions are counted for each job: fewer rows have fewer.
_OF_ROWS = ("error while reading data", "too many partitions")

# Codes of gRPC: cancelled, unknown, late, exhausted, aborted, internal, unavailable; and denied, unauthenticated.
_WRITE_PASSES = (1, 2, 4, 8, 10, 13, 14)
_WRITE_DENIED = (7, 16)


@dataclass(frozen=True)
class Cause:
    """error  what to do about it, as a class; BadDataError: the target refuses some of the rows
    text   one line; no credentials
    advice what a person does next; empty where repeating heals it
    refit  the table, or the dataset, is no longer what it was
    """

    error: type[SinkError]
    text: str
    advice: str = ""
    refit: bool = False

    def raised(self, where: str) -> SinkError:
        return self.error(f"{where}: {self.text}" + (f"; {self.advice}" if self.advice else ""))


def cause_of(error: Exception) -> Cause:
    """Of an exception of a request, one of ``ERRORS``."""
    if isinstance(error, auth.RefreshError) and not error.retryable:
        # Its own text quotes what the token endpoint answered.
        return Cause(
            FatalError,
            "Google doesn't accept the credentials",
            "see that the key isn't deleted, and this machine's clock is right",
        )
    if not isinstance(error, api.GoogleAPICallError):
        return Cause(RetryableError, f"{type(error).__name__}: {_short(str(error))}")
    reason = str(next((each.get("reason", "") for each in error.errors or () if isinstance(each, dict)), ""))
    text = f"{error.code} {reason}: {_short(error.message or '')}" if reason else f"{error.code}: {_short(str(error))}"
    if reason in _RETRYABLE:
        return Cause(RetryableError, text, _RETRYABLE[reason])
    if reason in _FATAL:
        return Cause(FatalError, text, _FATAL[reason], refit=reason == "notFound")
    if isinstance(error, api.Unauthorized):
        return Cause(FatalError, text, "see that the key of the service account is still good")
    if isinstance(error, api.Forbidden):
        return Cause(FatalError, text, _FATAL["accessDenied"])
    if isinstance(error, api.NotFound):
        return Cause(FatalError, text, _FATAL["notFound"], refit=True)
    if isinstance(error, api.ClientError) and not isinstance(
        error, api.TooManyRequests | api.Conflict | api.PreconditionFailed
    ):
        return _of_message(text, reason)
    return Cause(RetryableError, text)


def cause_of_job(error: dict[str, str]) -> Cause:
    """Of the ``errorResult`` of a job that is done: nothing of it is in the table."""
    reason, message = error.get("reason", ""), error.get("message", "")
    text = f"{reason}: {_short(message)}"
    if reason in _RETRYABLE:
        return Cause(RetryableError, text, _RETRYABLE[reason])
    if reason in _FATAL:
        return Cause(FatalError, text, _FATAL[reason], refit=reason == "notFound")
    return _of_message(text, reason)


def cause_of_write(answer: AppendRowsResponse) -> Cause | None:
    """Of an answer of the Storage Write API; None if the rows are in. Where not, none of them is.

    ``refit`` where the stream they were sent to, or the table, isn't what it was.
    """
    if answer.row_errors:
        first = answer.row_errors[0]
        return Cause(BadDataError, f"{first.code.name}: {_short(first.message)}")
    if not answer.error.code:
        return None
    text = f"{answer.error.code}: {_short(answer.error.message)}"
    if answer.error.code in _WRITE_DENIED:
        return Cause(FatalError, text, _FATAL["accessDenied"])
    return Cause(RetryableError, text, refit=answer.error.code not in _WRITE_PASSES)


def _of_message(text: str, reason: str) -> Cause:
    if any(words in text.lower() for words in _OUT_OF_STEP):
        return Cause(RetryableError, text, refit=True)
    if any(words in text.lower() for words in _OF_ROWS):
        return Cause(BadDataError, text)
    return Cause(FatalError, text, "compare the table's definition with what is loaded into it")


def _short(text: str) -> str:
    return redact(" ".join(text.split()))[:_MAX_CHARS]
