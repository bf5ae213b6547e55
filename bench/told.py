"""``python -m bench.told``: how long after the fact people are told.

A daemon and a webhook, both real. What can go wrong is made to go wrong, one thing after the other and then all at
once, and is mended again; measured is from that moment until the message is in the receiver's hands. Needs root, for a
disk that is full.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from api2db.cli.main import main as api2db
from tests.http_api import HttpApi
from tests.project_kit import Project, eventually

# Of the messages and of the collectors; what a person is promised is one of each, and a minute.
EVERY_S, POLL_S, BACKLOG_S, FRESH_S = 30, 10, 20, 25
COLLECTORS = f"""
    import pathlib, time
    from api2db import collector
    from api2db.stream import Stream2Sql

    here = pathlib.Path(__file__).parents[1]

    @collector(every={POLL_S}, to=["database"])
    def feed():
        if (here / "failing").exists():
            raise RuntimeError("the API says no")
        return [{{"n": 1}}]

    @collector(every={POLL_S}, fresh_within={FRESH_S}, timeout=3600, to=["database"])
    def slow():
        while (here / "stale").exists():
            time.sleep(0.1)
        return [{{"n": 1}}]

    @collector(every={POLL_S}, to=["database"])
    def strict():
        return [{{"n": -1 if (here / "quarantine").exists() else 1}}]

    @collector(every={POLL_S}, to=[Stream2Sql("away", url=f"sqlite:///{{here}}/away.sqlite")])
    def away():
        return [{{"n": 1}}]
"""
TOML = f"""
    min_free_bytes = "32MiB"
    [notify]
    every = {EVERY_S}
    backlog_age = {BACKLOG_S}
"""


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong. ``breaks`` and ``mends`` return once it has; the fact may be ``later_s`` after."""

    kind: str
    breaks: Callable[[], object]
    mends: Callable[[], object]
    later_s: float = 0.0


@click.command()
@click.option("--rounds", default=2, show_default=True, help="How often each is measured.")
def main(rounds: int) -> None:
    """Break, mend, and wait to be told."""
    if os.geteuid() != 0:
        raise click.ClickException("needs root: it mounts a small disk to fill it")
    longest: dict[tuple[str, str], float] = {}
    for number in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="api2db-told-"))
        try:
            with _small_disk(folder / "project" / "STORE"), HttpApi() as hook:
                project = Project(folder / "project", all=COLLECTORS)
                (project.folder / "api2db.toml").write_text("\n".join(line.strip() for line in TOML.splitlines()))
                with closing(project):
                    taken, messages = _round(project, hook)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        longest = {key: max(seconds, longest.get(key, 0.0)) for key, seconds in taken.items()}
        click.echo(
            f"round {number + 1}: the longest took {max(taken.values()):.1f} s;"
            f" all but the disk at once: {messages} messages"
        )
    click.echo("\n| | began | over |\n|---|---|---|")
    for kind in dict.fromkeys(kind for kind, _ in longest):
        click.echo(f"| `{kind}` | {longest[kind, 'began']:.1f} s | {longest[kind, 'over']:.1f} s |")
    bound_s = max(EVERY_S, POLL_S) + 60
    click.echo(f"\nThe longest of {rounds} each; every = {EVERY_S} s, a poll each {POLL_S} s; promised: {bound_s} s")
    sys.exit(max(longest.values()) > bound_s)


