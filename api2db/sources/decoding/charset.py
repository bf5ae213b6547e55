"""Bytes of any charset as UTF-8, every byte checked: what doesn't fit is an error with its place, never other letters.

By, in this order: what the user says, a byte order mark, zeros as UTF-16 and UTF-32 have them, the header, the XML
declaration. UTF-8 where nothing says anything.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from api2db.errors import ConfigError
from api2db.sources.decoding.unpacking import peeked
from api2db.sources.decoding.unreadable import Unreadable

_LOOKED_AT: Final = 256
_DECLARED: Final = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._\-]{1,40})["']""")
_UNICODE: Final = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig")
# So many characters that are UTF-8, and none that isn't, are no accident.
_SURE: Final = 4


def check_charset(name: str | None) -> None:
    """Raises ConfigError for a charset nobody knows."""
    if name is not None and _known(name) is None:
        raise ConfigError(f'charset={name!r}: Python knows no such charset; try "utf-8" or "cp1252"')


def as_utf8(chunks: Iterable[bytes], header: str | None, said: str | None = None) -> Iterator[bytes]:
    """The same text in UTF-8, without a byte order mark; lone surrogates, which JSON may hold, as they are.

    header  the charset of the Content-Type; ``said`` is the user's and isn't doubted. Raises Unreadable.
    """
    start, whole = peeked(chunks, _LOOKED_AT)
    name, doubted = _charset(start, header, said)
    decoder = codecs.getincrementaldecoder(name)("surrogatepass" if name in _UNICODE else "strict")
    doubt = _Doubt(name) if doubted else None
    read, as_it_is = 0, name in ("utf-8", "utf-8-sig")
    skip = 3 if start.startswith(codecs.BOM_UTF8) and as_it_is else 0

    def text_of(chunk: bytes, *, final: bool = False) -> str:
        held = len(decoder.getstate()[0])
        try:
            return decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            at = read - held + error.start
            raise Unreadable(
                f"it isn't {name}: {error.reason} at byte {at:,}; if it is another, say charset="
            ) from None
        except UnicodeError:  # that no byte order mark is there, which UTF-16 and UTF-32 are to have
            raise Unreadable(f"it isn't {name}, which begins with a byte order mark; say charset=") from None

    for chunk in whole:
        text = text_of(chunk)
        read += len(chunk)
        if doubt is not None and not doubt.over:
            doubt.see(chunk)
        if as_it_is:
            yield chunk[skip:] if skip else chunk
            skip = 0
        elif text:
            yield text.encode("utf-8", "surrogatepass")
    rest = text_of(b"", final=True)
    if doubt is not None:
        doubt.end()
    if rest and not as_it_is:
        yield rest.encode("utf-8", "surrogatepass")


class _Doubt:
    """A charset of single bytes takes anything; where all of it is UTF-8, UTF-8 is what it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._seen = 0
        self._first: int | None = None
        self._read = 0
        self.over = False

    def see(self, chunk: bytes) -> None:
        if chunk.isascii() and not self._decoder.getstate()[0]:
            self._read += len(chunk)
            return
        if self._first is None:
            self._first = self._read + next(at for at, byte in enumerate(chunk) if byte > 127)
        self._read += len(chunk)
        try:
            self._seen += sum(letter > "\x7f" for letter in self._decoder.decode(chunk))
        except UnicodeDecodeError:
            self.over = True
            return
        if self._seen >= _SURE:
            self._tell()

    def end(self) -> None:
        if self.over:
            return
        try:
            self._decoder.decode(b"", True)
        except UnicodeDecodeError:
            return
        if self._seen:
            self._tell()

    def _tell(self) -> None:
        raise Unreadable(
            f"it is said to be {self._name}, and its bytes are UTF-8 (byte {self._first:,} is the first that"
            ' differs); say charset="utf-8", or what it is'
        )


def _charset(start: bytes, header: str | None, said: str | None) -> tuple[str, bool]:
    """Python's name of it, and whether it is to be doubted."""
    if said is not None:
        own = _known(said) or said
        # With its mark where it has one.
        return ("utf-8-sig" if own == "utf-8" else own), False
    seen = json.detect_encoding(start) if len(start) > 1 else "utf-8"
    if seen != "utf-8":
        return seen, False
    declared = _DECLARED.match(start)
    told = header or (declared.group(1).decode() if declared else "utf-8")
    name = _known(told)
    if name is None:
        raise Unreadable(f"its charset {told[:40]!r} is unknown; say charset=")
    if name in ("ascii", *_UNICODE):
        # Of ASCII UTF-8 is a part. Zeros would have shown UTF-16.
        return ("utf-8" if name.startswith(("ascii", "utf-8")) else name), False
    return name, True


def _known(name: str) -> str | None:
    try:
        b"a".decode(name)
    except UnicodeError:
        pass  # half a letter of it
    except (LookupError, ValueError):
        return None  # also for a codec that makes no text of bytes, such as zlib
    return codecs.lookup(name).name
