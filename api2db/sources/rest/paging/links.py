"""Reading a Link header as RFC 8288 says it is read (section 3 and appendix B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_SPACE: Final = " \t"
_NAME: Final = re.compile(r"[^ \t=;,]*")
_TOKEN: Final = re.compile(r"[^;,]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\\?$)', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def links(header: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The target of each, as it stands there, and its parameters, their names in lower case.

    More is taken for a link than the RFC allows, since a next page that is passed over is missing without a word: a
    target without ``<>`` ends at ``;``, and what comes between a link and the next comma doesn't matter.
    """
    at = 0
    while (at := _past(header, at, _SPACE + ",")) < len(header):
        end = header.find(">", at) if header[at] == "<" else -1
        bare = _matched(_TOKEN, header, at)
        target = (bare[0] if end < 0 else header[at + 1 : end]).strip(_SPACE if end >= 0 else _SPACE + "<>'\"")
        parameters, at = _parameters(header, bare.end() if end < 0 else end + 1)
        if parameters or end >= 0:
            yield target, parameters
        comma = header.find(",", at)
        at = len(header) if comma < 0 else comma


def _parameters(header: str, at: int) -> tuple[list[tuple[str, str]], int]:
    """Those from ``at`` on, and where they end."""
    found: list[tuple[str, str]] = []
    while header.startswith(";", at := _past(header, at, _SPACE)):
        name = _matched(_NAME, header, _past(header, at + 1, _SPACE))
        value = ""
        at = _past(header, name.end(), _SPACE)
        if header.startswith("=", at):
            at = _past(header, at + 1, _SPACE)
            quoted = _QUOTED.match(header, at)
            read = quoted or _matched(_TOKEN, header, at)
            value = _ESCAPED.sub(r"\1", quoted[1]) if quoted else read[0].rstrip(_SPACE)
            at = read.end()
        if name[0]:
            found.append((name[0].lower(), value))
    return found, at


def _matched(pattern: re.Pattern[str], header: str, at: int) -> re.Match[str]:
    match = pattern.match(header, at)
    assert match is not None  # it may be empty
    return match


def _past(header: str, at: int, chars: str) -> int:
    while at < len(header) and header[at] in chars:
        at += 1
    return at
