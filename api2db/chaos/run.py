"""One attack from beginning to end: a scratch copy, faults, then peace, then the count."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy
from sqlalchemy import URL, text

import api2db
from api2db import demo
from api2db.audit import Audit, audit
from api2db.chaos import faults
from api2db.chaos.attack import Attack, Helpless, Server, Tally
from api2db.chaos.count import Counted, count
from api2db.chaos.faults import Fault, schedule, with_outages
from api2db.chaos.feed import report
from api2db.chaos.program import SETTLE
from api2db.chaos.proxy import Proxy
from api2db.chaos.scratch import Scratch, make
from api2db.chaos.victim import Victim
from api2db.cli.here import Here
from api2db.demo.replay import Replay
from api2db.demo.report import Report
from api2db.errors import ConfigError
from api2db.layout import Layout
from api2db.place import parse_url

SETTLE_TIMEOUT_S = 180.0
_LOOK_EVERY_S = 0.1
DEMO_EVERY = "0.2s"
# The demo's week must not end before the faults do: what one takes on a slow machine, and what settling may.
_FAULT_S = 4.0
_WEEK_S = 7 * 86_400.0
DRIVERS = ("postgresql", "postgresql+psycopg")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is asked for.

    collectors  their names; none are all
    faults      how many; None: until ``minutes`` have passed, or so many processes were killed
    seed        of the schedule
    database    a PostgreSQL server's URL: every SQL place becomes a scratch database on it; None: SQLite files
    demo        attack the recorded feed
    keep        leave the scratch folder and database
    """

    collectors: Sequence[str] = ()
    faults: int | None = 30
    minutes: float | None = None
    kills: int | None = None
    seed: int = 1
    database: str | None = None
    demo: bool = False
    keep: bool = False


@dataclass
class Result:
    """What came of it.

    settled  everything accepted was delivered or held in the end
    counted  what is really in the places
    audit    what ``api2db audit`` says of the scratch
    feed     with the demo's feed: what it served against what is stored
    """

    seed: int
    seconds: float = 0.0
    kills: int = 0
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    helped: int = 0
    ready_s: list[float] = field(default_factory=list)
    settled: bool = False
    counted: list[Counted] = field(default_factory=list)
    audit: Audit | None = None
    feed: Report | None = None
    scratch: Path | None = None

    @property
    def audited(self) -> bool:
        """Whether ``api2db audit`` says that everything accepted is accounted for."""
        return self.audit is not None and self.audit.holds is True

    @property
    def lost(self) -> int:
        return sum(line.lost for line in self.counted)

    @property
    def doubled(self) -> int:
        return sum(line.doubled for line in self.counted)

    @property
    def accepted(self) -> int:
        """Rows, counted for each stream."""
        return sum(line.accepted for line in self.counted)

    @property
    def holds(self) -> bool:
        """Where nothing was accepted nothing could be lost: see ``accepted``."""
        right = self.feed is None or self.feed.equal
        return self.settled and self.audited and right and not (self.lost or self.doubled or self.helped)


def attack(
    project: Here, order: Order, say: Say, *, plan: Iterable[Fault] | None = None, server: Server | None = None
) -> Result:
    """Do it, by ``plan`` in place of the seed's schedule if one is given.

    Raises ConfigError for what can't be attacked, Helpless for a daemon that doesn't start any more.
    """
    result = Result(order.seed)
    begun = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(order.keep))
        result.scratch = folder if order.keep else None
        proxies, database = stack.enter_context(_database(order))
        replay, env = stack.enter_context(_feed(project, order, folder))
        names = order.collectors or ([demo.COLLECTOR] if order.demo else ())
        # A scratch that pauses for want of room is counted for nothing.
        scratch = make(project, folder, names, database=database, changes={"min_free_bytes": "0"})
        for collector in scratch.collectors():
            for target in scratch.targets_of(collector):
                say(f"{collector.name}: {target.target(scratch.settings.project, scratch.settings.store)}")
        command = [sys.executable, "-m", "api2db.chaos.program", str(folder)]
        victim = Victim(command, folder, folder / "console.txt", env)
        stack.callback(victim.close)
        hurt = Attack(victim, proxies, server)
        hurt.run()
        weights = with_outages(faults.WEIGHTS) if proxies else faults.WEIGHTS
        _inflict(hurt, order, schedule(order.seed, weights) if plan is None else plan, say)
        say("no more faults: what was accepted is delivered")
        quiet = Victim([*command, SETTLE], folder, folder / "console.txt", env)
        stack.callback(quiet.close)
        result.settled = _settle(hurt, victim, quiet, scratch)
        result.kills, result.tallies, result.helped = hurt.kills, hurt.tallies, hurt.helped
        result.ready_s = hurt.ready_s
        result.counted = count(scratch)
        settings = scratch.settings
        result.audit = audit(settings, Layout(settings.store), (scratch.collectors(), []), scratch.targets_of)
        if replay is not None:
            result.feed = report(replay.served(), scratch)
    result.seconds = time.monotonic() - begun
    return result


