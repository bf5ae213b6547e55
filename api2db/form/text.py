"""Text that every sink can store: valid Unicode."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from api2db.form.tally import Tally

_SURROGATE = re.compile("[\ud800-\udfff]")


def scrub(text: str) -> str:
    """The text with every lone surrogate, which no encoding can carry, replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("�", text)


def clean(text: str, tally: Tally) -> str:
    """Like ``scrub``, counting the text when it changed. NUL is kept: what becomes of it is the sink's to say."""
    scrubbed = scrub(text)
    if scrubbed != text:
        tally.replaced += 1
    return scrubbed


def text_array(texts: Sequence[str | None], tally: Tally) -> pa.Array:
    """Strings of any content as an Arrow column, lone surrogates replaced and counted."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if text is None else clean(text, tally) for text in texts], pa.string())
