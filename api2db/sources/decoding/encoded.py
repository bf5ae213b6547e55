"""Whether what a Content-Encoding packed came to its end: urllib3 unpacks it, and takes what was cut for whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

# Of urllib3's GzipDecoder: it has begun another file behind a whole one; and what follows the last of its files is
# none, and is left out.
_BEHIND, _SWALLOWS = 1, 2


def is_cut_short(raw: Any, came: int) -> bool:
    """Of a body that was read to its end: whether its gzip, deflate, brotli or Zstandard hasn't ended.

    raw   of an answer of requests
    came  bytes that were unpacked: without any, a body that came in chunks was empty; else ``raw`` knows
    """
    decoder = getattr(raw, "_decoder", None)
    if decoder is None or not (came or raw.tell()):
        return False  # HEAD, 204 and 304 have no body, whatever they say it is packed in
    return not all(_is_whole(one) for one in _each(decoder))


def _each(decoder: Any) -> Iterator[Any]:
    """One for each encoding that is said."""
    yield from getattr(decoder, "_decoders", (decoder,))


def _is_whole(decoder: Any) -> bool:
    state, engine = getattr(decoder, "_state", None), getattr(decoder, "_obj", None)
    if state == _SWALLOWS:
        return True
    finished = getattr(engine, "is_finished", None)  # brotli's
    if finished is not None:
        return bool(finished())
    return bool(getattr(engine, "eof", True)) or (state == _BEHIND and _has_one_byte(engine))


def _has_one_byte(engine: Any) -> bool:
    """Whether a gzip decoder waits for the second byte of what begins a file: one is none, a line break for example."""
    try:
        engine.copy().decompress(b"\0")
    except zlib.error as error:
        return "incorrect header check" in str(error)  # it says so of the first two bytes alone
    return False
