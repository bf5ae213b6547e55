"""A host is asked no more often than anybody who asks it has promised, whoever that is and whatever is restarted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db import Rest
from api2db.cli.status_text import as_text
from api2db.errors import ConfigError
from api2db.runtime.run import Run
from api2db.runtime.status import read_status
from api2db.sources.context import POLL, PollContext, PutOff, Stopping
from api2db.sources.net.fetcher import Fetcher
from api2db.sources.net.hosts import Hosts
from api2db.sources.net.rate import PARTS, Rate, Window, read_rate
from tests.http_api import Answer, HttpApi
from tests.project_kit import eventually
from tests.sources.net.kit import Polls, get, quick, records


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("60/min", [(60, 60)]),
        ("10/s", [(10, 1)]),
        (" 5000 / h ", [(5000, 3600)]),
        ("300/15m", [(300, 900)]),
        ("1/day", [(1, 86400)]),
        ("10/s, 5000/hour", [(10, 1), (5000, 3600)]),
    ],
)
def test_a_rate_is_read_as_people_write_it(text: str, rates: list[tuple[int, float]]) -> None:
    assert read_rate(text) == tuple(Rate(*rate) for rate in rates)


@pytest.mark.parametrize(
    "text", ["", "60", "60/", "/min", "0/min", "60/0s", "-1/s", "many/min", "1/fortnight", 60, "1/s,"]
)
def test_a_rate_that_is_none_is_refused_where_it_is_written(text: str) -> None:
    with pytest.raises(ConfigError, match="rate="):
        Fetcher(rate=text)


@pytest.mark.parametrize("concurrency", [0, -1, True, "4"])
def test_how_many_at_once_must_be_a_number(concurrency: int) -> None:
    with pytest.raises(ConfigError, match="concurrency="):
        Fetcher(concurrency=concurrency)


@given(
    st.integers(1, 20),
    st.sampled_from([1.0, 60.0, 86400.0]),
    st.lists(st.floats(0, 1), max_size=80),
    st.integers(0, 80),
)
def test_no_window_has_more_requests_than_its_rate_and_the_wait_is_as_long_as_it_says(
    requests: int, window_s: float, pauses: list[float], restart_at: int
) -> None:
    rate = Rate(requests, window_s)
    window, now_s, made = Window(rate), 1000.0, []
    for number, pause in enumerate(pauses):
        now_s += pause * window_s / requests
        if number == restart_at:  # the next process' clock counts from elsewhere
            ages, window = window.ages(now_s), Window(rate)
            made = [at - now_s + 7.0 for at in made]
            now_s = 7.0
            window.recall(now_s, ages)
        wait_s = window.wait_s(now_s)
        assert 0 <= wait_s <= window_s * (1 + 3 / PARTS)
        now_s += wait_s
        while (more_s := window.wait_s(now_s)) > 0:  # a rounding error's worth
            assert more_s < window_s / PARTS
            now_s += more_s
        window.note(now_s)
        made.append(now_s)
        assert sum(at > now_s - window_s for at in made) <= requests


def test_two_collectors_share_the_budget_of_a_host(http_api: HttpApi) -> None:
    """Whoever asks: the strictest rate that anybody has named holds for all."""
    hosts = Hosts()
    strict, other = quick(rate="5/500ms"), quick()
    done: list[float] = []

    def ask(fetcher: Fetcher) -> None:
        POLL.set(PollContext(hosts=hosts))
        for _ in range(6):
            fetcher.fetch(get(http_api.url))
        done.append(time.monotonic())

    began = time.monotonic()
    POLL.set(PollContext(hosts=hosts))
    strict.fetch(get(http_api.url))
    threads = [threading.Thread(target=ask, args=(fetcher,)) for fetcher in (strict, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    POLL.set(None)
    assert len(http_api.requests) == 13
    assert max(done) - began >= 1.0  # 13 are more than two windows take


def test_other_hosts_have_budgets_of_their_own(http_api: HttpApi) -> None:
    with HttpApi() as other:
        fetcher = quick(rate="1/h")
        fetcher.fetch(get(http_api.url))
        fetcher.fetch(get(other.url))
        for url in (http_api.url, other.url):
            with pytest.raises(PutOff, match=r"127\.0\.0\.1:\d+: its budget is used up, and has room in 3\d\d\d s"):
                fetcher.fetch(get(url))


def asked(hosts: Hosts, times: int, rate: str) -> int:
    """How many of so many requests a host may be asked now."""
    for number in range(times):
        try:
            with hosts.turn("api.example.org", read_rate(rate), 4, 60.0, PollContext()):
                pass
        except PutOff:
            return number
    return times


@pytest.mark.parametrize("ends", ["killed", "stopped"])
@pytest.mark.parametrize(("rate", "before", "lost"), [("5/day", 3, 0), ("300/h", 10, 3)])
def test_a_restart_goes_on_with_the_budget_there_was(
    tmp_path: Path, rate: str, before: int, lost: int, ends: str
) -> None:
    hosts = Hosts(tmp_path)
    assert asked(hosts, before, rate) == before
    if ends == "stopped":
        hosts.close()
        lost = 0
    left = read_rate(rate)[0].requests - before
    assert left - lost <= asked(Hosts(tmp_path), 300, rate) <= left


@pytest.mark.parametrize(("ends", "left"), [("killed", 4), ("stopped", 3)])
def test_a_budget_that_nobody_named_in_a_run_in_between_is_there_in_the_next(
    tmp_path: Path, ends: str, left: int
) -> None:
    """What others asked then counts, too, as far as it was written down."""
    asked(Hosts(tmp_path), 3, "8/day")
    between = Hosts(tmp_path)
    assert asked(between, 2, "600/min") == 2
    if ends == "stopped":
        between.close()
    assert asked(Hosts(tmp_path), 300, "8/day") == left


def test_what_is_promised_of_a_host_holds_for_all_also_before_who_promised_it_has_asked() -> None:
    hosts, strict = Hosts(), Rest("https://api.example.org/v1", rate="3/h", concurrency=1)

    def turn() -> AbstractContextManager[None]:
        return hosts.turn("api.example.org", (), None, 0.05, PollContext())

    with turn(), pytest.raises(PutOff, match="1 requests to it have been under way for long"), turn():
        pass
    assert asked(hosts, 5, "1000/h") == 2  # the first counts
    del strict
    assert asked(Hosts(), 5, "1000/h") == 5


def test_whoever_waits_longest_for_a_turn_has_the_next_one() -> None:
    """Also before one that asks again and again, for pages say, and says nothing of how many there may be."""
    hosts, waits, order = Hosts(), threading.Event(), list[str]()

    class Waiting(PollContext):
        def wait(self, seconds: float) -> None:
            waits.set()
            super().wait(seconds)

    def other() -> None:
        with hosts.turn("api.example.org", (), 1, 60.0, Waiting()):
            order.append("other")

    thread = threading.Thread(target=other)
    with hosts.turn("api.example.org", (), None, 60.0, PollContext()):
        thread.start()
        waits.wait(30)
    with hosts.turn("api.example.org", (), None, 60.0, PollContext()):
        order.append("again")
    thread.join()
    assert order == ["other", "again"]


def test_a_damaged_memory_of_a_budget_is_none(tmp_path: Path) -> None:
    for _ in range(2):
        assert asked(Hosts(tmp_path), 3, "2/h") == 2
        for path in tmp_path.iterdir():
            path.write_bytes(b'{"at_s": 1')


def test_no_more_requests_are_under_way_at_once_than_a_host_is_to_have(http_api: HttpApi) -> None:
    lock, under_way, most = threading.Lock(), [0], [0]
    together = threading.Barrier(2)

    def body() -> Iterator[bytes]:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        together.wait(30)  # two at a time there are
        with lock:
            under_way[0] -= 1
        yield b"[]"

    http_api.always(Answer(body=b"", parts=body))
    fetchers = [quick(concurrency=2) for _ in range(2)]
    hosts = Hosts()

    def ask(fetcher: Fetcher) -> None:
        POLL.set(PollContext(hosts=hosts))
        fetcher.fetch(get(http_api.url))

    threads = [threading.Thread(target=ask, args=(fetchers[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [2]


def test_a_request_that_fails_gives_its_place_back(http_api: HttpApi) -> None:
    http_api.always(Answer(404, b""))
    fetcher = quick(concurrency=1)
    token = POLL.set(PollContext(hosts=Hosts()))
    for _ in range(2):
        with pytest.raises(Exception, match="404"):
            fetcher.fetch(get(http_api.url))
    POLL.reset(token)


class Impatient(PollContext):
    def wait(self, seconds: float) -> None:
        raise Stopping("the daemon is stopping")


def test_who_waits_for_a_turn_when_the_daemon_stops_gives_its_place_back(http_api: HttpApi) -> None:
    hosts = Hosts()
    fetcher = quick(rate="1/50s", concurrency=1)
    token = POLL.set(PollContext(hosts=hosts))
    fetcher.fetch(get(http_api.url))
    POLL.set(Impatient(hosts=hosts))
    with pytest.raises(Stopping):
        fetcher.fetch(get(http_api.url))
    POLL.set(PollContext(hosts=hosts))
    with pytest.raises(PutOff, match="its budget is used up"):  # and not: too many are under way
        quick(concurrency=1, retry={"max_wait_s": 0.1}).fetch(get(http_api.url))
    POLL.reset(token)


class Crowded(Hosts):
    """Somebody else's request comes in between: before the first turn is had, or as soon as it is given back."""

    def __init__(self, other: Callable[[], object], *, first: bool) -> None:
        super().__init__()
        self._other, self._first, self._turns = other, first, 0

    @contextmanager
    def turn(self, *args: Any) -> Iterator[None]:
        self._turns += 1
        number = self._turns
        if number == 1 and self._first:
            self._other()
        with super().turn(*args):
            yield
        if number == 1 and not self._first:
            self._other()


