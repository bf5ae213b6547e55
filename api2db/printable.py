"""Text of others, for a terminal or a log: it can't move the cursor, change colours, or pass for lines of ours."""

from __future__ import annotations

import re

# C0 but tab and newline, DEL and C1 (a terminal obeys them), the separators that some viewers break lines at,
# and what turns the direction of text around.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_INDENT = "    "


def printable(text: str) -> str:
    """``text`` with control characters written out (``\\x1b``); lines after the first are indented."""
    clean = _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return clean.replace("\n", f"\n{_INDENT}") if "\n" in clean else clean


def one_line(text: str) -> str:
    """``printable``, and newlines written out too."""
    return printable(text.replace("\n", "\\n"))
