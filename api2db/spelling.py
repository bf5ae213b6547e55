"""Where a text stands in another, however programs spell it: quoted for addresses, escaped for JSON or HTML.

PHP writes ``\\/``, Gson ``\\u003d``, .NET ``%2f``, a page of HTML ``&#x3D;``; each again within another's. Letters and
digits of ASCII stay as they are everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import AnyStr, Final

_PART: Final = re.compile(r"[A-Za-z0-9]+|\\+|[^A-Za-z0-9\\]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9]+")
_AFTER_BACKSLASH: Final = {"\n": "n", "\t": "t", "\r": "r", "\b": "b", "\f": "f", "\v": "v", "\0": "0"}
_NARROW: Final = ("utf-8", "latin-1")
_CHARSETS: Final = (*_NARROW, "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")  # all others have zeros
# A character's longest spelling: eight backslashes, each quoted four times, before a reference of HTML.
_LONGEST_CHARS: Final = 100
_LETTER_BYTES: Final = 4

Span = tuple[int, int]


def spans(value: str, text: str) -> Iterator[Span]:
    """From where to where ``value`` stands in ``text``, overlapping ones too. In the time of the text's length."""
    if value and all(run in text for run in _runs(value)):
        yield from _found(_pattern(value), text)


def without(text: str, places: Iterable[Span], by: str) -> str:
    """``text`` with ``by`` in place of each span; of those that overlap one for all."""
    return by.join(_between(text, places))


def replaced(values: Iterable[str], data: bytes, by: str) -> bytes:
    """``data`` with ``by`` in place of each of the texts, in whatever charset they stand in it."""
    values = list(values)
    for charset in _CHARSETS if b"\0" in data else _NARROW:
        places: list[Span] = []
        for value in values:
            if _may_be_in(value, data, charset):
                places += _found(_bytes_pattern(value, charset), data)
        if places:
            data = by.encode(charset).join(_between(data, places))
    return data


def most_bytes(value: str) -> int:
    """So long may a spelling of it be, in any charset."""
    special = len(value) - sum(map(len, _runs(value)))
    return _LETTER_BYTES * (len(value) + _LONGEST_CHARS * special)


def _runs(value: str) -> list[str]:
    return _PLAIN.findall(value)


def _may_be_in(value: str, data: bytes, charset: str) -> bool:
    if charset == "latin-1" and (value.isascii() or any(char > "\xff" for char in value)):
        return False  # as utf-8, or not at all
    return value != "" and all(run.encode(charset) in data for run in _runs(value))


def _found(pattern: re.Pattern[AnyStr], text: AnyStr) -> Iterator[Span]:
    at = 0
    while match := pattern.search(text, at):
        yield match.span()
        at = match.start() + 1


def _between(text: AnyStr, places: Iterable[Span]) -> Iterator[AnyStr]:
    shown_until, hidden_until = 0, -1
    for start, end in sorted(places):
        if start >= hidden_until:
            yield text[shown_until:start]
        hidden_until = shown_until = max(hidden_until, end)
    yield text[shown_until:]


@lru_cache(maxsize=1024)
def _pattern(value: str) -> re.Pattern[str]:
    return re.compile(_Spelling("").source(value))


@lru_cache(maxsize=1024)
def _bytes_pattern(value: str, charset: str) -> re.Pattern[bytes]:
    return re.compile(_Spelling(charset).source(value).encode("latin-1"))


class _Spelling:
    """Writes patterns; each byte of a charset as a character of its own, "" for texts.

    No two ways to read the same characters may be in one, else a text could be made to take for ever.
    """

    def __init__(self, charset: str) -> None:
        self._charset = charset
        self._backslash = f"(?:{self._text(chr(92))})"

    def source(self, value: str) -> str:
        return "".join(self._part(part) for part in _PART.findall(value))

    def _part(self, part: str) -> str:
        if _PLAIN.match(part):
            return self._text(part)
        if part[0] == "\\":
            count = len(part)
            return f"(?:{self._backslash}{{{count},{8 * count}}}+|(?:{self._escaped(part[0], 1)}){{{count}}})"
        literal = self._text(part)
        return f"(?:{self._escaped(part, 0)}|{self._backslash}{{1,8}}+{literal}|{literal})"

    def _escaped(self, char: str, backslashes: int) -> str:
        """With so many of them at least: one that is a part of the value took those before it."""
        code = ord(char)
        units = char.encode("utf-16-be", "surrogatepass").hex()
        data = char.encode("utf-8", "surrogatepass")
        between = f"{self._backslash}{{1,8}}+"
        ways = [between.join(self._hex(f"u{units[at : at + 4]}") for at in range(0, len(units), 4))]
        ways += [self._hex(f"U{code:08x}"), self._hex(f"u{{{code:x}}}")] if code > 0xFFFF else []
        ways += [between.join(self._hex(f"x{byte:02x}") for byte in data)] if code > 0x7F else []
        ways += [self._hex(f"x{code:02x}")] if code <= 0xFF else []
        ways += [self._text(_AFTER_BACKSLASH[char])] if char in _AFTER_BACKSLASH else []
        ways = [f"{self._backslash}{{{backslashes},8}}+(?:{'|'.join(ways)})"]
        percent = f"{self._text('%')}(?:{self._text('25')}){{0,3}}"
        ways.append("".join(percent + self._hex(f"{byte:02x}") for byte in data))
        ways += [percent + self._hex(f"{code:02x}")] if 0x7F < code <= 0xFF else []
        ways += [self._text("+")] if char == " " else []
        zeros, end = f"(?:{self._text('0')}){{0,5}}", f"(?:{self._text(';')})?+"
        named = [self._text(name) for name in _references().get(char, ())]
        references = "|".join(
            (
                f"{self._text('#')}{zeros}{self._text(str(code))}{end}",
                f"{self._hex('#x')}{zeros}{self._hex(f'{code:x}')}{end}",
                *named,
            )
        )
        return "|".join((*ways, f"{self._text('&')}(?:{self._text('amp;')}){{0,3}}(?:{references})"))

    def _text(self, text: str) -> str:
        said = text if not self._charset else text.encode(self._charset, "surrogatepass").decode("latin-1")
        return f"(?:{re.escape(said)})" if len(said) > 1 and len(text) == 1 else re.escape(said)

    def _hex(self, text: str) -> str:
        """In capitals or not."""
        return f"(?i:{self._text(text)})"


@cache
def _references() -> dict[str, list[str]]:
    """Of HTML: a character's names, with their ";"."""
    from html.entities import html5

    found: dict[str, list[str]] = {}
    for name, char in html5.items():
        if name.endswith(";"):
            found.setdefault(char, []).append(name)
    return found
