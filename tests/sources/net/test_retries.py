"""What fails is asked for again, as patiently as the server wants it, and not for ever."""

from __future__ import annotations

import email.utils
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from api2db.errors import ConfigError
from api2db.sources.context import PutOff
from api2db.sources.http import HttpError
from api2db.sources.net.fetcher import Fetcher
from api2db.sources.net.retries import Retries
from api2db.sources.net.slowdown import retry_after_s, used_up_s
from api2db.sources.rest.ask import Ask
from tests.http_api import HTML, RESET, SERVER_ERROR, TRUNCATED, Answer, HttpApi
from tests.sources.net.kit import get, quick, records

ONE = [{"id": 1}]


def refusal(status: int, **headers: str) -> Answer:
    return Answer(status, b"{}", headers=tuple((name.replace("_", "-"), value) for name, value in headers.items()))


@pytest.mark.parametrize("failure", [SERVER_ERROR, RESET, TRUNCATED, *map(refusal, (408, 429, 502, 503, 504))])
def test_what_fails_for_a_moment_is_asked_for_again(http_api: HttpApi, failure: Answer) -> None:
    http_api.script(failure, failure)
    assert records(quick().fetch(get(http_api.url))) == ONE
    assert len(http_api.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_what_would_fail_again_is_asked_for_once(http_api: HttpApi, status: int) -> None:
    http_api.script(refusal(status))
    with pytest.raises(HttpError, match=f"answered {status}"):
        quick().fetch(get(http_api.url))
    assert len(http_api.requests) == 1


def test_a_server_that_stays_down_is_given_up_with_how_often_it_was_asked_and_what_it_said(http_api: HttpApi) -> None:
    http_api.script(RESET, refusal(502))
    http_api.always(SERVER_ERROR)
    with pytest.raises(HttpError, match=r"answered 500.*; asked 5 times in \d+\.\d s: .*reset.*, 502, 500 \(3 times\)"):
        quick().fetch(get(http_api.url))
    assert len(http_api.requests) == 5
    with pytest.raises(HttpError, match="asked 2 times"):
        quick(retry={"retries": 1}).fetch(get(http_api.url))
    with pytest.raises(HttpError) as failed:
        Fetcher(retry=0).fetch(get(http_api.url))
    assert "asked" not in str(failed.value)
    assert failed.value.response is not None
    assert len(http_api.requests) == 8


def test_no_repeat_begins_after_the_time_for_all_of_them(http_api: HttpApi) -> None:
    http_api.always(SERVER_ERROR)
    with pytest.raises(HttpError, match="answered 500"):
        quick(retry={"retries": 10**6, "total_s": 0.2}).fetch(get(http_api.url))


def test_a_request_that_may_change_something_is_sent_once_and_one_that_only_reads_again(http_api: HttpApi) -> None:
    ask = Ask("POST", http_api.url, body=b"{}")
    http_api.script(SERVER_ERROR)
    with pytest.raises(HttpError):
        quick().fetch(ask)
    http_api.script(SERVER_ERROR)
    assert records(quick().fetch(ask, repeatable=True)) == ONE
    assert len(http_api.requests) == 3


def test_an_answer_that_isnt_what_it_should_be_is_no_reason_to_ask_again(http_api: HttpApi) -> None:
    http_api.script(HTML)
    with pytest.raises(HttpError, match="Sign in"):
        records(quick().fetch(get(http_api.url)))
    assert len(http_api.requests) == 1


def in_http_date(seconds: float) -> str:
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(("form", "status"), [("seconds", 429), ("date", 503)])
def test_retry_after_is_waited_for_to_the_end(http_api: HttpApi, form: str, status: int) -> None:
    answered: list[float] = []

    def at_the_end() -> list[bytes]:
        answered.append(time.monotonic())
        return []

    # A date has whole seconds: this one is one to two seconds ahead of the Date the server sends along.
    wait = "1" if form == "seconds" else in_http_date(1)
    headers = (("Retry-After", wait), ("Content-Length", "0"))
    http_api.script(Answer(status, b"", headers=headers, parts=at_the_end))
    assert records(quick().fetch(get(http_api.url))) == ONE
    asked_again = time.monotonic()
    earliest = 1.0 if form == "seconds" else 0.0
    assert asked_again - answered[0] >= earliest
    if form == "date":
        assert time.time() >= email.utils.parsedate_to_datetime(wait).timestamp()


def test_what_takes_longer_than_one_waits_puts_the_poll_off_and_the_host_is_left_alone(http_api: HttpApi) -> None:
    http_api.script(refusal(429, Retry_After="3600"))
    fetcher = quick()
    with pytest.raises(PutOff, match=r"answered 429, Retry-After: it is asked again in 3[56]") as put_off:
        fetcher.fetch(get(http_api.url))
    assert 3500 <= put_off.value.until_s <= 3600
    with pytest.raises(PutOff):
        fetcher.fetch(get(http_api.url + "/another"))
    assert len(http_api.requests) == 1


@pytest.mark.parametrize("later", ["refused", "good"])
def test_an_answer_that_was_under_way_shortens_no_wait(http_api: HttpApi, later: str) -> None:
    """Both were asked for before the server wanted no more; the second says a shorter time."""
    used_up = (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1"))
    headers = (("Retry-After", "1"),) if later == "refused" else used_up
    http_api.script(
        Answer(429 if later == "refused" else 200, headers=headers, hang=True), refusal(429, Retry_After="3600")
    )
    fetcher = quick(retry={"retries": 0})
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(fetcher.fetch, get(http_api.url))
        http_api.wait_for_requests(1)
        with pytest.raises(PutOff):
            fetcher.fetch(get(http_api.url))
        http_api.release()
        slow.exception()
    with pytest.raises(PutOff, match=r"asked again in 3[56]"):
        fetcher.fetch(get(http_api.url))
    assert len(http_api.requests) == 2


def test_a_limit_that_is_used_up_is_waited_for_before_the_next_request(http_api: HttpApi) -> None:
    used_up = Answer(headers=(("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1")))
    http_api.script(used_up)
    fetcher = quick()
    before = time.monotonic()
    assert records(fetcher.fetch(get(http_api.url))) == ONE
    fetcher.fetch(get(http_api.url))
    assert time.monotonic() - before >= 1


def test_a_limit_that_is_refused_by_403_is_a_limit_all_the_same(http_api: HttpApi) -> None:
    http_api.script(refusal(403, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(time.time()) + 600)))
    with pytest.raises(PutOff, match="answered 403, its rate limit is used up"):
        quick().fetch(get(http_api.url))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "99999999"}, 86400),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:10 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_retry_after_is_read_by_the_servers_own_clock(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


DATE = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}, 30),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "30"}, None),
        ({"X-RateLimit-Remaining": "0"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1445412490"} | DATE, 10),
        ({"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "1445412490000"} | DATE, 10),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1445412490", "X-RateLimit-Reset-After": "2.5"}, 2.5),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "12"}, 12),
        ({"RateLimit": "limit=100, remaining=0, reset=5"}, 5),
        ({"RateLimit": "limit=100, remaining=9, reset=5"}, None),
        ({"RateLimit": '"burst";r=0;t=5, "day";r=70;t=3600'}, 5),
        ({"RateLimit": "nonsense"}, None),
        ({"X-RateLimit-Remaining": "none", "X-RateLimit-Reset": "never"}, None),
    ],
)  # fmt: skip
def test_limits_are_read_as_servers_spell_them(headers: dict[str, str], seconds: float | None) -> None:
    assert used_up_s(headers) == seconds


def test_patience_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="retry='often'"):
        Fetcher(retry="often")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="retries is 0 or more"):
        Retries(retries=-1)