def _round(project: Project, hook: HttpApi) -> tuple[dict[tuple[str, str], float], int]:
    """Seconds by (kind, change), and how many messages told of what went wrong together.

    Each in a STORE of its own: what changes six times in an hour is told to come and go.
    """
    process = project.start(env={"API2DB_NOTIFY_WEBHOOK": hook.url})
    project.ready(process)
    eventually(lambda: all(project.sqlite(f"SELECT 1 FROM {name}") for name in ("strict", "slow")), what="tables")
    with closing(sqlite3.connect(project.store / "database.sqlite", timeout=30)) as db, db:
        db.execute("CREATE TRIGGER no BEFORE INSERT ON strict WHEN NEW.n < 0 BEGIN SELECT raise(ABORT, 'n < 0'); END")
    troubles = list(_troubles(project))
    taken: dict[tuple[str, str], float] = {}
    for one in troubles:
        for change, does, later_s in (("began", one.breaks, one.later_s), ("over", one.mends, 0.0)):
            heard = len(_told(hook))
            does()
            fact_s = time.monotonic() + later_s
            wanted = change, one.kind
            eventually(lambda n=heard, wanted=wanted: wanted in _told(hook)[n:], 180, what=f"{change} {one.kind}")  # type: ignore[misc]
            taken[one.kind, change] = max(0.0, time.monotonic() - fact_s)
            if _told(hook)[heard:].count(wanted) != 1:
                raise AssertionError(f"{change} {one.kind} was told more than once")
    with_disk_left = [one for one in troubles if one.kind != "disk"]  # on a full disk nothing is polled or refused
    messages = _together(hook, with_disk_left)
    project.stop(process)
    return taken, messages


def _troubles(project: Project) -> Iterator[Trouble]:
    def marked(kind: str) -> tuple[Callable[[], None], Callable[[], None]]:
        path = project.folder / kind
        return path.touch, path.unlink

    def hang() -> None:
        rows = project.sqlite("SELECT count(*) FROM slow")
        eventually(lambda: project.sqlite("SELECT count(*) FROM slow") > rows, what="a poll that has just succeeded")
        (project.folder / "stale").touch()

    refused = project.store / "quarantine" / "strict" / "sql.sqlite"

    def refuse() -> None:
        (project.folder / "quarantine").touch()
        eventually(lambda: list(refused.glob("*.parquet")), what="a refused row")
        (project.folder / "quarantine").unlink()

    def give_up() -> None:
        _shards(project, "purge", "strict", "--in", "quarantine", "--yes")

    locks: list[sqlite3.Connection] = []

    def lock() -> None:
        locks.append(sqlite3.connect(project.folder / "away.sqlite", isolation_level=None, timeout=30))
        locks[-1].execute("BEGIN EXCLUSIVE")
        eventually(lambda: list((project.store / "queue" / "away").glob("sql*/*.parquet")), what="a shard that waits")

    def unlock() -> None:
        locks.pop().close()
        _shards(project, "retry", "away")
        eventually(lambda: not [path for path in project.waiting() if "away" in str(path)], what="nothing that waits")

    filler = project.store / "filler"
    yield Trouble("failing", *marked("failing"))
    yield Trouble("stale", hang, (project.folder / "stale").unlink, later_s=FRESH_S)
    yield Trouble("backlog", lock, unlock, later_s=BACKLOG_S)
    yield Trouble("disk", lambda: filler.write_bytes(b"\0" * (40 << 20)), filler.unlink)
    yield Trouble("quarantine", refuse, give_up)


def _shards(project: Project, *words: str) -> None:
    done = CliRunner().invoke(api2db, ["-C", str(project.folder), "shards", *words])
    if done.exit_code:
        raise AssertionError(done.output)


def _together(hook: HttpApi, troubles: list[Trouble]) -> int:
    """How many messages tell that all of them began, each told once."""
    before = len(hook.requests)
    heard = len(_told(hook))
    for one in troubles:
        one.breaks()
    wanted = {("began", one.kind) for one in troubles}
    eventually(lambda: wanted <= set(_told(hook)[heard:]), 180, what="all of them told")
    messages = hook.requests[before:]
    if len([pair for pair in _told(hook)[heard:] if pair in wanted]) != len(wanted):
        raise AssertionError(f"told more than once: {_told(hook)[heard:]}")
    for one in troubles:
        one.mends()
    return sum(any(change["change"] == "began" for change in json.loads(one.body)["changes"]) for one in messages)


def _told(hook: HttpApi) -> list[tuple[str, str]]:
    return [(one["change"], one["kind"]) for each in hook.requests for one in json.loads(each.body)["changes"]]


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


if __name__ == "__main__":
    main()
