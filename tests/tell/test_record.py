"""What is told of one condition: changes alone, grown ones ever more rarely, one that comes and goes once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api2db.tell.conditions import Condition
from api2db.tell.record import FLAPS, HOUR_NS, STEADY_NS, Record

MINUTE_NS = 60 * 10**9
START_NS = 10**18


def condition(level=0):
    return Condition("quarantine", "feed", "sql", "rows were refused", level)


def heard(looks, *, step_ns=MINUTE_NS):
    """What is told when somebody looks once a step and tells at once; a look is a level, or None for all well."""
    record, said = Record.of(condition()), []
    for number, level in enumerate(looks):
        now_ns = START_NS + number * step_ns
        record.see(None if level is None else condition(level), now_ns)
        change = record.change(now_ns)
        if change is not None:
            record.tell(change)
            said.append(change)
    return said


def test_what_lasts_is_told_when_it_begins_and_when_it_is_over():
    assert heard([None, 0, 0, 0, None, None]) == ["began", "over"]


def test_what_grows_is_told_again_when_it_has_doubled():
    assert heard(range(1, 33)) == ["began", "grew", "grew", "grew", "grew", "grew"]


def test_what_comes_and_goes_is_said_to_and_then_nothing_until_it_is_steady():
    flaps = [None, 0] * 50
    steady = [0] * (STEADY_NS // MINUTE_NS + 1)
    assert heard(flaps) == ["began", "over"] * (FLAPS // 2 - 1) + ["began", "flapping"]
    assert heard(flaps + steady)[-1] == "still"
    assert heard([*flaps, *([None] * len(steady))])[-1] == "over"


@given(st.lists(st.sampled_from([None, 0]), max_size=300))
def test_people_always_know_how_it_is_or_that_it_comes_and_goes_and_few_messages_tell_it(looks):
    record = Record.of(condition())
    told_ns = []
    for number, level in enumerate(looks):
        now_ns = START_NS + number * MINUTE_NS
        record.see(None if level is None else condition(level), now_ns)
        if change := record.change(now_ns):
            record.tell(change)
            told_ns.append(now_ns)
        assert record.flapping or record.told == record.bad
    for at in told_ns:
        assert sum(1 for other in told_ns if at <= other < at + HOUR_NS) <= FLAPS + 2


def test_a_record_survives_being_written_down():
    record = Record.of(condition())
    record.see(condition(3), START_NS)
    assert Record.read(record.as_dict()) == record
