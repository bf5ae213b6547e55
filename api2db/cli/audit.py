"""``api2db audit``: whether every accepted row is where it should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from api2db.cli.here import Here, here
from api2db.errors import Api2dbError

if TYPE_CHECKING:
    from api2db.audit import Audit, Finding, StreamAudit

HOLDS, BROKEN, UNKNOWN = 0, 1, 2
NAMED = 20  # of each kind and stream, for people; --json names all


@click.command()
@click.argument("collectors", nargs=-1, metavar="[COLLECTOR]...")
@click.option("--deep", is_flag=True, help="Recount the rows in tables (where they carry their batch's id, see"
              " batch_column) and in parquet files, too.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every batch that breaks the equation.")
@here
def audit(project: Here, collectors: tuple[str, ...], deep: bool, as_json: bool) -> int:
    """Count every accepted row: accepted = loaded + waiting + parked + quarantined + replayed + superseded + purged.

    Reads the journal, STORE's folders and the ledgers of the places; changes nothing; the daemon may run meanwhile.
    Exit status: 0 it holds, 1 a batch breaks it, 2 it can't be told: a place can't be reached, or the command not run.
    """
    from api2db.audit import audit as audited
    from api2db.stream.places import targets_of

    try:
        settings = project.settings
        answer = audited(
            settings,
            project.layout,
            project.declared,
            lambda collector: targets_of(collector, settings),
            collectors,
            deep=deep,
        )
    except Api2dbError as error:
        # Not 1, which says that rows are missing.
        click.echo(json.dumps({"holds": None, "error": str(error)}, indent=2) if as_json else f"Error: {error}",
                   err=not as_json)  # fmt: skip
        return UNKNOWN
    click.echo(json.dumps(answer.as_dict(), indent=2) if as_json else as_text(answer))
    return {True: HOLDS, False: BROKEN, None: UNKNOWN}[answer.holds]


def as_text(answer: Audit) -> str:
    """A line for each stream, then what is wrong with it."""
    lines = []
    for collector in answer.collectors:
        lines.append(collector.collector)
        lines += [f"  form {_step(step)}" for step in collector.steps]
        for stream in collector.streams:
            lines += _stream_lines(stream)
        lines.append("")
    lines += answer.notes
    lines.append(
        {
            True: "All accepted rows are accounted for." if answer.collectors else "Nothing was accepted here yet.",
            False: "Some batches break the equation: see above.",
            None: "It can't be told: see above.",
        }[answer.holds]
    )
    return "\n".join(lines)


def _step(step: dict[str, object]) -> str:
    parts = [f"{step['step']}: {step['rows_in']:,} rows in, {step['rows_out']:,} out"]
    parts += [f"{step[word]:,} {word}" for word in ("dropped", "nulled", "replaced") if step[word]]
    return ", ".join(parts)


def _stream_lines(s: StreamAudit) -> list[str]:
    parts = [("loaded", s.loaded), ("waiting", s.waiting), ("parked", s.parked), ("quarantined", s.quarantined)]
    parts += [("superseded", s.superseded)]
    parts += [
        (word, rows) for word, rows in (("replayed", s.replayed), ("purged", s.purged), ("left out", s.changed)) if rows
    ]
    sums = " + ".join(f"{rows:,} {word}" for word, rows in parts)
    if s.difference:
        sums += f", {s.difference:,} rows are missing"
    state = {True: "holds", False: "BROKEN", None: "can't be told"}[s.holds]
    lines = [f"  {s.stream}  {state}, by its {s.checked}: {s.accepted:,} accepted = {sums} ({s.batches:,} batches)"]
    if s.unreached is not None:
        lines.append(f"    not asked: {s.unreached}")
    kinds: dict[str, list[Finding]] = {}
    for finding in s.findings:
        kinds.setdefault(finding.kind, []).append(finding)
    for found in kinds.values():
        about = found[0].as_dict()
        lines.append(f"    {len(found):,} batches: {about['what']}; {about['advice']}")
        lines += [f"      {_batch(finding)}" for finding in found[:NAMED]]
        if len(found) > NAMED:
            lines.append(f"      and {len(found) - NAMED:,} more: --json names them all")
    return lines + [f"    note: {note}" for note in s.notes]


def _batch(finding: Finding) -> str:
    text = f"{finding.created_ns} {finding.batch_id}: {finding.rows:,} rows"
    return text if finding.found is None else f"{text}, found {finding.found:,}"
