"""An attack tells the truth about starts: which needed another attempt, and that there is no start any more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api2db.chaos.attack import Attack, Helpless
from api2db.chaos.faults import KILL, KILL_STOPPING, RESTART, Fault
from api2db.chaos.victim import Victim

# Ends with status 3 at the starts named, else says that it is ready; SIGTERM ends it with status 0.
PROGRAM = """
import os, pathlib, signal, socket, sys, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
starts = pathlib.Path("starts")
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
if len(starts.read_text()) in map(int, sys.argv[1:]):
    raise SystemExit(3)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tell:
    tell.sendto(b"READY=1", chr(0) + os.environ["NOTIFY_SOCKET"][1:])
signal.pause()
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    made: list[Victim] = []

    def make(*failing: int) -> Victim:
        command = [sys.executable, "-S", "-c", PROGRAM, *map(str, failing)]
        made.append(Victim(command, tmp_path, tmp_path / "console.txt", {}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_start_that_works_at_the_second_attempt_is_one_that_needed_help(victim: Callable[..., Victim]) -> None:
    attack = Attack(victim(2))
    assert attack.inflict(Fault(KILL, 0.0)) == "while it ran"
    assert attack.inflict(Fault(KILL, 0.0)) == "while it ran"
    assert (attack.kills, attack.helped, len(attack.ready_s)) == (2, 1, 1)


def test_a_daemon_that_does_not_start_any_more_is_said_with_the_fault_before_it(victim: Callable[..., Victim]) -> None:
    attack = Attack(victim(2, 3, 4))
    attack.inflict(Fault(KILL, 0.0))
    with pytest.raises(Helpless, match=r"3 attempts after: kill \(exit status 3\)"):
        attack.run()


def test_only_what_died_of_it_counts_as_killed(victim: Callable[..., Victim]) -> None:
    attack = Attack(victim())
    assert attack.inflict(Fault(RESTART, 0.0)) == "stopped in order"
    assert attack.inflict(Fault(KILL_STOPPING, 100.0)) == "it had stopped already"
    assert attack.kills == 0
    assert attack.inflict(Fault(KILL, 0.0)) == "while it ran"
    assert attack.kills == 1
