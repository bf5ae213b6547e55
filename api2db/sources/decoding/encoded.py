"""Whether what a Content-Encoding packed came to its end: urllib3 unpacks it, and takes what was cut for whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Of urllib3's GzipDecoder: what follows the last of its files is none, and is left out.
_SWALLOWS = 2


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
    if getattr(decoder, "_state", None) == _SWALLOWS:
        return True
    engine = getattr(decoder, "_obj", None)
    finished = getattr(engine, "is_finished", None)  # brotli's
    return bool(finished()) if finished is not None else bool(getattr(engine, "eof", True))
