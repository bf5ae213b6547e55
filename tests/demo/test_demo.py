"""The demo's switch: the environment points the collector at the replay, and only while it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests

from api2db import demo
from api2db.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(tmp_path, {"demo": True}, {})


def test_while_the_demo_runs_the_collector_is_pointed_at_the_replay(settings: Settings) -> None:
    with demo.running(settings) as replay:
        assert replay is not None
        assert os.environ["EARTHQUAKES_URL"] == replay.url
        assert os.environ["EARTHQUAKES_EVERY"] == demo.EVERY
        response = requests.get(os.environ["EARTHQUAKES_URL"], params={"format": "geojson"}, timeout=10)
        assert response.json()["features"], "the first poll finds something"
    assert "EARTHQUAKES_URL" not in os.environ
    assert "EARTHQUAKES_EVERY" not in os.environ
    assert (settings.store / demo.HISTORY_NAME).exists()


def test_without_the_setting_nothing_runs(tmp_path: Path) -> None:
    with demo.running(load(tmp_path, environ={})) as replay:
        assert replay is None
        assert "EARTHQUAKES_URL" not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_ones_own_wins_over_the_demo(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHQUAKES_URL", "http://127.0.0.1:9/")
    with demo.running(settings) as replay:
        assert replay is None
        assert os.environ["EARTHQUAKES_URL"] == "http://127.0.0.1:9/"


def test_a_period_of_ones_own_wins_over_the_demos(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHQUAKES_EVERY", "10s")
    with demo.running(settings) as replay:
        assert replay is not None
        assert os.environ["EARTHQUAKES_EVERY"] == "10s"
    assert os.environ["EARTHQUAKES_EVERY"] == "10s"


def test_tests_can_make_the_week_pass_faster(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API2DB_TEST_DEMO_FACTOR", "5000")
    with demo.running(settings) as replay:
        assert replay is not None
        assert replay.factor == 5000


def test_the_result_reads_as_a_sum_and_knows_what_still_waits(settings: Settings) -> None:
    with demo.running(settings) as replay:
        assert replay is not None
        assert demo.result(replay, settings) == (
            "0 versions served = 0 versions stored in STORE/earthquakes/parquet; "
            "0 events served = 0 rows in STORE/database.sqlite, each in its latest version."
        )
        waiting = settings.store / "queue" / "earthquakes" / "local.parquet"
        waiting.mkdir(parents=True)
        first = requests.get(replay.url, params={"format": "geojson"}, timeout=10).json()["features"]
        newest = max(feature["properties"]["updated"] for feature in first)
        requests.get(replay.url, params={"format": "geojson", "updatedafter": newest}, timeout=10)
        assert f"{len(first)} versions are MISSING" in demo.result(replay, settings)
        (waiting / "1.parquet").touch()
        assert f"{len(first)} versions are still on the way" in demo.result(replay, settings)
