"""A collector written from what was found: code a person goes on with, each guess said beside its line."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

from api2db.form.path import parse_path
from api2db.probing.endpoint import Findings, Found
from api2db.probing.fields import Choice, Column, Sureness
from api2db.probing.layout import INDENT, Block, in_a_line, laid_out, mapping, quoted
from api2db.probing.since import Since, lag_of
from api2db.secret import shown_url
from api2db.sources.rest.paging import Paging, Single


def collector_text(name: str, found: Findings, today: str, auth: str | None) -> str:
    """The module: a ``Rest``, and a collector that polls it.

    today  the day it was found out
    auth   the name of its credentials
    """
    imports = ["Incremental"] if found.since is not None else []
    ways = [type(found.paging.value).__name__] if _is_paged(found) else []
    select = found.selection.written.partition("(")[0]
    ways += [select] if select in ("HeaderRow", "Parallel") else []
    lines = [
        f'"""{name}: {shown_url(found.url)}, as it was found on {today}.',
        "",
        "Beside each line is said how sure it is: correct what you know better.",
        f"See what one poll brings, nothing stored: api2db try {name}",
        '"""',
        "",
        f"from api2db import {', '.join(sorted([*imports, 'Rest', 'collector']))}",
        *([f"from api2db.sources.rest import {', '.join(sorted(ways))}"] if ways else []),
        "",
        *_about(found),
        *laid_out(Block("api = Rest(", [quoted(_base(found.url)), *_rest_options(found, auth)], ")")),
        *_rate_comment(found),
        "",
        "",
        *_decorator(found),
        f"def {name}({'cursor' if found.since is not None else ''}):",
        *_body(found),
    ]
    return "\n".join(lines) + "\n"


def test_text(name: str, rows: int, columns: Mapping[str, str]) -> str:
    """A test of the collector against the answer that was recorded, without the API."""
    return f'''"""{name}, against what the API answered when the collector was written. Nothing is asked of the API."""

from pathlib import Path

from api2db.testing import poll_recorded

PROJECT = Path(__file__).parents[1]


def test_the_recorded_answer_has_the_rows_and_columns_it_had():
    recorded = PROJECT / "tests" / "recorded" / "{name}.json"
    table = poll_recorded(PROJECT / "collectors" / "{name}.py", recorded)
    assert table.num_rows == {rows}
    assert {{column.name: str(column.type) for column in table.schema}} == {{
{_dict_lines(columns)}
    }}
'''


def _dict_lines(columns: Mapping[str, str]) -> str:
    return "\n".join(f"{INDENT * 2}{quoted(column)}: {quoted(kind)}," for column, kind in columns.items())


def _about(found: Findings) -> list[str]:
    kind = found.answer.headers.get("Content-Type", "no content type").partition(";")[0]
    lines = [f"# It answered {found.answer.status_code}, {kind}: {len(found.records):,} records."]
    if found.validator is not None and found.validator.value:
        lines.append(f"# {found.validator.value}: {in_a_line(found.validator.why)} ({found.validator.sureness.value}).")
        lines.append("# So a poll without news costs next to nothing; Rest does that by itself.")
    elif found.validator is not None:
        lines.append(f"# {in_a_line(found.validator.why)}.")
    return lines


def _rest_options(found: Findings, auth: str | None) -> list[str]:
    options = [f"auth={quoted(auth)}"] if auth else []
    told = found.rate is not None and found.rate.sureness is Sureness.SURE
    return options + ([f"rate={quoted(found.rate.value)}"] if found.rate is not None and told else [])


def _rate_comment(found: Findings) -> list[str]:
    if found.rate is None:
        return ['# No limit was told. If there is one: rate="60/min".']
    if found.rate.sureness is Sureness.SURE:
        return [f"# rate: sure: {in_a_line(found.rate.why)}."]
    return [f"# rate: {in_a_line(found.rate.why)}. Once you know: rate={quoted(found.rate.value)}."]


