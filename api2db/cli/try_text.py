"""A trial, for people and for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from api2db.printable import one_line, printable
from api2db.runtime.trial import Planned, Trial
from api2db.schema import Kind
from api2db.secret import redact
from api2db.sources.exchanges import Exchange

_CELL = 28
_HELD_SHOWN = 3


def as_json(trial: Trial) -> dict[str, object]:
    """All of it; ``requests`` holds the exchanges."""
    return {
        "collector": trial.collector,
        "schedule": trial.schedule,
        "since": trial.since,
        "since_from": trial.whence,
        "requests": [_exchange(each) for each in trial.exchanges],
        "items": trial.items,
        "stopped": trial.stopped,
        "seconds": round(trial.seconds, 3),
        "rows": trial.rows,
        "columns": [{"name": each.name, "type": each.kind.value} for each in trial.fields],
        "first_rows": _plain(list(trial.first)),
        "held": [{"row": _plain(each.row), "reason": each.reason} for each in trial.held],
        "steps": [asdict(step) for step in trial.steps],
        "cursor": None if trial.cursor is None else json.loads(trial.cursor),
        "places": [asdict(each) for each in trial.places],
        "error": trial.error,
    }


def as_text(trial: Trial, width: int) -> str:
    """Sections of a few lines each; no line of the rows is longer than ``width``."""
    lines = [f"{trial.collector}: {trial.schedule}; one poll, of which nothing is kept"]
    if trial.whence:
        lines.append(f"called with {json.dumps(trial.since, default=str)} ({trial.whence})")
    lines += ["", "Requests", *map(_indented, _requests(trial.exchanges))]
    lines += ["", _brought(trial), *map(_indented, _table(trial, width - 2))]
    if trial.steps:
        lines += ["", "Steps of the form", *map(_indented, _steps(trial))]
    if trial.held:
        lines += ["", f"Rows that would be held: {len(trial.held)}"]
        lines += [_indented(f"{each.reason}") for each in trial.held[:_HELD_SHOWN]]
    if trial.cursor is not None:
        lines += ["", f"The next poll would go on behind {trial.cursor}"]
    for place in trial.places:
        lines += ["", *_place(place, trial)]
    if trial.error is not None:
        lines += ["", "The poll failed, and the daemon would say:", _indented(redact(trial.error))]
    return "\n".join(map(printable, lines))


def _exchange(each: Exchange) -> dict[str, object]:
    seconds = None if each.seconds is None else round(each.seconds, 4)
    return {"method": each.method, "url": each.url, "status": each.status, "bytes": each.size, "seconds": seconds}


def _requests(exchanges: Sequence[Exchange]) -> Iterator[str]:
    if not exchanges:
        yield "none seen: only those of api2db's Http are, in the thread that polls"
    for each in exchanges:
        status = "no answer" if each.status is None else str(each.status)
        size = "" if each.size is None else f"{each.size:,} bytes"
        ms = "" if each.seconds is None else f"{each.seconds * 1000:,.0f} ms"
        yield f"{status:>9}  {size:>16}  {ms:>9}  {each.method} {one_line(each.url)}"


def _brought(trial: Trial) -> str:
    items, columns = _count(trial.items, "item"), _count(len(trial.fields), "column")
    more = f", stopped there (--pages {trial.items + 1} takes one more)" if trial.stopped else ""
    return f"{_count(trial.rows, 'row')} of {columns} in {items}, {trial.seconds:.2f} s{more}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _table(trial: Trial, width: int) -> Iterator[str]:
    """A line for each column: its name, its type, and its value in each of the first rows that have room."""
    if not trial.fields:
        return
    texts = [[_cell(row.get(each.name)) for each in trial.fields] for row in trial.first]
    columns = [[one_line(each.name) for each in trial.fields], [each.kind.value for each in trial.fields], *texts]
    heads = ["column", "type", *(f"row {number}" for number in range(1, len(texts) + 1))]
    widths = [max(map(len, [head, *cells])) for head, cells in zip(heads, columns, strict=True)]
    shown = 2
    while shown < len(columns) and sum(widths[: shown + 1]) + 2 * shown <= width:
        shown += 1
    for line in zip(*([head, *cells] for head, cells in zip(heads[:shown], columns[:shown], strict=True)), strict=True):
        yield "  ".join(text.ljust(wide) for text, wide in zip(line, widths[:shown], strict=True)).rstrip()
    if shown < len(columns):
        yield f"({_count(len(columns) - shown, 'more row')} without room here: --json shows all)"


def _cell(value: object) -> str:
    text = one_line(value if isinstance(value, str) else "" if value is None else str(value))
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _steps(trial: Trial) -> Iterator[str]:
    for step in trial.steps:
        changed = "".join(
            f", {count} {word}" for word, count in (("nulled", step.nulled), ("replaced", step.replaced)) if count
        )
        where = f" ({', '.join(f'{name} {count}' for name, count in step.by_column)})" if step.by_column else ""
        yield f"{step.step}: {step.rows_in:,} → {step.rows_out:,}{changed}{where}"


def _place(place: Planned, trial: Trial) -> Iterator[str]:
    yield f"{place.stream}: {redact(place.target)}"
    if place.cause is not None:
        yield _indented(f"can't be used: {redact(place.cause)}")
    elif place.makes:
        yield _indented("would be made, where it isn't there:")
        yield from (_indented(_indented(line)) for line in place.makes)
        waiting = [each.name for each in trial.fields if each.kind is Kind.NULL]
        if waiting and len(place.makes) > 1:
            yield _indented(f"not yet, since nothing has come for them: {', '.join(waiting)}")
    else:
        yield _indented(
            "what would be made there nobody can tell" if trial.rows else "nothing would be made: there are no rows"
        )


def _plain(value: object) -> object:
    """As JSON can hold it: it has no infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _indented(line: str) -> str:
    return f"  {line}"
