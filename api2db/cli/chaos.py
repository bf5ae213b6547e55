"""``api2db chaos``: break a copy of this project on purpose, then count every row."""

from __future__ import annotations

import json
import random
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api2db.cli.here import Here, here

if TYPE_CHECKING:
    from api2db.chaos.run import Result

HOLDS, BROKEN, NOTHING = 0, 1, 2
FAULTS = 30


@click.command()
@click.argument("collectors", nargs=-1, metavar="[COLLECTOR]...")
@click.option("--faults", type=click.IntRange(1), help=f"How many.  [default: {FAULTS}]")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="How long, in place of how many.")
@click.option("--seed", type=int, help="Of the schedule; by default another each time. It is printed.")
@click.option("--postgresql", metavar="URL", help="A server on which a scratch database is made; else SQLite files.")
@click.option("--demo", is_flag=True, help="Attack the recorded feed, which is on this machine.")
@click.option("--keep", is_flag=True, help="Leave the scratch copy, and its database, to be looked at.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, and nothing else.")
@here
def chaos(
    project: Here,
    collectors: tuple[str, ...],
    faults: int | None,
    minutes: float | None,
    seed: int | None,
    postgresql: str | None,
    demo: bool,
    keep: bool,
    as_json: bool,
) -> int:
    """Run collectors on a scratch copy, kill and break everything around them, then count every row.

    The project's own STORE and places are not touched. Sources are really polled, as often as the collectors say.
    Exit status: 0 no row lost or doubled and no start needed help, 1 otherwise.
    """
    from api2db.chaos.run import Order, attack

    seed = random.randrange(2**31) if seed is None else seed
    order = Order(
        collectors=collectors,
        faults=faults if faults or minutes else FAULTS,
        minutes=minutes,
        seed=seed,
        database=postgresql,
        demo=demo,
        keep=keep,
    )

    def say(line: str) -> None:
        if not as_json:
            click.echo(line)

    if not (demo or project.settings.demo):
        click.secho("The SOURCES ARE REALLY POLLED, as often as the collectors say.", bold=True, err=True)
    say(f"seed {seed}: the same faults again with --seed {seed}")
    result = attack(project, order, say)
    click.echo(json.dumps(as_dict(result), indent=2) if as_json else as_text(result))
    return NOTHING if result.holds and not result.accepted else HOLDS if result.holds else BROKEN


def as_dict(result: Result) -> dict[str, object]:
    return {
        "holds": result.holds if result.accepted or not result.holds else None,
        "seed": result.seed,
        "seconds": round(result.seconds, 1),
        "kills": result.kills,
        "lost": result.lost,
        "doubled": result.doubled,
        "settled": result.settled,
        "helped": result.helped,
        "ready_s": {"median": _median(result.ready_s), "longest": max(result.ready_s, default=None)},
        "faults": {kind: asdict(tally) for kind, tally in result.tallies.items()},
        "streams": [asdict(line) for line in result.counted],
        "audit": None if result.audit is None else result.audit.as_dict(),
        "feed": None if result.feed is None else asdict(result.feed),
        "scratch": None if result.scratch is None else str(result.scratch),
    }


def as_text(result: Result) -> str:
    """The tables of faults and of rows, and the verdict."""
    lines = ["", *_table(("fault", "times", "what happened", "helped", "ready in"), _fault_rows(result))]
    lines += ["", *_table(("stream", "accepted", "loaded", "held", "superseded", "found", "lost", "doubled"), [
        (one.stream, *(f"{n:,}" for n in (one.accepted, one.loaded, one.held, one.superseded, one.found, one.lost,
                                          one.doubled)))
        for one in result.counted
    ])]  # fmt: skip
    lines += [f"  {one.stream}: {one.how}" for one in result.counted if one.how]
    if result.feed is not None:
        lines += ["", result.feed.text]
    if result.audit is not None:
        from api2db.cli.audit import as_text as audit_text

        lines += ["", "api2db audit:"]
        lines += [f"  {line}" for line in audit_text(result.audit).splitlines() if line]
    if not result.settled:
        lines += ["", "What was accepted wasn't all delivered in the end: look with --keep, then api2db's log."]
    if result.scratch is not None:
        lines += ["", f"The scratch copy is kept in {result.scratch}"]
    return "\n".join([*lines, "", _verdict(result)])


def _fault_rows(result: Result) -> list[tuple[str, ...]]:
    from api2db.chaos.faults import MEANING

    return [
        (
            kind,
            str(tally.count),
            ", ".join(f"{hit}{f' ({times})' if times > 1 else ''}" for hit, times in sorted(tally.hits.items())),
            str(tally.helped),
            f"{max(tally.ready_s):.1f} s" if tally.ready_s else "-",
        )
        for kind in MEANING
        if (tally := result.tallies.get(kind)) is not None
    ]


def _verdict(result: Result) -> str:
    ready = (
        f"; ready {_median(result.ready_s)} s after a start, at most {max(result.ready_s):.1f}"
        if result.ready_s
        else ""
    )
    if result.holds and not result.accepted:
        return (
            "NOTHING IS PROVEN: nothing was accepted, so nothing could be lost. Try again when the sources bring rows,"
            f" or with --demo. {result.seconds:.0f} s, seed {result.seed}."
        )
    return (
        f"{'HOLDS' if result.holds else 'BROKEN'}: {sum(t.count for t in result.tallies.values())} faults,"
        f" {result.kills} of them kills; {result.lost:,} rows lost, {result.doubled:,} doubled,"
        f" {result.helped} starts needed help{ready}. {result.seconds:.0f} s, seed {result.seed}."
    )


def _median(seconds: list[float]) -> float | None:
    return round(statistics.median(seconds), 1) if seconds else None


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they need; figures to the right. The text of "what happened" wraps below itself."""
    from textwrap import wrap

    wide = 60
    cells = [[wrap(cell, wide) or [""] for cell in row] for row in [head, *rows]]
    widths = [max(len(line) for row in cells for line in row[n]) for n in range(len(head))]
    lines = []
    for row in cells:
        for height in range(max(map(len, row))):
            parts = [cell[height] if height < len(cell) else "" for cell in row]
            lines.append("  ".join(_pad(part, widths[n]) for n, part in enumerate(parts)).rstrip())
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]


def _pad(text: str, width: int) -> str:
    return text.rjust(width) if text.replace(",", "").isdigit() else text.ljust(width)