def _decorator(found: Findings) -> list[str]:
    lines = ["@collector(", f"{INDENT}every={quoted(found.every.value)},{_told(found.every)}"]
    if found.key is not None and found.key.sureness is Sureness.GUESS:
        # A wrong one would have rows replace each other.
        lines.append(f"{INDENT}# key={quoted(found.key.column.name)},{_told_choice(found.key)}")
        lines.append(f"{INDENT}# Without a key each poll appends all it brings.")
    elif found.key is not None:
        lines.append(f"{INDENT}key={quoted(found.key.column.name)},{_told_choice(found.key)}")
        if found.version is not None:
            lines.append(f"{INDENT}version={quoted(found.version.column.name)},{_told_choice(found.version)}")
    else:
        lines.append(f"{INDENT}# key=...: no column tells the records apart, so each poll appends all it brings.")
    return [*lines, ")"]


def _body(found: Findings) -> list[str]:
    lines = [f"{INDENT}# records: {found.selection.sureness.value}: {in_a_line(found.selection.why)}."]
    if found.selection.candidates:
        lines.append(f"{INDENT}# Others that may be it: {', '.join(map(quoted, found.selection.candidates))}.")
    if found.paging.value is None:
        lines.append(f"{INDENT}# paging: not found: {in_a_line(found.paging.why)}.")
        lines.append(
            f"{INDENT}# Look it up, and say it below: paging=NextCursor(...), OffsetLimit(...), ...; where this"
        )
        lines.append(
            f"{INDENT}# is all, paging=Single(). Unsaid, a poll fails where the answer says that there is more."
        )
    else:
        lines.append(f"{INDENT}# paging: {found.paging.sureness.value}: {in_a_line(found.paging.why)}.")
    if found.since is not None:
        lines.append(f"{INDENT}# since: {found.since.sureness.value}: {in_a_line(found.since.why)}.")
    elif (choice := found.version or found.born) is not None:
        if choice.sureness is Sureness.GUESS:
            why = f"{choice.column.name}: {in_a_line(choice.why)}"
            lines.append(f"{INDENT}# Not tried whether a parameter asks for what is new. {why}.")
        else:
            lines.append(f"{INDENT}# No parameter was found that asks for what is new.")
        lines.append(f"{INDENT}# If there is one: from api2db import Incremental; cursor as this function's parameter;")
        lines.append(f"{INDENT}# and below, as parameters of pages:")
        asks = Block("Incremental(", [quoted(choice.column.declared), f"lag={quoted(lag_of(choice.column))}"], ")")
        lines.append(f"{INDENT}# <the API's name>={asks}, cursor=cursor")
    if found.body.why is not None:
        lines.append(f"{INDENT}# format: {found.body.sureness.value}: {in_a_line(found.body.why)}.")
    lines += [] if found.since is None else _incremental(found.since)
    lines += laid_out(Block("for page in api.pages(", _page_options(found), ")"), 1, ":")
    lines += [f"{INDENT * 2}yield page.rows(", f"{INDENT * 3}{found.selection.written},"]
    for column in found.columns:
        lines += _row_lines(column, found.children.get(column.name, ()))
    return [*lines, f"{INDENT * 2})"]


def _incremental(since: Since) -> list[str]:
    """What is new; what was guessed of it said beside its line."""
    inner = INDENT * 2
    lines = [f"{INDENT}new = Incremental(", f"{inner}{quoted(since.column.declared)},"]
    if since.start is not None:
        lines.append(f"{inner}start={quoted(since.start)},")
    lines.append(f"{inner}format={quoted(since.format)},  # sure: it was asked so")
    lines.append(f"{inner}lag={quoted(since.lag)},  # a guess: a row that appears later than that isn't seen")
    if since.inclusive:
        lines.append(f"{inner}# inclusive: sure: asked from the newest record on, that came again.")
    else:
        seen = "likely: asked from the newest record on, that one didn't come"
        safe = "a guess, and the safe one: what is as old as it is told may be left out"
        lines.append(f"{inner}inclusive=False,  # {seen if since.inclusive is False else safe}")
    if since.order is None:
        lines.append(f"{inner}# order: the records seen aren't sorted by it, so pages are read to their end.")
    else:
        lines.append(f"{inner}# order: a guess, by the records seen. If the API says so, no page is read in vain:")
        lines.append(f"{inner}# order={quoted(since.order)},")
    return [*lines, f"{INDENT})"]


