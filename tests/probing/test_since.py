"""The parameter that asks for what is new: what it means, and how it takes a time."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from api2db.errors import SourceError
from api2db.probing.fields import Column, columns_of
from api2db.probing.since import Since, since_of

RECORDS: list[dict[str, Any]] = [
    {"id": n, "updated": f"2026-01-{n + 1:02d}T00:00:00Z", "seen": f"2026-03-{20 - n:02d}T00:00:00Z"} for n in range(20)
]


def column() -> Column:
    return columns_of(RECORDS)[1]


class Api:
    """Knows one parameter, for times that ``read`` can read; of ``by`` it gives those ``above`` it, or from it on."""

    def __init__(self, param: str, *, by: str = "updated", above: bool = False, read: Any = dt.datetime.fromisoformat):
        self.param, self.by, self.above, self.read = param, by, above, read
        self.asked: list[str] = []

    def ask(self, name: str, text: str, purpose: str) -> list[dict[str, Any]]:
        self.asked.append(name)
        if name != self.param:
            return RECORDS
        try:
            since = self.read(text)
        except ValueError as error:
            raise SourceError("400") from error
        times = [dt.datetime.fromisoformat(str(record[self.by])) for record in RECORDS]
        kept = [time > since if self.above else time >= since for time in times]
        return [record for record, keep in zip(RECORDS, kept, strict=True) if keep]

    def found(self, given: dict[str, str] | None = None, tries: int = 14) -> Since | None:
        return since_of(self.ask, given or {}, column(), None, RECORDS, tries)


@pytest.mark.parametrize(("above", "inclusive"), [(False, True), (True, None)])
def test_whether_it_gives_what_is_as_old_as_asked_is_seen_or_left_open(above: bool, inclusive: bool | None) -> None:
    found = Api("updated_after", above=above).found()
    assert found is not None
    assert (found.value, found.format, found.inclusive, found.order) == ("updated_after", "iso", inclusive, "ascending")


@pytest.mark.parametrize(
    ("given", "read", "form", "start"),
    [
        ("2026-01-01", dt.datetime.fromisoformat, "iso", "2026-01-01"),
        ("2026-01-01", lambda text: dt.datetime.strptime(text + "Z", "%Y-%m-%d%z"), "date", "2026-01-01"),
        ("1767225600", lambda text: dt.datetime.fromtimestamp(int(text), dt.UTC), "s", "2026-01-01T00:00:00+00:00"),
    ],
)
def test_a_time_is_said_as_the_address_has_it_or_better(given: str, read: Any, form: str, start: str) -> None:
    found = Api("since", read=read).found({"since": given})
    assert found is not None
    assert (found.format, found.start) == (form, start)


@pytest.mark.parametrize("given", ["-7d", "2026.01.01", "12"])
def test_what_only_the_api_can_read_is_left_in_the_address(given: str) -> None:
    api = Api("since")
    assert api.found({"since": given}) is None
    assert api.asked == []


def test_one_that_means_another_time_is_not_used() -> None:
    """It would be asked from the newest update on, and what it gives be left out as older."""
    assert Api("since", by="seen").found() is None
    born_only = since_of(Api("updated_since").ask, {}, None, column(), RECORDS, 14)
    assert born_only is None


def test_no_more_is_asked_than_is_left() -> None:
    api = Api("nothing")
    assert api.found(tries=3) is None
    assert len(api.asked) == 3
