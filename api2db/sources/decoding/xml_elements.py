"""Elements of an XML document as records, without a tree of it. A DOCTYPE is refused: no entity is ever defined.

    <item id="7"><name>A</name><tag>x</tag><tag>y</tag><none/></item>
    {"@id": "7", "name": "A", "tag": ["x", "y"], "none": None}

Attributes are ``@name``; an element with text alone is that text, an empty one None; text beside attributes or
elements is ``#text``; elements of one name in one element are a list. Names are as they are written, prefix and all;
``xmlns`` declarations are left out. Every value is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from api2db.sources.decoding.chunked import Block
from api2db.sources.decoding.json_array import path_of
from api2db.sources.decoding.unreadable import MOST_DEEP, MOST_RECORD_BYTES, Unreadable, too_large

_PIECE: Final = 2**16
_MOST_TAG: Final = 2**20  # expat looks through what isn't whole yet with each piece again


def blocks(chunks: Iterable[bytes], text: str) -> Iterator[Block]:
    """The elements at the path ``text``, which begins with the root's name; "" is the root itself.

    ``chunks`` in UTF-8, whatever the document declares. Raises Unreadable.
    """
    path = path_of(text)
    builder = _Builder([part.key for part in path.parts])
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.buffer_size = _PIECE
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    fed = taken = 0
    for chunk in chunks:
        for at in range(0, len(chunk), _PIECE):
            piece = chunk[at : at + _PIECE]
            _parse(parser, piece, final=False)
            fed += len(piece)
            if builder.done or not builder.within:
                taken = fed
            if fed - parser.CurrentByteIndex > _MOST_TAG:
                raise Unreadable(f"a tag, or a comment, is larger than {_MOST_TAG:,} bytes")
            if builder.done:
                records, builder.done = builder.done, []
                yield Block(records, len(piece))
            if fed - taken > MOST_RECORD_BYTES:
                raise too_large("an element")
    _parse(parser, b"", final=True)
    yield Block(builder.done, 0)
    builder.check(text)


def _parse(parser: Any, piece: bytes, *, final: bool) -> None:
    try:
        parser.Parse(piece, final)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise Unreadable(f"the answer isn't XML: {what} (line {error.lineno:,}, column {error.offset:,})") from None


def _refuse(*_: object) -> None:
    raise Unreadable("it has a DOCTYPE, which isn't read: what it defines may be a trap")


@dataclass
class _Element:
    name: str
    children: dict[str, Any]
    texts: list[str] = field(default_factory=list)

    def value(self) -> dict[str, Any] | str | None:
        text = "".join(self.texts)
        if not self.children:
            return text if text.strip() else None
        if text.strip():
            self.children["#text"] = text.strip()
        return self.children


class _Builder:
    """What expat calls. ``done``: records since it was emptied; ``within`` one or not."""

    def __init__(self, wanted: list[str]) -> None:
        self._wanted = wanted
        self._around: list[str] = []
        self._open: list[_Element] = []
        self._found = False
        self._parent_found = False
        self._root = ""
        self._seen: dict[str, None] = {}  # what is beside the wanted elements, for an error
        self.done: list[dict[str, Any]] = []

    @property
    def within(self) -> bool:
        return bool(self._open)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._around) + len(self._open) >= MOST_DEEP:
            raise Unreadable(f"the answer is nested deeper than {MOST_DEEP} elements")
        if not self._root:
            self._root = name
            if name.lower() == "html" and self._wanted[:1] != [name]:
                raise Unreadable("the answer is HTML, not XML")
        if not self._open:
            self._around.append(name)
            if self._around == self._wanted[:-1]:
                self._parent_found = True
            if self._wanted and self._around != self._wanted:
                if len(self._around) == len(self._wanted) and len(self._seen) < 10:
                    self._seen[".".join(self._around)] = None
                return
            self._around.pop()
            self._found = True
        own = {f"@{key}": value for key, value in attributes.items() if key != "xmlns" and key[:6] != "xmlns:"}
        self._open.append(_Element(name, own))

    def end(self, name: str) -> None:
        if not self._open:
            self._around.pop()
            return
        element = self._open.pop()
        value = element.value()
        if self._open:
            _add(self._open[-1].children, name, value)
        elif not self._wanted:
            self.done.append({name: value})
        else:
            self.done.append(value if isinstance(value, dict) else {} if value is None else {"#text": value})

    def text(self, text: str) -> None:
        if self._open:
            self._open[-1].texts.append(text)

    def check(self, text: str) -> None:
        """After the end: none found where the element that holds them is there is an empty list."""
        if not self._found and not self._parent_found:
            there = ", ".join(map(repr, self._seen)) or repr(self._root)
            raise Unreadable(f"no element is at {text!r}; the answer has {there}")


def _add(children: dict[str, Any], name: str, value: object) -> None:
    if name not in children:
        children[name] = value
    elif isinstance(children[name], list):
        children[name].append(value)
    else:
        children[name] = [children[name], value]
