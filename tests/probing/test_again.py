"""A second page that is the first one again, and one that isn't."""

from __future__ import annotations

from typing import Any

import pytest

from api2db.probing.again import came_again


def page(ids: Any, now: int, **same: Any) -> list[dict[str, Any]]:
    return [{"id": each, "price": now * 7.5, "now": now, "kind": "a", **same} for each in ids]


@pytest.mark.parametrize("ids", ["abcdefghijkl", range(1000, 1012), range(1, 13)], ids=["texts", "numbers", "places"])
def test_a_page_that_is_the_first_again_but_for_the_time_of_the_answer_is_known_for_it(ids: Any) -> None:
    assert came_again(page(ids, 1), page(ids, 2)) == [True] * 12


def test_by_its_key_a_record_is_known_again_whatever_else_has_changed() -> None:
    first = [{"symbol": f"S{n}", "price": n} for n in range(12)]
    more = [{"symbol": f"S{n}", "price": n / 2} for n in range(9, 21)]
    assert came_again(first, more) == [True] * 3 + [False] * 9


def test_what_may_be_the_place_on_the_page_tells_no_record() -> None:
    first = [{"number": n, "name": f"a{n % 5}", "now": 1} for n in range(1, 13)]
    more = [{"number": n, "name": f"b{n % 5}", "now": 2} for n in range(1, 13)]
    assert came_again(first, more) == [False] * 12


def test_without_a_key_records_are_compared_by_all_that_is_not_one_value_on_each_page() -> None:
    one, other = {"a": 1, "b": "x"}, {"a": 2, "b": "x"}
    assert came_again([one, other, one], [one, {"a": 3, "b": "x"}, other]) == [True, False, True]
    assert came_again([one], [other]) == [False]
    assert came_again([one, one], [one]) == [True]
    assert came_again([one, one], [other, other]) == [False, False]
