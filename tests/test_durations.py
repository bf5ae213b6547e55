"""Durations and sizes: what people write means what they think, or is refused by name."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.durations import UNITS_S, seconds
from api2db.errors import ConfigError
from api2db.sizes import UNITS_BYTES, size_bytes

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=3)


@pytest.mark.parametrize(
    ("written", "meant_s"),
    [
        (90, 90.0),
        (0, 0.0),
        (0.25, 0.25),
        ("90", 90.0),
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        (" 1 H 30 M ", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        ("250ms", 0.25),
        (timedelta(minutes=5), 300.0),
    ],
)
def test_a_duration_means_what_it_says(written: object, meant_s: float) -> None:
    assert seconds(written) == meant_s


@pytest.mark.parametrize(
    "written", ["", " ", "m", "5x", "5 minutes", "30m1h", "1m1m", "-5m", "1e3", "٥m", -1, True, None, [5], math.nan,
                math.inf, 10**400, timedelta(seconds=-1)],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ConfigError, match="1h30m"):
        seconds(written)


@given(st.lists(st.integers(0, 99), min_size=len(UNITS_S), max_size=len(UNITS_S)))
def test_any_parts_add_up(parts: list[int]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in zip(parts, UNITS_S, strict=True))
    assert seconds(text) == pytest.approx(sum(n * s for n, s in zip(parts, UNITS_S.values(), strict=True)))


@given(SCALARS)
def test_anything_is_a_duration_or_refused(value: object) -> None:
    try:
        assert 0 <= seconds(value) < math.inf
    except ConfigError:
        pass


@pytest.mark.parametrize(
    ("written", "meant_bytes"),
    [
        (4096, 4096),
        (0, 0),
        ("4096", 4096),
        ("10 GiB", 10 * 1024**3),
        ("10gib", 10 * 1024**3),
        ("1.5 KiB", 1536),
        ("500 MB", 500_000_000),
        ("0.1 GB", 100_000_000),
        ("7 B", 7),
    ],
)
def test_a_size_means_what_it_says(written: object, meant_bytes: int) -> None:
    assert size_bytes(written) == meant_bytes


@pytest.mark.parametrize("written", ["", "GiB", "10 G", "10 XB", "-1", "1 2", "1e3", -1, 1.5, True, None])
def test_what_is_no_size_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ConfigError, match="10 GiB"):
        size_bytes(written)


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS_BYTES)))
def test_every_unit_multiplies(number: int, unit: str) -> None:
    assert size_bytes(f"{number} {unit.upper()}") == number * UNITS_BYTES[unit]


@given(SCALARS)
def test_anything_is_a_size_or_refused(value: object) -> None:
    try:
        assert size_bytes(value) >= 0
    except ConfigError:
        pass
