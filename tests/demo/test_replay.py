"""The replay: the recording as published, revisions in order, and an honest account of what was served."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from api2db.demo import recording
from api2db.demo.history import History, Start
from api2db.demo.query import BadRequest, Query, answer, parse_query
from api2db.demo.replay import Replay

RECORDING = recording.load()
TIMES_MS = st.integers(RECORDING.first_event_ms - 1000, RECORDING.end_ms + 1000)


class Client:
    """Polls as the shipped collector does: what changed since the newest ``updated`` it has."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.since = "2018-01-31"
        self.rows: list[tuple[str, int]] = []

    def ask(self) -> list[tuple[str, int]]:
        query = {"format": "geojson", "updatedafter": self.since, "orderby": "time"}
        response = requests.get(self.replay.url, params=query, timeout=10)
        response.raise_for_status()
        return [(one["id"], one["properties"]["updated"]) for one in response.json()["features"]]

    def poll(self) -> list[tuple[str, int]]:
        rows = self.ask()
        if rows:
            self.since = str(max(updated for _, updated in rows))
        self.rows += rows
        return rows


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Replay]:
    replay = Replay(tmp_path / "demo.jsonl")
    replay.start()
    yield replay
    replay.close()


def test_the_recording_is_the_published_one_and_packed_reproducibly() -> None:
    packed = resources.files("api2db.demo").joinpath(recording.RESOURCE).read_bytes()
    plain = gzip.decompress(packed)
    assert hashlib.sha256(plain).hexdigest() == "a42702a83ffbae679f95d1fa53e2cae0bae13b21e599a68cdd50a44fc52129f7"
    assert packed[3:8] == b"\0\0\0\0\0", "no name and no time in the header"


def test_every_version_is_unique_and_the_last_one_is_as_recorded() -> None:
    assert len(RECORDING.events) == 1707
    keys = [version.key for version in RECORDING.versions]
    assert len(set(keys)) == len(keys) > 2 * 1707
    for event in RECORDING.events:
        times = [event[0].feature["properties"]["time"], *(version.updated_ms for version in event)]
        assert times == sorted(set(times))
        assert event[0].feature["properties"]["status"] == "automatic"
        assert all(version.feature["properties"]["updated"] == version.updated_ms for version in event)
    revised_late = [event for event in RECORDING.events if _age_ms(event) > 3_600_000]
    assert len(revised_late) == 1159
    for first, *_, last in revised_late:
        assert first.feature["properties"]["mag"] != last.feature["properties"]["mag"]
    assert {len(event) for event in revised_late} == {2, 3}


def _age_ms(event: tuple[recording.Version, ...]) -> int:
    return int(event[-1].updated_ms - event[-1].feature["properties"]["time"])


@given(at_ms=TIMES_MS, after_ms=TIMES_MS)
def test_an_answer_holds_the_current_versions_newer_than_asked_and_nothing_else(at_ms: int, after_ms: int) -> None:
    current: dict[str, int] = {}
    for version in RECORDING.versions:
        if version.updated_ms <= at_ms:
            current[version.id] = max(current.get(version.id, 0), version.updated_ms)
    wanted = {(event_id, updated) for event_id, updated in current.items() if updated > after_ms}
    answered = answer(RECORDING, Query(at_ms, updatedafter_ms=after_ms))
    assert {version.key for version in answered} == wanted
    times = [version.feature["properties"]["time"] for version in answered]
    assert times == sorted(times, reverse=True)


def test_a_week_of_polls_sees_every_event_in_its_last_version(tmp_path: Path) -> None:
    # So fast that the recording ends while the test looks.
    replay = Replay(tmp_path / "demo.jsonl", factor=400_000)
    replay.start()
    client = Client(replay)
    while not replay.ended:
        client.poll()
    client.poll()
    assert client.poll() == []
    assert len(set(client.rows)) == len(client.rows)
    assert set(client.rows) == replay.served_versions() == replay.served().taken
    assert set(client.rows) <= {version.key for version in replay.versions}
    assert {event[-1].key for event in RECORDING.events} <= set(client.rows)
    replay.close()


def test_replay_time_goes_on_while_nothing_runs_and_keeps_its_pace(tmp_path: Path) -> None:
    path = tmp_path / "store" / "demo.jsonl"
    history = History(path, Start(1000.0, 50_000, 10.0), wall_s=lambda: 1000.0)
    assert 50_000 <= history.now_ms() < 60_000
    history.close()
    history = History(path, Start(2000.0, 99, 1.0), wall_s=lambda: 1060.0)
    assert 650_000 <= history.now_ms() < 660_000
    history.close()
    before_it_began = History(path, Start(2000.0, 99, 1.0), wall_s=lambda: 1.0)
    assert 50_000 <= before_it_began.now_ms() < 60_000
    before_it_began.close()


