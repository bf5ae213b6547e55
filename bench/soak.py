"""``python -m bench.soak --hours 24``: a day of ten collectors at one poll a second, as fast as the machine goes.

Watched from outside: memory, threads, file descriptors and files of a daemon must not grow once it has warmed up, nor
the log, the journal and the ledger: what is kept for a time is kept so shortly here that it goes hundreds of times.
The same folder given again goes on where the run before ended; Ctrl-C ends it early, with its verdict.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import click

from bench import measure, simulated
from tests.project_kit import REPOSITORY, Project

COLLECTORS = 10
POLLS_AN_HOUR = COLLECTORS * 3600
WARM_UP = 0.25  # of the run: caches fill, threads start, types are found
LOOK_S = 0.2
INTERRUPTED_S = 5.0

# Growth over all that was watched, beyond which something is kept that should not be: a straight line through the
# samples, so that what goes up and down isn't growth.
# One collector of ours leaks on purpose until its process is replaced: up and down by the 64 MiB it is allowed.
# How much is kept for a time depends on how fast this machine polls meanwhile; if none went it would be a million each.
LIMITS = {"rss_mb": 16.0, "child_mb": 64.0, "threads": 2.0, "descriptors": 4.0, "files": 4.0} | {
    "log": 5_000.0, "journal_mb": 8.0, "ledger": 10_000.0, "blocks_k": 50.0, "malloc_mb": 8.0, "arrow_mb": 8.0
}  # fmt: skip

_MAIN = "from bench.simulated import run\n\nraise SystemExit(run())\n"
# By the wall clock, to which a simulated day is some tens of minutes.
_TOML = 'durability = "process"\nconsole = false\nkeep = "10s"\nhistory = "20s"\n'
_AUDIT = "from api2db.cli.main import main; main()"
_SOURCE = Path(__file__).with_name("soaked.py")


_WIDTH = 12
_DATABASES = ("journal", "database")


@dataclass(frozen=True)
class Sample:
    """One look at the daemon.

    blocks_k, malloc_mb, arrow_mb  in use: thousands of Python's small objects, of the C library, of Arrow
    free_mb  what the C library keeps for later
    files   of STORE and LOGS, but for shards on their way, kept or published, and older parts of logs
    log     shards that are kept
    ledger  batches that the database remembers
    """

    hours: float
    rss_mb: float
    blocks_k: float
    malloc_mb: float
    free_mb: float
    arrow_mb: float
    child_mb: float
    threads: int
    descriptors: int
    files: int
    waiting: int
    log: int
    journal_mb: float
    ledger: int
    database_mb: float
    polls_a_second: float


@click.command()
@click.option("--hours", default=24.0, show_default=True, help="Simulated; with --folder those of earlier runs count.")
@click.option("--samples", default=48, show_default=True, help="How many lines the table shall have.")
@click.option("--minutes", type=float, help="End it after so many real ones, with its verdict, however far it got.")
@click.option("--folder", type=click.Path(path_type=Path), help="Kept, and gone on with; else a temporary one.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A setting of the daemon.")
def main(hours: float, samples: int, minutes: float | None, folder: Path | None, changes: Sequence[str]) -> None:
    """Run a daemon for simulated hours and say what grew."""
    place = folder or Path(tempfile.mkdtemp(prefix="api2db-soak-"))
    try:
        taken, wrong = soak(place, hours, samples, minutes, changes)
    finally:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
    grown = growths(taken)
    for name, growth in grown.items():
        click.echo(f"{name:<12} {growth:+9.2f} since the warm-up; at most {LIMITS[name]:g}")
    wrong += [f"{name} grew by {growth:.2f}" for name, growth in grown.items() if growth > LIMITS[name]]
    click.echo("\n".join(wrong) or "nothing grew; every accepted row is in its table once, and the audit holds")
    raise SystemExit(bool(wrong))


def soak(
    folder: Path, hours: float, samples: int, minutes: float | None = None, changes: Sequence[str] = ()
) -> tuple[list[Sample], list[str]]:
    """Run the daemon until it has polled so much, its time is up, or Ctrl-C. The samples, and what is wrong then."""
    until = time.monotonic() + (math.inf if minutes is None else minutes * 60)
    project = Project(folder, toml=_TOML, soaked=_SOURCE.read_text())
    (folder / "main.py").write_text(_MAIN)
    taken: list[Sample] = []
    click.echo("  ".join(f"{field.name:>{_WIDTH}}" for field in fields(Sample)))
    process = project.start(*(part for change in changes for part in ("--set", change)))
    try:
        for sample in watch(project, process, hours, samples, until):
            taken.append(sample)
            click.echo("  ".join(f"{value:>{_WIDTH}.5g}" for value in astuple(sample)))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        with suppress(subprocess.TimeoutExpired):
            process.wait(INTERRUPTED_S)  # the terminal has told the daemon too; a second signal would kill it
    finally:
        if process.poll() is None:
            project.stop(process, signal.SIGTERM)
    if process.returncode:
        raise RuntimeError(f"the daemon ended with status {process.returncode}:\n{project.console[-5000:]}")
    return taken, rows_wrong(project)


def watch(
    project: Project, process: subprocess.Popen[str], hours: float, samples: int, until: float
) -> Iterator[Sample]:
    """Samples, evenly in simulated time, until the daemon has gone through ``hours`` or it is ``until`` (monotonic)."""
    before = polls(project)
    every = (hours * POLLS_AN_HOUR - before) / samples
    due, last_at, last = before + every, time.monotonic(), before
    while last < hours * POLLS_AN_HOUR and process.poll() is None and time.monotonic() < until:
        time.sleep(LOOK_S)
        consume(project)
        count = polls(project)
        if count >= due:
            now = time.monotonic()
            yield look(project, process.pid, count, (count - last) / (now - last_at))
            due += every * max(1, (count - due) // every + 1)
            last_at, last = now, count


def consume(project: Project) -> None:
    """What a user of the published files does: take them away."""
    for path in (project.store / "two_places" / "parquet").glob("*.parquet"):
        path.unlink()


def polls(project: Project) -> int:
    return (project.journal("SELECT sum(polls) FROM collectors") or [(0,)])[0][0] or 0


def look(project: Project, pid: int, count: int, rate: float) -> Sample:
    moving = [project.store / name for name in ("queue", "log", "two_places")]
    # LOGS/ by its collectors: each log keeps so many older parts once it has been full as often, and no more.
    files = [path for path in project.store.rglob("*") if path.is_file()] + [*(project.folder / "LOGS").glob("*.log")]
    size = {name: sum(p.stat().st_size for p in project.store.glob(f"{name}.sqlite*")) for name in _DATABASES}
    return Sample(
        hours=count / POLLS_AN_HOUR,
        rss_mb=measure.rss_mb(pid),
        **json.loads((project.folder / simulated.MEMORY).read_text()),
        child_mb=sum(map(_rss_if_there, children_of(pid))),
        threads=measure.status(pid, "Threads"),
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        files=sum(not any(path.is_relative_to(folder) for folder in moving) for path in files),
        waiting=len(project.waiting()),
        log=sum(path.is_relative_to(project.store / "log") for path in files),
        journal_mb=size["journal"] / 2**20,
        ledger=(project.sqlite("SELECT count(*) FROM _api2db_ledger") or [(0,)])[0][0],
        database_mb=size["database"] / 2**20,
        polls_a_second=rate,
    )


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue  # the thread ended just now
    return found


def _rss_if_there(pid: int) -> float:
    try:
        return measure.rss_mb(pid)
    except (FileNotFoundError, KeyError, ProcessLookupError):
        return 0.0  # replaced just now


def growths(taken: Sequence[Sample]) -> dict[str, float]:
    """By how much each figure grew from the end of the warm-up to the last sample, along a straight line."""
    kept = taken[int(len(taken) * WARM_UP) :]
    hours = [sample.hours for sample in kept]
    if len(set(hours)) < 2:
        return {}
    grown = {}
    for name in LIMITS:
        line = statistics.linear_regression(hours, [float(getattr(sample, name)) for sample in kept])
        grown[name] = line.slope * (hours[-1] - hours[0])
    return grown


def rows_wrong(project: Project) -> list[str]:
    """What the audit finds; and of each table that is appended to: is every row the journal calls loaded in it once?"""
    audit = subprocess.run(
        [sys.executable, "-c", _AUDIT, "audit"],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    found = [f"audit: {audit.stdout}{audit.stderr}"] if audit.returncode else []
    for name in ("appends0", "appends1", "appends2", "two_places", "pages", "filters", "leaks"):
        ((loaded,),) = project.journal(
            "SELECT (SELECT coalesce(sum(rows), 0) FROM deliveries WHERE outcome = 'loaded' AND"
            f" collector = '{name}' AND stream = 'sql.sqlite') + (SELECT coalesce(sum(loaded), 0) FROM totals WHERE"
            f" collector = '{name}' AND stream = 'sql.sqlite')"
        )
        ((rows,),) = project.sqlite(f"SELECT count(*) FROM {name}")
        if rows != loaded:
            found.append(f"{name}: {rows} rows, but {loaded} were loaded")
    for name, column in (("pages", "page"), ("filters", "id")):
        query = f"SELECT count(*), count(DISTINCT {column}), max({column}) FROM {name}"
        ((rows, distinct, largest),) = project.sqlite(query)
        if not rows == distinct == largest:
            found.append(f"{name}: {rows} rows, {distinct} different, the largest is {largest}")
    return found


if __name__ == "__main__":
    main()
