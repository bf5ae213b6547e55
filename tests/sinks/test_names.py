"""Names: the same fields meet the same table always in the same way, and no two fields share a column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.sinks.names import NameRules, place

PLAIN = NameRules(max_bytes=63, reserved=frozenset({"ctid"}))
FOLDING = NameRules(ignores_case=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
NAMES = st.lists(TEXT | st.sampled_from(["a", "A", "ctid", "aB", "Ab"]), unique=True, max_size=8)


@given(names=NAMES, existing=st.lists(TEXT.filter(bool), max_size=5), rules=st.sampled_from([PLAIN, FOLDING]))
def test_every_field_has_a_column_of_its_own_that_the_database_takes(
    names: list[str], existing: list[str], rules: NameRules
) -> None:
    existing = [name for name in existing if rules.legal(name) == name]
    existing = list({rules.fold(name): name for name in existing}.values())
    placed = place(names, existing, rules)
    assert sorted(placed) == sorted(names)
    assert len({rules.fold(column) for column in placed.values()}) == len(names)
    for column in placed.values():
        assert rules.legal(column) == column or column in existing
    # What was created is found again, by any of the fields and in any company.
    assert place(names, [*existing, *placed.values()], rules) == placed


@pytest.mark.parametrize(
    ("names", "existing", "rules", "placed"),
    [
        (["temp"], ["temp", "Temp"], PLAIN, ["temp"]),
        (["temp"], ["Temp"], PLAIN, ["temp"]),
        (["temp"], ["Temp"], FOLDING, ["Temp"]),
        (["Temp", "temp"], [], FOLDING, ["Temp", "temp_d969"]),
        (["temp"], ["Temp", "temp_d969"], FOLDING, ["temp_d969"]),
        (["temp", "Temp"], ["Temp"], FOLDING, ["temp_d969", "Temp"]),
        (["ctid"], [], PLAIN, ["ctid_285c"]),
        ([""], [], PLAIN, ["_da39"]),
        (["a\0b"], [], PLAIN, ["ab_4a3d"]),
        (["é" * 40], [], PLAIN, ["é" * 29 + "_bf06"]),
        (["É", "é"], [], FOLDING, ["É", "é"]),
    ],
)
def test_where_a_field_goes(names: list[str], existing: list[str], rules: NameRules, placed: list[str]) -> None:
    assert [place(names, existing, rules)[name] for name in names] == placed


def test_a_cut_name_fits_and_ends_at_a_character() -> None:
    legal = PLAIN.legal("🌍" * 30)
    assert len(legal.encode()) <= 63
    assert legal[:14] == "🌍" * 14
