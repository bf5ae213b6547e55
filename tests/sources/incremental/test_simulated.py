"""Whatever appears, changes or comes late, and wherever the reader is killed: each version once."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api2db.sources.incremental import seen
from api2db.sources.incremental.incremental import Incremental
from tests.sources.incremental.simulated import START, Api, Reader

LAG_S = 30
# What is flushed there costs nothing; what a flush is for is tried elsewhere.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run(
    seed: int,
    *,
    order: str | None,
    inclusive: bool = True,
    size: int = 4,
    by: str = "token",
    unit: str = "iso",
    format: str = "iso",
    window: str | None = None,
    updates: bool = True,
    lag_s: int = LAG_S,
    asks: bool = True,
    in_file: bool = True,
) -> tuple[Api, Reader]:
    chance = Random(seed)
    api = Api(order=order, inclusive=inclusive, unit=unit, size=size, by=by)
    how = Incremental(
        f"meta.at:{unit}",
        param="since" if asks else None,
        start=START,
        lag=f"{lag_s}s" if lag_s else None,
        inclusive=inclusive,
        format=format,
        window=window,
        until_param="until" if window else None,
        order=order,  # type: ignore[arg-type]
    )

    def change() -> None:
        for _ in range(chance.choice((0, 0, 1, 3))):
            if updates and api.rows and chance.random() < 0.4:
                api.update(chance.choice(list(api.rows)))
            else:
                api.add(chance.choice((0, 0, chance.randint(0, lag_s))))
        api.now_s += chance.choice((0, 0, 1, 1, 5, 20)) if chance.random() < 0.95 else 700

    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        ahead_s = 300 if by == "number" else 0  # less than windows allow for
        reader = Reader(api, how, Path(folder) if in_file else None, chance, forgets=order is not None, ahead_s=ahead_s)
        for _ in range(chance.randint(0, 60)):
            change()
        for _ in range(chance.randint(1, 25)):
            # What fills a page that was read, in the same poll, is a lag's to bring.
            reader.poll(kills=True, meanwhile=change if by != "number" else lambda: None)
            for _ in range(1 if by != "number" else 3):
                change()
        api.now_s += lag_s + 1
        while not reader.poll(kills=False):
            pass
        assert reader.poll(kills=False)
        if in_file:
            assert len(list(Path(folder).iterdir())) <= 1
    return api, reader


def check(api: Api, reader: Reader) -> None:
    times = Counter(reader.delivered)
    assert not [name for name, count in times.items() if count > 1]
    assert set(times) <= api.versions
    assert {row.name for row in api.rows.values()} <= set(times)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """So that a few records already need the file, and another one."""
    monkeypatch.setattr(seen, "MOST_IN_CURSOR", 3)
    monkeypatch.setattr(seen, "_SPARE", 5)


modes = st.fixed_dictionaries(
    {
        "order": st.sampled_from(("ascending", "newest_first", None)),
        "inclusive": st.booleans(),
        "size": st.integers(1, 7),
        "unit": st.sampled_from(("iso", "ms", "s")),
        "format": st.sampled_from(("iso", "s", "date", "%Y-%m-%dT%H:%M:%S%z")),
        "window": st.sampled_from((None, "1m", "1d")),
        "lag_s": st.sampled_from((0, 7, LAG_S)),
        "asks": st.booleans(),
        "in_file": st.booleans(),
    }
)


def fitting(mode: dict) -> dict:
    """Windows need a parameter, and one that can say where they end."""
    if mode["window"] == "1m" and mode["format"] == "date":
        mode = {**mode, "window": "1d"}
    return {**mode, "asks": mode["asks"] or mode["window"] is not None}


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9), modes)
def test_each_version_is_delivered_once_wherever_the_reader_is_killed(seed, mode):
    check(*run(seed, **fitting(mode)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9), modes, st.sampled_from(("ascending", "newest_first")))
def test_pages_that_shift_while_they_are_read_repeat_nothing_where_they_are_sorted(seed, mode, order):
    check(*run(seed, **{**fitting(mode), "order": order, "by": "offset", "updates": False}))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**9), modes, st.sampled_from(("ascending", None)))
def test_a_short_last_page_that_is_filled_up_after_a_kill_loses_and_repeats_nothing(seed, mode, order):
    check(*run(seed, **{**fitting(mode), "order": order, "by": "number", "updates": False, "lag_s": 0}))