def _inflict(hurt: Attack, order: Order, plan: Iterable[Fault], say: Say) -> None:
    deadline = None if order.minutes is None else time.monotonic() + 60 * order.minutes
    for number, fault in enumerate(plan, 1):
        if number > (order.faults or number) or hurt.kills >= (order.kills or hurt.kills + 1):
            return
        if deadline is not None and time.monotonic() > deadline:
            return
        say(_line(number, fault, hurt.inflict(fault)))


def _line(number: int, fault: Fault, hit: str) -> str:
    lasted = f" for {fault.lasts_s:.1f} s" if fault.lasts_s else ""
    point = fault.failpoint.partition(":")[0]
    words = f" ({faults.REACHABLE[point]})" if point and point in hit else ""
    return f"{number:>4}  {fault.kind}{lasted}: {hit}{words}"


def _settle(hurt: Attack, victim: Victim, quiet: Victim, scratch: Scratch) -> bool:
    """Let it deliver what it has, asking sources for nothing more. Whether that came to an end."""
    hurt.run()
    hurt.stop()
    peace = Attack(quiet)
    peace.run()
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    pause = threading.Event()
    while waiting := _waiting(Layout(scratch.settings.store)):
        if time.monotonic() > deadline:
            break
        pause.wait(_LOOK_EVERY_S)
    return peace.stop() == 0 and not waiting


def _waiting(layout: Layout) -> int:
    roots = (layout.queues, layout.root / "upload_failed")
    return sum(path.is_file() for root in roots for path in root.glob("*/*/*"))


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="api2db-chaos-"))
    try:
        yield folder
    except Helpless:
        keep = True  # what the daemon said is in it
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(order: Order) -> Iterator[tuple[list[Proxy], str | None]]:
    """A scratch database on the server, behind a proxy; removed in the end."""
    if order.database is None:
        yield [], None
        return
    url = parse_url(order.database, "--postgresql")
    if url.drivername not in DRIVERS:
        raise ConfigError(f"--postgresql: a URL of a PostgreSQL server, not of {url.get_backend_name()}")
    url = url.set(drivername="postgresql+psycopg", host=url.host or "127.0.0.1", port=url.port or 5432)
    name = f"api2db_chaos_{secrets.token_hex(4)}"
    server = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    try:
        _execute(server, f"CREATE DATABASE {name}")
        try:
            with Proxy(url.host or "", url.port or 0) as proxy:
                through: URL = url.set(host="127.0.0.1", port=proxy.port, database=name)
                yield [proxy], through.render_as_string(hide_password=False)
        finally:
            if not order.keep:
                _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        server.dispose()


def _execute(server: sqlalchemy.Engine, statement: str) -> None:
    try:
        with server.connect() as connection:
            connection.execute(text(statement))
    except sqlalchemy.exc.DBAPIError as error:
        cause = str(error.orig).strip().splitlines()[0]
        raise ConfigError(f"--postgresql: no scratch database ({statement.split(' api2db')[0]}): {cause}") from None


@contextmanager
def _feed(project: Here, order: Order, folder: Path) -> Iterator[tuple[Replay | None, dict[str, str]]]:
    """The demo's replay, if it is wanted, and the environment of the daemon under attack."""
    env = {k: v for k, v in os.environ.items() if k not in ("API2DB_FAILPOINT", "WATCHDOG_USEC", "WATCHDOG_PID")}
    # api2db as it runs here, wherever the copy of the project lies; no prompt for what the daemon prints.
    ours = str(Path(api2db.__file__).parents[1])
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, (ours, env.get("PYTHONPATH")))), "PYTHONUNBUFFERED": "1"}
    if not order.demo and not project.settings.demo:
        yield None, env
        return
    lasts_s = 60 * (order.minutes or 0) or _FAULT_S * (order.faults or order.kills or 0)
    replay = Replay(folder / demo.HISTORY_NAME, factor=_WEEK_S / (60 + lasts_s))
    replay.start()
    mine = {demo.URL_VARIABLE: replay.url, demo.EVERY_VARIABLE: DEMO_EVERY, demo.START_VARIABLE: demo.START}
    try:
        yield replay, {**env, **mine}
    finally:
        replay.close()
