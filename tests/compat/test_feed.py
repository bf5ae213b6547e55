"""The audit of the programs' rows finds what is lost, doubled, torn or made up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.compat.feed import Feed


@pytest.fixture
def feed() -> Iterator[Feed]:
    """Three answers of four rows: 10 to 13, 20 to 23, 30 to 33."""
    with Feed(rows=lambda number, ids: ids) as feed:
        answers = [requests.get(f"{feed.base}/rows", timeout=10).json() for _ in range(3)]
        assert answers == [[10, 11, 12, 13], [20, 21, 22, 23], [30, 31, 32, 33]]
        yield feed


WHOLE = [10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]


def test_every_row_once_is_well(feed):
    feed.audit("rows", WHOLE)
    feed.audit("rows", [key for key in WHOLE if key % 10 != 3], dropped=[3])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([], "no row"),
        ([*WHOLE, 21], "twice"),
        (WHOLE[:-1], "only some rows"),
        ([*WHOLE, 40], "never served"),
        (WHOLE[:4] + WHOLE[8:], "lost"),
        (WHOLE[:8], "lost"),
    ],
)
def test_everything_else_is_found(feed, found, says):
    with pytest.raises(AssertionError, match=says):
        feed.audit("rows", found)


def test_what_was_on_its_way_at_a_kill_may_be_missing_but_whole(feed):
    feed.killed()
    feed.audit("rows", WHOLE[:8])
    with pytest.raises(AssertionError, match="lost"):
        feed.audit("rows", WHOLE[8:])
    with pytest.raises(AssertionError, match="only some rows"):
        feed.audit("rows", WHOLE[:9])


def test_what_was_accepted_before_the_kill_may_not_be_missing(feed):
    feed.killed(per_poll=2, safe=[30, 31, 32, 33])
    feed.audit("rows", WHOLE[:4] + WHOLE[8:])
    with pytest.raises(AssertionError, match="lost"):
        feed.audit("rows", WHOLE[:8])
