"""Code as a formatter would lay it out: on one line where it has room, else a line each with a comma at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

LINE: Final = 88
"""What Black and Ruff take for a line, unless told otherwise; what fits here stays as it is where lines are longer."""

INDENT: Final = " " * 4


@dataclass(frozen=True)
class Block:
    """``opens`` parts ``closes``: a call, a dict."""

    opens: str
    parts: Sequence[str | Block]
    closes: str

    def __str__(self) -> str:
        return self.opens + ", ".join(map(str, self.parts)) + self.closes


def laid_out(code: str | Block, depth: int = 0, end: str = "") -> list[str]:
    """Its lines, indented; ``end`` stands behind the last."""
    line = f"{INDENT * depth}{code}{end}"
    if isinstance(code, str) or len(line) <= LINE or not code.parts:
        return [line]
    inner = [part_line for part in code.parts for part_line in laid_out(part, depth + 1, ",")]
    return [f"{INDENT * depth}{code.opens}", *inner, f"{INDENT * depth}{code.closes}{end}"]


def mapping(opens: str, values: Mapping[str, str], closes: str = "}") -> Block:
    return Block(opens, [f"{quoted(name)}: {quoted(value)}" for name, value in values.items()], closes)


def quoted(text: str) -> str:
    """A text as Python; in double quotes, but where it has some itself and no others."""
    code = json.dumps(text, ensure_ascii=not text.isprintable())
    return "'" + code[1:-1].replace('\\"', '"') + "'" if '"' in text and "'" not in text else code


def in_a_line(text: str) -> str:
    """What a server said may end no comment."""
    return " ".join(text.split())
