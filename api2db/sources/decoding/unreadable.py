"""The error of a body that isn't what it should be, and the limits that hold in every format."""

from __future__ import annotations

from typing import Final

from api2db.errors import SourceError

MOST_RECORD_BYTES: Final = 16 * 2**20
"""Of one record that is streamed, and of what is beside the records: so much is held, and its values."""

MOST_DEEP: Final = 200
"""Elements in one another, in XML."""


class Unreadable(SourceError):
    """``reason`` says what came instead, for an error that names the request before it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def too_large(what: str) -> Unreadable:
    """What is held whole while it is read is larger than any may be."""
    return Unreadable(f"{what} is larger than {MOST_RECORD_BYTES:,} bytes")
