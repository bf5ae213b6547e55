"""``Run(collectors).run()``: the daemon, from a program."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path

from api2db import settings as settings_file
from api2db.app import log
from api2db.app.beside import attending
from api2db.app.story import tell_end, tell_start
from api2db.collector import Collector
from api2db.discovery import Broken
from api2db.runtime.daemon import Daemon
from api2db.runtime.notify import ServiceManager
from api2db.runtime.running import Running
from api2db.settings import Settings
from api2db.store.places import with_stores
from api2db.stream.places import target_of, targets_of

# Set while somebody only wants to know what a program declares: see ``declared_by``.
_asked: ContextVar[bool] = ContextVar("api2db_asked", default=False)


class Declared(BaseException):
    """Raised by ``Run.run`` in place of running, where only the collectors were asked for.

    No Exception: a program that handles those must not swallow it.
    """

    def __init__(self, collectors: Sequence[Collector]) -> None:
        super().__init__("the program was asked what it declares")
        self.collectors = list(collectors)


class Run:
    """Runs every collector whose ``seconds`` isn't 0, until SIGTERM or SIGINT.

    collectors  Collector objects
    settings    by default those of the folder the program lies in
    broken      collector modules that couldn't be imported, to be reported
    """

    def __init__(
        self,
        collectors: Iterable[Collector],
        *,
        settings: Settings | None = None,
        broken: Sequence[Broken] = (),
    ) -> None:
        self.collectors = list(collectors)
        self._settings = settings
        self._broken = broken

    def run(self) -> int:
        """The daemon; returns its exit status once it was told to stop, 0 if all was well.

        Raises ConfigError, StoreError or StoreLockedError if it can't start.
        """
        if _asked.get():
            raise Declared(self.collectors)
        settings = self._settings or settings_file.load(_project())
        collectors = with_stores(self.collectors, settings)
        log.configure(settings.logs, collectors, console=settings.console)
        running: list[Running] = []

        def started(all_running: Sequence[Running]) -> None:
            running.extend(all_running)
            if settings.console:
                tell_start(settings, all_running)

        daemon = Daemon(
            settings,
            collectors,
            lambda collector: targets_of(collector, settings),
            target_of=lambda collector, name: target_of(collector, name, settings_file.with_places_of_now(settings)),
            targets_now=lambda collector: targets_of(collector, settings_file.with_places_of_now(settings)),
            broken=self._broken,
            started=started,
            manager=ServiceManager(),
            attending=lambda vitals: attending(settings, vitals),
        )
        status = daemon.run()
        if settings.console:
            tell_end(running)
        return status


def declared_by(program: Path) -> list[Collector]:
    """The collectors a program hands to ``Run``; it is executed up to that point, and no further.

    It finds the modules beside it, as when it is run: from then on this process does, too. Empty for one that ends
    without. Raises what the program raises.
    """
    folder = str(program.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    token = _asked.set(True)
    try:
        runpy.run_path(str(program), run_name="__main__")
    except Declared as declared:
        return declared.collectors
    finally:
        _asked.reset(token)
    return []


def _project() -> Path:
    """The folder of the program that runs, where its STORE is; the working directory for an interactive one."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(main).resolve().parent if main else Path.cwd()
