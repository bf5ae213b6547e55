"""Every error Google documents, as one of ours: what is repeated, what stops the stream, what is a row's fault."""

from __future__ import annotations

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from api2db.errors import BadDataError, FatalError, RetryableError, SinkError
from api2db.sinks.bigquery.manifest import Fate, Member, Part, halves
from api2db.sinks.bigquery.refusals import ERRORS, cause_of, cause_of_job


def http(kind: type[api.GoogleAPICallError], reason: str, message: str = "said so") -> api.GoogleAPICallError:
    return kind(message, errors=[{"reason": reason}])


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (http(api.Forbidden, "rateLimitExceeded"), RetryableError),
        (http(api.Forbidden, "quotaExceeded"), RetryableError),
        (http(api.Forbidden, "accessDenied"), FatalError),
        (http(api.Forbidden, "billingNotEnabled"), FatalError),
        (api.Forbidden("without a reason"), FatalError),
        (http(api.TooManyRequests, "rateLimitExceeded"), RetryableError),
        (api.TooManyRequests("without a reason"), RetryableError),
        (http(api.Unauthorized, "authError"), FatalError),
        (http(api.NotFound, "notFound"), FatalError),
        (http(api.Conflict, "duplicate"), RetryableError),
        (http(api.BadRequest, "invalid", "Error while reading data, error message: x"), BadDataError),
        (http(api.BadRequest, "invalid", "Unsupported field type: JSON"), FatalError),
        (http(api.BadRequest, "invalid", "Provided Schema does not match Table a:b.c"), RetryableError),
        (http(api.ServiceUnavailable, "backendError"), RetryableError),
        (api.InternalServerError("x"), RetryableError),
        (api.BadGateway("x"), RetryableError),
        (api.GatewayTimeout("x"), RetryableError),
        (api.RetryError("x", None), RetryableError),
        (auth.RefreshError("invalid_grant: Invalid JWT Signature."), FatalError),
        (auth.RefreshError("try again", retryable=True), RetryableError),
        (auth.TransportError("no route"), RetryableError),
        (requests.ConnectionError("reset"), RetryableError),
        (requests.Timeout("slow"), RetryableError),
        (requests.exceptions.ChunkedEncodingError("cut"), RetryableError),
        (ConnectionResetError("reset"), RetryableError),
    ],
    ids=lambda value: "" if isinstance(value, type) else repr(value)[:60],
)
def test_an_error_of_a_request_says_what_to_do(error: Exception, ours: type[SinkError]) -> None:
    assert isinstance(error, ERRORS)
    cause = cause_of(error)
    assert cause.error is ours
    assert str(cause.raised("stream s")).startswith("stream s: ")


def test_what_the_token_endpoint_says_of_a_key_is_not_repeated() -> None:
    assert "secret" not in cause_of(auth.RefreshError("secret")).text


@pytest.mark.parametrize(
    ("reason", "message", "ours", "refit"),
    [
        ("invalid", "Error while reading data, error message: Bad int64 value", BadDataError, False),
        ("invalid", "Too many partitions produced by query", BadDataError, False),
        ("invalid", "Schema update options should only be specified with", FatalError, False),
        ("invalid", "Provided Schema does not match Table p:d.t. Field x is missing", RetryableError, True),
        ("notFound", "Not found: Dataset p:d", FatalError, True),
        ("backendError", "again", RetryableError, False),
        ("resourcesExceeded", "too large", RetryableError, False),
        ("accessDenied", "no", FatalError, False),
        ("something new", "what", FatalError, False),
    ],
)
def test_an_error_of_a_job_is_a_rows_fault_only_where_google_says_so(
    reason: str, message: str, ours: type[SinkError], refit: bool
) -> None:
    cause = cause_of_job({"reason": reason, "message": message})
    assert (cause.error, cause.refit) == (ours, refit)


def test_a_refused_part_is_halved_until_its_row_is_alone() -> None:
    parts, rows = [Part(0, 7)], []
    while parts:
        part = parts.pop()
        if part.fate is Fate.REFUSED:
            rows += range(part.start, part.stop)
        else:
            parts += halves(part)
    assert sorted(rows) == list(range(7))


def test_a_row_is_found_again_among_those_that_were_refused_before() -> None:
    member = Member("b", 1, 4, {0: "x", 2: "x", 3: "x"})
    assert [member.row_of(place) for place in range(4)] == [1, 4, 5, 6]
