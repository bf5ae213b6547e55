"""Where a JSON list can be cut: behind its last whole element, found in arrays of positions, not byte by byte.

Or guessed, since records begin alike: what the decoder takes, between the brackets of a list, is whole elements. So a
guess is right, or costs a decoding.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import msgspec

_ESCAPED: Final = re.compile(rb"\\.", re.DOTALL)
_BETWEEN: Final = re.compile(rb'\}\s*,\s*\{\s*"[^"\\]{1,100}"\s*:')
_WRONG_AT_MOST: Final = 3  # guesses in a row: of such records none is right
_QUOTE, _COMMA, _OPEN, _CLOSE = 1, 2, 3, 4


class Guess:
    """What stands between two records, as it stood between two before."""

    def __init__(self) -> None:
        self._between = b""
        self._comma = 0
        self._wrong = 0
        self._decoder = msgspec.json.Decoder(list[Any])

    def learn(self, data: bytes, comma: int) -> None:
        """``comma`` is one between two elements."""
        found = _BETWEEN.match(data, data.rfind(b"}", 0, comma))
        if self._wrong < _WRONG_AT_MOST and found and found.start() <= comma < found.end():
            self._between, self._comma = found[0], comma - found.start()

    def cut(self, data: bytes) -> tuple[int, list[Any]] | None:
        """The position of a comma, and the elements before it; None: nobody knows."""
        at = data.rfind(self._between) if self._between else -1
        if at < 0:
            return None
        comma = at + self._comma
        try:
            elements = self._decoder.decode(b"[" + data[:comma] + b"]")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._between = b""
            self._wrong += 1
            return None
        self._wrong = 0
        return comma, elements


def cut(data: bytes) -> tuple[int, bool]:
    """The position of the comma behind the last whole element, or of the bracket that ends the list: then True.

    ``data`` begins within the list, where an element begins. -1 where no element is whole yet.
    """
    # numpy is loaded with the first list that is streamed.
    import numpy as np

    classes, steps = _tables()
    # Outside of texts there are no escapes; a quote behind one doesn't end its text.
    plain = _ESCAPED.sub(b"__", data) if b"\\" in data else data
    kinds = np.frombuffer(plain.translate(classes), np.uint8)
    at = np.flatnonzero(kinds != 0)
    kinds = kinds[at]
    outside = np.bitwise_and(np.cumsum(kinds == _QUOTE), 1) == 0
    at, kinds = at[outside], kinds[outside]
    depth = np.cumsum(steps[kinds])
    ends = np.flatnonzero(depth < 0)
    if len(ends):
        return int(at[ends[0]]), True
    commas = np.flatnonzero((kinds == _COMMA) & (depth == 0))
    return (int(at[commas[-1]]), False) if len(commas) else (-1, False)


@functools.cache
def _tables() -> tuple[Any, Any]:
    """The class of each byte, and by how much each class changes the depth."""
    import numpy as np

    classes = bytearray(256)
    for letters, kind in ((b'"', _QUOTE), (b",", _COMMA), (b"[{", _OPEN), (b"]}", _CLOSE)):
        for letter in letters:
            classes[letter] = kind
    return bytes(classes), np.array([0, 0, 0, 1, -1], np.int64)