def _row_lines(column: Column, items: Sequence[Column]) -> list[str]:
    """Of one column; of a list of objects also how it would be a table of its own."""
    note = {"null": "  # null in all records seen", "list": "  # a list", "objects": "  # a list of objects, as JSON"}
    option: str | Block = f"{column.name}={quoted(_path(column))}"
    if keyword.iskeyword(column.name):
        option = mapping("**{", {column.name: _path(column)})
    lines = laid_out(option, 3, "," + note.get(column.kind, ""))
    if items:
        lines.append(f"{INDENT * 3}# In its place, for a table of its own (from api2db import Children):")
        shape = mapping("shape={", {item.name: _path(item) for item in items})
        named = f"{column.name}=" if not keyword.iskeyword(column.name) else f"**{{{quoted(column.name)}: "
        closes = ")" if not keyword.iskeyword(column.name) else ")}"
        offered = laid_out(Block(f"{named}Children(", [quoted(column.path), shape], closes), 0, ",")
        lines += [f"{INDENT * 3}# {line}" for line in offered]
    return lines


def _path(column: Column) -> str:
    # JSON and lists say it, so that the column's type doesn't hang on what the first poll brings.
    return f"{column.path}:json" if column.kind in ("json", "list", "objects") else column.declared


def _page_options(found: Findings) -> list[str | Block]:
    parts = urlsplit(found.url)
    options: list[str | Block] = [quoted(parts.path or "/")]
    given = {name: value for name, value in found.params.items() if found.since is None or name != found.since.value}
    if given:
        options.append(mapping("params={", given))
    if found.body.why is not None:
        options.append(f"format={quoted(found.body.format)}")
    if _is_paged(found):
        name, given_to_it = _paging_parts(found.paging.value)
        options.append(Block(f"paging={name}(", given_to_it, ")"))
    if found.paging.value is not None and found.paging.value.counts and (path := _key_of_pages(found)) is not None:
        options.append(f"key={quoted(path)}")
    if found.since is not None:
        name = found.since.value
        options.append(f"{name}=new" if not keyword.iskeyword(name) else f"**{{{quoted(name)}: new}}")
        options.append("cursor=cursor")
    return options


def _key_of_pages(found: Findings) -> str | None:
    """The path by which a record that moved to the next page is known again; None where pages have the same keys."""
    if found.key is None or found.key.sureness is Sureness.GUESS:
        return None
    where = parse_path(found.key.column.path, ())[0]
    first, more = ({where.read(record) for record in page} for page in (found.records, found.more))
    return None if more and more <= first else found.key.column.path


def _is_paged(found: Findings) -> bool:
    return found.paging.value is not None and not isinstance(found.paging.value, Single)


def paging_text(paging: Paging | None) -> str:
    """As Python makes it: what isn't as by default."""
    if paging is None:
        return "not found"
    name, given = _paging_parts(paging)
    return f"{name}({', '.join(given)})"


def _paging_parts(paging: Paging) -> tuple[str, list[str]]:
    given = []
    for each in fields(paging):  # type: ignore[arg-type]
        value = getattr(paging, each.name)
        if each.init and value != each.default:
            given.append(f"{each.name}={quoted(value) if isinstance(value, str) else repr(value)}")
    return type(paging).__name__, given


def _told(found: Found) -> str:
    return f"  # {found.sureness.value}: {in_a_line(found.why)}"


def _told_choice(choice: Choice) -> str:
    return f"  # {choice.sureness.value}: {in_a_line(choice.why)}"


def _base(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def sureness_of(found: Findings) -> dict[str, Sureness]:
    """How sure each thing that was found is, by what it is."""
    told: dict[str, Any] = {
        "format": found.body if found.body.why is not None else None,
        "records": found.selection,
        "key": found.key,
        "version": found.version,
        "paging": found.paging,
        "since": found.since,
        "validator": found.validator,
        "rate": found.rate,
        "every": found.every,
    }
    return {name: each.sureness for name, each in told.items() if each is not None}
