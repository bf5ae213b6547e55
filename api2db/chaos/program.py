"""``python -m api2db.chaos.program FOLDER``: the daemon under attack, on a scratch that ``scratch.make`` made.

With ``--settle`` as a second argument sources are asked for nothing: only what was accepted is delivered.
"""

from __future__ import annotations

import copy
import ctypes
import os
import signal
import sys
from pathlib import Path

from api2db.app import log
from api2db.chaos.scratch import load
from api2db.collector import Collector
from api2db.due.schedule import Schedule
from api2db.runtime.daemon import Daemon
from api2db.runtime.notify import ServiceManager

SETTLE = "--settle"
_QUIET_S = 3600.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(folder: Path, settle: bool) -> int:
    """Returns the daemon's exit status."""
    # Sources must not be polled for ever because the attacker was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    scratch = load(folder)
    os.chdir(scratch.settings.project)
    collectors = scratch.collectors()
    if settle:
        collectors = [_quiet(collector) for collector in collectors]
    log.configure(scratch.settings.logs, collectors, console=True)
    return Daemon(scratch.settings, collectors, scratch.targets_of, manager=ServiceManager()).run()


def _quiet(collector: Collector) -> Collector:
    quiet = copy.copy(collector)
    quiet.import_target, quiet.takes_cursor, quiet.schedule = _nothing, False, Schedule.every(_QUIET_S)
    return quiet


def _nothing() -> None:
    """Nothing this time."""


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), SETTLE in sys.argv[2:]))
