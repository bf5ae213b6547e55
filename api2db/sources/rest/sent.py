"""What was sent to ask for a next page, as the error names it where it had no effect."""

from __future__ import annotations

from api2db.sources.rest.ask import Ask
from api2db.sources.rest.paging import NextCursor, Paging, Step
from api2db.sources.rest.paging.detect import found_in
from api2db.sources.rest.paging.totals import Counting


def sent(paging: Paging, first: Ask, step: Step) -> str:
    """In brackets, what ``step`` adds to the request's parameters; for one with a body how it would go in there."""
    found = found_in(step) or paging
    added = [name for name, value in paging.ask(first, step).params if (name, value) not in first.params]
    if not added:
        return ""
    where = f"{', '.join(map(repr, dict.fromkeys(added)))} in the address"
    in_body = "" if first.body is None else _in_body(found)
    return f" ({where}; if the API takes it in the body of a {first.method}: {in_body})" if in_body else f" ({where})"


def _in_body(paging: Paging) -> str:
    if isinstance(paging, Counting):
        return f"paging={type(paging).__name__}(..., in_body=True)"
    if isinstance(paging, NextCursor):
        given = repr(paging.path) if paging.path is not None else "..."
        return f"paging=NextCursor({given}, field={paging.param!r}), or what the field is called"
    return ""
