"""An answer's body, read in the format it is in or is said to be in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.sources.decode import decode
from api2db.sources.decoding import delimited, json_array, json_lines, xml_elements
from api2db.sources.decoding.charset import as_utf8, check_charset
from api2db.sources.decoding.chunked import Block
from api2db.sources.decoding.elements import Elements
from api2db.sources.decoding.named import NamedRows
from api2db.sources.decoding.unpacking import peeked, unpacked
from api2db.sources.decoding.unreadable import Unreadable

FORMATS: Final = ("json", "ndjson", "csv", "tsv", "xml")

_BY_TYPE: Final = (
    (
        re.compile(r"application/(x-)?(ndjson|jsonl|jsonlines|json-lines|json-seq|stream\+json|[\w.+-]+\+json-seq)"),
        "ndjson",
    ),
    (re.compile(r"(application|text)/json|[\w.-]+/[\w.+-]+\+json"), "json"),
    (re.compile(r"(text|application)/(x-)?(csv|comma-separated-values)"), "csv"),
    (re.compile(r"text/(tab-separated-values|tsv)"), "tsv"),
    (re.compile(r"(application|text)/xml|[\w.-]+/(?!xhtml)[\w.+-]+\+xml"), "xml"),
)
_BY_SUFFIX: Final = {
    ".json": "json",
    ".geojson": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "tsv",
    ".xml": "xml",
}
_JSON: Final = ("application/json", "application/geo+json", "application/vnd.api+json", "text/json")
_UTF8: Final = ("", "charset=utf-8", 'charset="utf-8"')
_NO_NAMES: Final = "say decode=lambda answer: answer.records(format='csv', columns=[...])"
_HTML: Final = ("text/html", "application/xhtml+xml")
_BY_LETTER: Final = {b"{": "json", b"[": "json", b"<": "xml", json_lines.SEQUENCE_MARK: "ndjson"}


@dataclass(frozen=True)
class Said:
    """What a user says of a body; None for what is found out.

    format     one of FORMATS
    charset    any that Python knows
    delimiter  of CSV
    columns    of CSV whose first row is a record already; one that is just these names isn't

    Raises ConfigError.
    """

    format: str | None = None
    charset: str | None = None
    delimiter: str | None = None
    columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            choices = ", ".join(FORMATS)
            raise ConfigError(f"format={self.format!r} is none of {choices}{nearest(self.format, FORMATS)}")
        check_charset(self.charset)
        delimited.check_delimiter(self.delimiter)


@dataclass(frozen=True)
class Body:
    """What came: the bytes, as far as a Content-Encoding goes unpacked; its Content-Type; where it came from.

    most_bytes  of what a packed file in it holds
    """

    chunks: Iterable[bytes]
    content_type: str
    url: str
    most_bytes: int


def records(body: Body, path: str, said: Said) -> list[Any]:
    """All of them. Raises Unreadable, ConfigError."""
    return _opened(body, path, said, _whole)


def blocks(body: Body, path: str, said: Said) -> Iterator[Block]:
    """One block after the other, as the bytes come. Raises Unreadable, ConfigError."""
    return _opened(body, path, said, lambda found: found)


def document(body: Body, said: Said) -> Any:
    """All of it as one value: of XML its ``Elements``, of CSV, TSV and NDJSON the list of their rows.

    What nobody says the format of is taken for JSON. Raises Unreadable.
    """
    form, text = _text(body, said, otherwise="json")
    if form == "json":
        return decode(b"".join(text))
    found = list(_blocks(form, text, "", said))
    rows = _whole(found)
    if form == "xml":
        return Elements(rows[0])
    return NamedRows(rows, found[-1].names, _NO_NAMES) if found and found[-1].names else rows


def is_plainly_json(content_type: str, data: bytes) -> bool:
    """Is it said to be JSON in UTF-8, and begins so? Most answers are, and need no closer look."""
    kind, _, parameters = content_type.lower().partition(";")
    return data[:1] in (b"{", b"[") and kind.strip() in _JSON and parameters.strip() in _UTF8


def format_of(body: Body) -> str:
    """One of FORMATS; "" where nothing tells it. Raises Unreadable for what can't be unpacked."""
    return _told(body, Said())[0]


def _whole(found: Iterable[Block]) -> list[Any]:
    return list(chain.from_iterable(block.records for block in found))


def _opened(body: Body, path: str, said: Said, take: Callable[[Iterator[Block]], Any]) -> Any:
    if _content_type(body.content_type)[0] in _HTML and said.format is None:
        raise Unreadable("the answer is HTML; if it isn't, say format=")
    form, text = _text(body, said)
    if path and form in ("ndjson", "csv", "tsv"):
        raise ConfigError(f"path={path!r}: {form} has no path, each of its rows is a record")
    if form == "json" and take is _whole:
        return json_array.listed(decode(b"".join(text)), json_array.path_of(path), path)
    return take(_blocks(form, text, path, said))


def _text(body: Body, said: Said, otherwise: str = "") -> tuple[str, Iterator[bytes]]:
    """The format, ``otherwise`` where nothing tells it; and the text, unpacked and in UTF-8."""
    form, text = _told(body, said)
    if not form and not otherwise:
        raise Unreadable(f"nobody says what format it is in: say format= ({', '.join(FORMATS)})")
    return form or otherwise, text


def _told(body: Body, said: Said) -> tuple[str, Iterator[bytes]]:
    kind, charset = _content_type(body.content_type)
    name, bytes_ = unpacked(body.chunks, body.most_bytes)
    start, text = peeked(as_utf8(bytes_, charset, said.charset), 1)
    return said.format or _format_of(kind, name or urlsplit(body.url).path, start), text


def _blocks(form: str, text: Iterable[bytes], path: str, said: Said) -> Iterator[Block]:
    delimiter = said.delimiter or ("\t" if form == "tsv" else None)
    made: dict[str, Callable[[Iterable[bytes]], Iterator[Block]]] = {
        "json": partial(json_array.blocks, text=path),
        "ndjson": json_lines.blocks,
        "csv": partial(delimited.blocks, delimiter=delimiter, columns=said.columns),
        "tsv": partial(delimited.blocks, delimiter=delimiter, columns=said.columns),
        "xml": partial(xml_elements.blocks, text=path),
    }
    return made[form](text)


def _content_type(header: str) -> tuple[str, str | None]:
    message = Message()
    message["Content-Type"] = header or "application/octet-stream"
    return message.get_content_type(), message.get_content_charset()


def _format_of(kind: str, where: str, start: bytes) -> str:
    """As the Content-Type, the address or the first letter tells it; "" where none does."""
    for pattern, form in _BY_TYPE:
        if pattern.fullmatch(kind):
            return form
    name = PurePosixPath(where.lower())
    suffix = PurePosixPath(name.stem).suffix if name.suffix in (".gz", ".zip") else name.suffix
    if kind in _HTML:
        return ""
    return _BY_SUFFIX.get(suffix) or _BY_LETTER.get(start.lstrip()[:1], "")
