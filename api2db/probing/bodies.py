"""In which format an endpoint answers, and how a collector has to say that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from api2db.probing.fields import Sureness, is_value
from api2db.sources.answer import HttpError

if TYPE_CHECKING:
    from api2db.sources.answer import Answer

TEXTS: Final = ("csv", "tsv", "xml")
"""Formats whose values are all text."""


@dataclass(frozen=True)
class Body:
    """How answers are read.

    format   one of those of ``Answer.records``
    why      what told it; None for JSON, which nobody needs to say
    """

    format: str
    sureness: Sureness = Sureness.SURE
    why: str | None = None

    @property
    def is_text(self) -> bool:
        return self.format in TEXTS

    def of(self, answer: Answer) -> Any:
        """The body as one value. Raises HttpError."""
        return answer.document(None if self.why is None else self.format)

    def doubted(self, rows: Sequence[Mapping[str, Any]]) -> Body:
        """The same, no longer sure where what was taken for the names of columns may be a row."""
        odd = [name for name in rows[0] if is_value(name)] if self.format in ("csv", "tsv") and rows else []
        if not odd:
            return self
        why = (
            f"its first row was taken for the names of columns, though {', '.join(map(repr, odd[:3]))} may be values:"
            f' if it has no names, decode=lambda answer: answer.records(format="{self.format}", columns=[...])'
        )
        return replace(self, sureness=Sureness.GUESS, why=why)


def body_of(answer: Answer) -> Body:
    """The format that an answer says it is in, or that it can be read in. Raises HttpError where it can't be."""
    told = answer.format()
    if told not in ("", "json"):
        kind = answer.headers.get("Content-Type", "no Content-Type").partition(";")[0]
        return Body(told, Sureness.SURE, f"it came as {kind}, and can be read so")
    body = Body("json")
    try:
        body.of(answer)
    except HttpError:
        for guess in (Body("ndjson", Sureness.LIKELY, "each line is a JSON value"),
                      Body("csv", Sureness.GUESS, "each line has as many values as the first")):  # fmt: skip
            if _suits(guess, answer):
                return guess
        raise
    return body


def _suits(body: Body, answer: Answer) -> bool:
    try:
        rows = body.of(answer)
    except HttpError:
        return False
    return bool(rows) and all(isinstance(row, Mapping) and len(row) > 1 for row in rows)
