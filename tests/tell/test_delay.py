"""How late people are told at most: one ``every``, and a minute. Under a clock of our own, as long as one likes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from api2db.errors import NotToldError
from api2db.tell.conditions import Condition, Seen
from api2db.tell.teller import Teller

MINUTE_S = 60.0
KINDS = ("failing", "stale", "backlog", "disk", "quarantine")
START_NS = 10**18


class Receiver:
    """Takes messages, at a time of the simulated clock; refuses for a while."""

    name = "webhook"

    def __init__(self, world):
        self.world = world
        self.refuses_until_s = 0.0
        self.took: list[tuple[float, list[tuple[str, str]]]] = []

    def send(self, message):
        if self.world.now_s < self.refuses_until_s:
            raise NotToldError("the webhook answered with status 500")
        self.took.append((self.world.now_s, [(one["change"], one["kind"]) for one in message["changes"]]))


class World:
    """A teller whose every turn comes when it asked for it. ``steps`` of the wall clock: (at seconds, by seconds)."""

    def __init__(self, folder, facts, *, every_s, steps=()):
        self.now_s = 0.0
        self.facts = facts  # (at seconds, kind, whether it is wrong from then on)
        self.steps = steps
        self.receiver = Receiver(self)
        self.teller = Teller(
            self.receiver, folder / "told.json", self.see, every_s=every_s, away_s=0.0, project=Path("shop"),
            clock=lambda: self.now_s, wall_ns=self.wall_ns,
        )  # fmt: skip

    def wall_ns(self):
        return START_NS + int((self.now_s + sum(by for at, by in self.steps if at <= self.now_s)) * 1e9)

    def see(self):
        wrong = {kind: bad for at, kind, bad in sorted(self.facts) if at <= self.now_s}
        found = [Condition(kind, "feed", None, "") for kind, bad in wrong.items() if bad]
        return Seen({one.key: one for one in found}, frozenset())

    def run(self, until_s):
        while self.now_s <= until_s:
            self.now_s += self.teller.step()


spans = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 7200), st.integers(1, 1800)),
    min_size=1, max_size=5, unique_by=lambda span: span[0],
)  # fmt: skip


@settings(max_examples=20)
@given(
    spans=spans, every_s=st.sampled_from([30, 300, 3600]), step=st.tuples(st.integers(0, 7200), st.integers(-900, 900))
)
def test_every_change_is_told_once_within_one_interval_and_a_minute_whatever_the_clock_does(spans, every_s, step):
    facts = [fact for kind, at, lasts in spans for fact in ((at, kind, True), (at + lasts, kind, False))]
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), facts, every_s=every_s, steps=[step])
        end_s = max(at for at, _, _ in facts) + every_s + MINUTE_S
        world.run(end_s)
    told = [(change, kind) for _, changes in world.receiver.took for change, kind in changes]
    assert len(told) == len(set(told))
    for kind, at, lasts in spans:
        heard = {change: when for when, changes in world.receiver.took for change, of in changes if of == kind}
        if heard.keys() == {"passed"}:
            assert heard["passed"] <= at + lasts + every_s + MINUTE_S
            continue
        if not heard:
            assert lasts <= 10  # between two looks
            continue
        assert at <= heard["began"] <= at + every_s + MINUTE_S
        assert at + lasts <= heard["over"] <= at + lasts + every_s + MINUTE_S


def test_what_goes_wrong_together_is_one_message(tmp_path):
    world = World(tmp_path, [(100, kind, True) for kind in KINDS], every_s=300)
    world.run(2000)
    ((_, changes),) = world.receiver.took
    assert sorted(changes) == sorted(("began", kind) for kind in KINDS)


def test_what_goes_wrong_after_a_message_is_gathered_until_the_interval_is_over(tmp_path):
    facts = [(100, "failing", True), (150, "disk", True), (200, "stale", True), (250, "disk", False)]
    world = World(tmp_path, facts, every_s=300)
    world.run(2000)
    (first_s, first), (second_s, second) = world.receiver.took
    assert first == [("began", "failing")]
    assert sorted(second) == [("began", "stale"), ("passed", "disk")]
    assert second_s - first_s >= 300


def test_a_receiver_that_comes_back_hears_of_everything_within_its_own_pause_and_a_minute(tmp_path):
    world = World(tmp_path, [(100, "failing", True), (3000, "disk", True)], every_s=60)
    world.receiver.refuses_until_s = 5000.0
    world.run(6000)
    told = {change: when for when, changes in world.receiver.took for change in changes}
    assert told.keys() == {("began", "failing"), ("began", "disk")}
    assert max(told.values()) <= 5000 + 300 + 60 + MINUTE_S


def test_a_clock_that_is_set_back_after_a_message_delays_no_other(tmp_path):
    for back_s in (100, 86_400):
        folder = tmp_path / str(back_s)
        folder.mkdir()
        world = World(folder, [(100, "failing", True), (105, "disk", True)], every_s=300, steps=[(110, -back_s)])
        world.run(2000)
        (_, first), (second_s, second) = world.receiver.took
        assert (first, second) == ([("began", "failing")], [("began", "disk")])
        assert second_s <= 105 + 300 + MINUTE_S
