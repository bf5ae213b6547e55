"""A collector in a process of its own: the same budget, the same memory, the same patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from api2db.discovery import find_collectors
from api2db.runtime.isolated.processes import Processes
from api2db.runtime.isolated.source import Isolated
from api2db.runtime.poll_context import Shared
from api2db.runtime.run import Run
from tests.http_api import Answer, HttpApi
from tests.project_kit import eventually
from tests.sources.net.kit import Polls, get, quick, records

SOURCE = """
from api2db import collector
from api2db.sources.context import POLL
from api2db.sources.net.fetcher import Fetcher
from api2db.sources.rest.ask import Ask

api = Fetcher(rate="{rate}", retry=1)

def fetched():
    answer = api.fetch(Ask("GET", "{url}")).answer
    return None if answer is None else answer.json()

@collector(every=1, isolate=True)
def asked():
    yield fetched()

@collector(every=1, isolate=True)
def once():
    return fetched()

@collector(every=1, isolate=True)
def afterwards():
    '''What a source does once its poll is over is its own affair.'''
    import threading
    context = POLL.get()
    def later():
        while not context.over:
            pass
        context.wait(0)
        with context.hosts.turn("api.example.org", (), 1, 1.0, context):
            open("{mark}", "w").close()
    threading.Thread(target=later).start()
    return None
"""


class Beside:
    """Isolated collectors, and one that isn't, in one daemon."""

    def __init__(self, folder: Path, url: str, rate: str) -> None:
        (folder / "collectors").mkdir()
        self.mark = folder / "mark"
        (folder / "collectors" / "asked.py").write_text(dedent(SOURCE.format(url=url, rate=rate, mark=self.mark)))
        found, broken = find_collectors(folder / "collectors")
        assert not broken
        self.processes = Processes()
        fetcher = quick(rate=rate)
        self.own = Polls(folder, lambda: records(fetcher.fetch(get(url))), name="own")
        self.shared = Shared.of(self.own.spool.layout, folder / "AUTH")
        self.own.job._shared = self.shared
        self.polls = {
            each.name: Polls(
                folder, each.import_target, name=each.name, shared=self.shared, source=Isolated(each, self.processes)
            )
            for each in found
        }

    def close(self) -> None:
        self.processes.close(time.monotonic() + 5)
        for each in (self.own, *self.polls.values()):
            each.close()


@pytest.fixture
def beside(tmp_path: Path, http_api: HttpApi) -> Iterator[Beside]:
    made = Beside(tmp_path, http_api.url, "6/h")
    yield made
    made.close()


def test_a_collector_of_its_own_process_shares_budget_memory_and_patience(beside: Beside, http_api: HttpApi) -> None:
    asked, once = beside.polls["asked"], beside.polls["once"]
    http_api.always(Answer(headers=(("ETag", '"1"'),)))
    assert beside.own.poll() == asked.poll() == once.poll() == ("ok", None)
    assert asked.rows == once.rows == [[{"id": 1}]]
    http_api.always(Answer(304, b""))
    assert asked.poll() == once.poll() == ("ok", None)
    assert [each.headers.get("If-None-Match") for each in http_api.requests] == [*[None] * 3, *['"1"'] * 2]
    assert asked.job.unchanged
    assert asked.rows == once.rows == [[{"id": 1}]]

    # What a server says is obeyed there, too, and a failed poll remembers nothing.
    http_api.script(Answer(503, b"", headers=(("Retry-After", "7200"),)))
    outcome, cause = asked.poll()
    assert (outcome, "503, Retry-After: it is asked again in 7" in str(cause)) == ("waiting", True)
    assert asked.job.not_before_ns > time.time_ns() + 7000e9

    # The sixth was the last that anybody may make in this hour.
    for each in (once, beside.own):
        outcome, cause = each.poll()
        assert (outcome, "its budget is used up" in str(cause)) == ("waiting", True)
    assert len(http_api.requests) == 6


def test_a_wait_in_another_process_isnt_its_items_time_and_ends_with_the_daemon(
    beside: Beside, http_api: HttpApi
) -> None:
    http_api.always(Answer(503, b"", headers=(("Retry-After", "50"),)))
    polls = beside.polls["once"]
    polls.job.timeout_s = 10
    run = polls.job.run = Run(time.time_ns(), time.monotonic(), time.monotonic())
    thread = threading.Thread(target=polls.job.poll, args=(polls.stop,))
    thread.start()
    eventually(lambda: run.item_since_s > time.monotonic() + 5)
    assert not polls.job.overdue(time.monotonic() + 40)
    polls.stop.set()
    thread.join()
    assert polls.outcome == ("stopped", None)


def test_what_a_source_does_after_its_poll_doesnt_disturb_the_next(beside: Beside) -> None:
    polls = beside.polls["afterwards"]
    assert polls.poll() == ("ok", None)
    eventually(beside.mark.exists)
    assert polls.poll() == ("ok", None)
