"""Column names: whatever a payload or a frame calls its columns becomes unique text."""

from __future__ import annotations

from collections.abc import Iterable

from api2db.form.text import scrub


def column_names(names: Iterable[object]) -> list[str]:
    """One unique text per name, in order; the same names always give the same texts.

    Names that aren't text become text (the levels of a tuple joined by ``_``), an empty one becomes
    ``column_<position from 1>``, a second ``a`` becomes ``a_2`` (or the next number no column has). NUL and
    lone surrogates become U+FFFD. Everything else stays as it is, however hostile: sinks quote.
    """
    wanted = [_text(name) or f"column_{position}" for position, name in enumerate(names, 1)]
    taken = set(wanted)
    last_number: dict[str, int] = {}
    given: list[str] = []
    for name in wanted:
        unique = name
        if name in last_number:
            while (unique := f"{name}_{last_number[name] + 1}") in taken:
                last_number[name] += 1
            taken.add(unique)
        else:
            last_number[name] = 1
        given.append(unique)
    return given


def _text(name: object) -> str:
    if isinstance(name, tuple):
        return "_".join(part for part in map(_text, name) if part)
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return scrub(text).replace("\0", "�")
