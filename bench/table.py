"""The one table: what, ours, the peer's, the ratio, what is required."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

HEADINGS = ("what", "ours", "peer", "ratio", "required", "")


@dataclass(frozen=True)
class Line:
    """One promise and what was measured for it, a value for each round.

    peer   the other's values, of the same rounds; with ``at_least`` the ratio of the two is what counts
    limit  the ratio required at least, or the value required at most; None only informs
    """

    what: str
    ours: Sequence[float]
    unit: str
    limit: float | None = None
    at_least: bool = False
    peer: Sequence[float] = ()
    peer_name: str = ""

    @property
    def ratios(self) -> list[float]:
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)] if self.at_least else []

    @property
    def passed(self) -> bool | None:
        if self.limit is None:
            return None
        return median(self.ratios) >= self.limit if self.at_least else median(self.ours) <= self.limit

    def cells(self) -> tuple[str, ...]:
        verdict = {None: "", True: "pass", False: "MISS"}[self.passed]
        required = ""
        if self.limit is not None:
            required = f"≥ {self.limit:g} ×" if self.at_least else f"≤ {self.limit:g} {self.unit}".rstrip()
        peer = f"{self.peer_name}: {spread(self.peer, self.unit)}" if self.peer else ""
        return self.what, spread(self.ours, self.unit), peer, spread(self.ratios, "×"), required, verdict


def spread(values: Sequence[float], unit: str) -> str:
    """Median and, of more than one, the lowest and the highest."""
    if not values:
        return ""
    text = f"{number(median(values))} {unit}".rstrip()
    return text if len(values) == 1 else f"{text} ({number(min(values))}–{number(max(values))})"


def number(value: float) -> str:
    """Three figures are what a shared machine can give."""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def render(lines: Sequence[Line]) -> str:
    """As Markdown."""
    rows = [HEADINGS, *(line.cells() for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)
