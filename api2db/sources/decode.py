"""What an API answered, as Python values: JSON with every digit of an integer."""

from __future__ import annotations

import json
from typing import Final

import msgspec

from api2db.sources.decoding.unreadable import Unreadable

_BOM: Final = "﻿"
_SHOWN: Final = 40
_MOST_DIGITS: Final = 4300
"""Python's own limit for making an integer of text (CVE-2020-10735)."""

_decoder = msgspec.json.Decoder()


class NotJson(Unreadable):
    """``reason`` says what came instead, and quotes nothing of it; the error's text shows its first characters too."""

    def __init__(self, reason: str, body: bytes | str) -> None:
        super().__init__(reason)
        self.args = (f"{reason}: {_seen(body)}",)


def decode(data: bytes | str) -> object:
    """The JSON value of an answer's body.

    Integers of any size are exact (beyond 4,300 digits they are text). Also taken, though it isn't JSON: a byte
    order mark, NaN and Infinity, numbers too large for a double (infinities), lone surrogates. Raises
    NotJson, a SourceError, saying what was got instead.
    """
    body = data.removeprefix(_BOM) if isinstance(data, str) else data.removeprefix(_BOM.encode())
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise NotJson("the answer is nested too deep to read", body) from None
    except (msgspec.DecodeError, UnicodeError):
        return _decode_tolerantly(body)


def _decode_tolerantly(body: bytes | str) -> object:
    try:
        return json.loads(body, parse_int=_integer)
    except RecursionError:
        raise NotJson("the answer is nested too deep to read", body) from None
    except UnicodeDecodeError as error:
        raise NotJson(f"the answer isn't UTF-8 ({error.reason} at byte {error.start})", body) from None
    except json.JSONDecodeError as error:
        if not body.strip():
            raise NotJson("the answer is empty", body) from None
        raise NotJson(f"{_what(body)} ({error.msg} at character {error.pos})", body) from None


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _what(body: bytes | str) -> str:
    start = body[:200] if isinstance(body, str) else body[:200].decode("utf-8", "replace")
    is_markup = start.lstrip().startswith("<")
    return "the answer is HTML or XML, not JSON" if is_markup else "the answer isn't JSON"


def _seen(body: bytes | str) -> str:
    start = body[:_SHOWN] if isinstance(body, str) else body[:_SHOWN].decode("utf-8", "replace")
    unit = "characters" if isinstance(body, str) else "bytes"
    return f"{len(body):,} {unit}, starting {start!r}"
