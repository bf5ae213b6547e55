"""The daemon as a process: what is unchanged, put off or killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http_api import Answer, HttpApi
from tests.project_kit import Project, eventually

COLLECTOR = """
from api2db import collector
from api2db.sources.net.fetcher import Fetcher
from api2db.sources.net.retries import Retries
from api2db.sources.rest.ask import Ask

api = Fetcher(retry=Retries(max_wait_s=0.5))

@collector(every="200ms", key="id")
def things():
    for page in (1, 2):
        answer = api.fetch(Ask("GET", "{url}", (("page", str(page)), ("size", "1")))).answer
        if answer is not None:
            yield answer.json()
"""


@pytest.fixture
def project(tmp_path: Path, http_api: HttpApi) -> Iterator[Project]:
    made = Project(tmp_path, things=COLLECTOR.format(url=http_api.url))
    yield made
    made.close()


def tags(api: HttpApi, page: str) -> list[str | None]:
    return [each.headers.get("If-None-Match") for each in api.requests if each.params["page"] == page]


def test_a_poll_is_put_off_as_long_as_the_server_says_and_killed_between_two_pages_asks_for_both_in_full(
    project: Project, http_api: HttpApi
) -> None:
    """The first was accepted, and may never reach a sink but by being asked for again: what is remembered waits."""
    wait_s, answered = 2, list[float]()

    def note() -> list[bytes]:
        answered.append(time.monotonic())
        return []

    http_api.add({"id": 2})
    http_api.always(Answer(headers=(("ETag", '"1"'),)))
    http_api.script(Answer(429, b"", headers=(("Retry-After", str(wait_s)),), parts=note))
    http_api.script(Answer(headers=(("ETag", '"1"'),), parts=note))
    killed = project.start(env={"API2DB_FAILPOINT": "spool.fanned_out:1"})
    assert killed.wait(60) == -signal.SIGKILL
    assert answered[1] - answered[0] >= wait_s
    ((outcome, cause),) = project.journal("SELECT outcome, cause FROM runs")
    assert (outcome, "answered 429, Retry-After: it is asked again in" in cause) == ("waiting", True)
    assert tags(http_api, "1") == [None, None]
    process = project.start()
    eventually(lambda: '"1"' in tags(http_api, "2"))
    assert tags(http_api, "1")[:4] == [None, None, None, '"1"']
    assert tags(http_api, "2")[:2] == [None, '"1"']
    eventually(lambda: project.sqlite("SELECT id FROM things ORDER BY id") == [(1,), (2,)])
    assert project.stop(process) == 0