def test_what_was_served_survives_a_kill_even_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "demo.jsonl"
    first = Replay(path)
    first.start()
    Client(first).poll()
    served = first.served()
    assert served.offered
    assert not served.taken
    # No close: a killed process doesn't either. The copy is what the next one finds.
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(path.read_bytes() + b'{"at_ms": 15')
    second = Replay(torn)
    second.start()
    assert second.served() == served
    Client(second).poll()
    served = second.served()
    second.close()
    third = Replay(torn)
    assert third.served() == served
    third.close()
    first.close()


def test_a_second_daemon_that_is_refused_does_not_disturb_the_first(replay: Replay, tmp_path: Path) -> None:
    client = Client(replay)
    client.poll()
    second = Replay(tmp_path / "demo.jsonl")
    client.poll()
    second.close()
    served = replay.served()
    assert served.taken
    third = Replay(tmp_path / "demo.jsonl")
    assert third.served() == served
    third.close()


def test_an_answer_counts_as_taken_once_the_client_goes_on_from_it(replay: Replay) -> None:
    client = Client(replay)
    rows = client.poll()
    assert replay.served().offered == set(rows)
    client.poll()
    assert replay.served().taken >= set(rows)


def test_an_answer_that_was_cut_off_does_not_count_as_taken(replay: Replay) -> None:
    client = Client(replay)
    cut_off = client.ask()
    rows = client.poll()
    newer = client.poll()
    served = replay.served()
    assert served.taken >= set(rows)
    assert served.taken | served.offered >= set(cut_off) | set(rows) | set(newer)
    assert not served.taken & served.offered


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({}, "format"),
        ({"format": "xml"}, "format"),
        ({"format": "geojson", "updatedafter": "yesterday"}, 'Bad updatedafter value "yesterday"'),
        ({"format": "geojson", "updatedafter": ""}, "ISO-8601"),
        ({"format": "geojson", "orderby": "size"}, "orderby"),
        ({"format": "geojson", "limit": "0"}, "limit"),
        ({"format": "geojson", "limit": "20001"}, "20000"),
        ({"format": "geojson", "offset": "x"}, "offset"),
        ({"format": "geojson", "magnitude": "5"}, 'Unknown parameter "magnitude"'),
    ],
)
def test_a_bad_query_is_refused_with_its_reason(replay: Replay, parameters: dict[str, str], reason: str) -> None:
    response = requests.get(replay.url, params=parameters, timeout=10)
    assert response.status_code == 400
    assert response.text.startswith("Error 400: Bad Request")
    assert reason in response.text
    assert replay.served_versions() == set()


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12))))
def test_any_parameters_are_understood_or_refused(parameters: list[tuple[str, str]]) -> None:
    try:
        query = parse_query([("format", "geojson"), *parameters])
    except BadRequest:
        return
    answer(RECORDING, query)


@given(
    name=st.sampled_from(["updatedafter", "starttime", "limit", "offset", "orderby"]),
    text=st.text("0123456789-:TZ+. time²", max_size=30),
)
def test_any_value_is_understood_or_refused(name: str, text: str) -> None:
    try:
        query = parse_query([("format", "geojson"), (name, text)])
    except BadRequest:
        return
    answer(RECORDING, query)


def test_times_are_understood_as_text_with_and_without_zone_and_as_milliseconds() -> None:
    moment = 1_517_364_000_123
    for text in (
        "2018-01-31T02:00:00.123Z",
        "2018-01-31T03:00:00.123+01:00",
        "2018-01-31T02:00:00.123",
        str(moment),
    ):
        assert parse_query([("format", "geojson"), ("updatedafter", text)]).updatedafter_ms == moment
    assert parse_query([("format", "geojson"), ("updatedafter", "2018-01-31")]).updatedafter_ms == 1_517_356_800_000


def test_pages_put_together_are_the_whole_answer() -> None:
    whole = answer(RECORDING, Query(RECORDING.end_ms, orderby="magnitude-asc"))
    pages = [
        answer(RECORDING, Query(RECORDING.end_ms, orderby="magnitude-asc", limit=500, offset=offset))
        for offset in (1, 501, 1001, 1501)
    ]
    assert [version.key for page in pages for version in page] == [version.key for version in whole]


def test_an_unknown_address_says_where_the_api_is(replay: Replay) -> None:
    response = requests.get(replay.url.replace("query", "elsewhere"), timeout=10)
    assert response.status_code == 404
    assert replay.url in response.text