@pytest.mark.parametrize("first", [True, False], ids=["while it waits for its turn", "at the moment the turn is free"])
def test_retry_after_is_obeyed_by_who_already_waits_for_a_turn(http_api: HttpApi, first: bool) -> None:
    http_api.script(Answer(429, b"", headers=(("Retry-After", "3600"),)))
    fetcher = quick(concurrency=1)

    def other() -> None:
        with pytest.raises(PutOff, match="Retry-After"):
            fetcher.fetch(get(http_api.url + "/other"))

    hosts = Crowded(other, first=first)
    token = POLL.set(PollContext(hosts=hosts))
    with pytest.raises(PutOff, match="Retry-After"):
        fetcher.fetch(get(http_api.url))
    assert len(http_api.requests) == 1
    quick(concurrency=1, retry={"max_wait_s": 0.1}).fetch(get(http_api.url))  # its turn was given back
    POLL.reset(token)


@pytest.mark.parametrize(("fresh_s", "state"), [(None, "waiting"), (1e-9, "stale")])
def test_a_poll_without_room_in_its_budget_waits_and_so_does_the_next_process(
    tmp_path: Path, http_api: HttpApi, fresh_s: float | None, state: str
) -> None:
    fetcher = quick(rate="1/h", conditional=False)

    def one() -> object:
        return records(fetcher.fetch(get(http_api.url)))

    made = Polls(tmp_path, one)
    made.journal.declare([("c", 1.0, fresh_s)], [])
    assert made.poll() == ("ok", None)
    assert made.job.not_before_ns == 0
    before_ns = time.time_ns()
    outcome, cause = made.poll()
    assert (outcome, "its budget is used up" in str(cause)) == ("waiting", True)
    assert made.job.put_off
    status = read_status(made.spool.layout)
    assert status.collectors[0].state == state
    assert str(cause) in str(status.collectors[0].cause)
    assert str(cause) in as_text(status)
    ahead_s = (made.job.not_before_ns - before_ns) / 1e9
    assert 3000 < ahead_s < 3800
    made.close()
    made = Polls(tmp_path, one)
    assert made.job.not_before_ns > time.time_ns()
    made.shards.reset_cursor(None)  # a person wants it read again: now
    assert made.job.not_before_ns == 0
    made.close()
    made = Polls(tmp_path, one)
    assert made.job.not_before_ns == 0
    made.close()


def test_a_poll_that_waits_ends_when_the_daemon_stops_and_the_wait_isnt_its_items_time(
    tmp_path: Path, http_api: HttpApi
) -> None:
    http_api.always(Answer(503, b"", headers=(("Retry-After", "50"),)))
    fetcher = quick()
    made = Polls(tmp_path, lambda: fetcher.fetch(get(http_api.url)) and None)
    made.job.timeout_s = 5
    thread = threading.Thread(target=made.job.poll, args=(made.stop,))
    run = made.job.run = Run(time.time_ns(), time.monotonic(), time.monotonic())
    thread.start()
    eventually(lambda: run.item_since_s > time.monotonic() + 5)
    assert not made.job.overdue(time.monotonic() + 40)
    made.stop.set()
    thread.join()
    assert made.outcome == ("stopped", None)
    made.close()
