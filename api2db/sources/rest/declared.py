"""Where a declaration stands: the line of the user's own that made it, for errors that say where to correct it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from api2db.errors import ConfigError
from api2db.nearest import nearest

T = TypeVar("T")
_PACKAGE: Final = f"{Path(__file__).parents[2]}{os.sep}"


class MistakenError(ConfigError):
    """A mistake in a declaration; the text begins with its file and line."""


def declared_at() -> str:
    """``collectors/orders.py:12``: the nearest line on the stack that isn't of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}" if path.parent.name else f"{path.name}:{frame.f_lineno}"


def mistaken(what: str) -> MistakenError:
    """The error of the declaration that is being made."""
    return MistakenError(f"{declared_at()}: {what}")


def checked(make: Callable[[], T], about: str = "") -> T:
    """What a part of a declaration makes; a mistake in it is told with its line, and what it is ``about``."""
    try:
        return make()
    except MistakenError:
        raise
    except ConfigError as error:
        raise mistaken(f"{about}: {error}" if about else str(error)) from None


def check_options(made: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises MistakenError for an option that isn't one of ``known``, naming the nearest."""
    known = tuple(known)
    for name in given:
        if name not in known:
            raise mistaken(f"{made} has no option {name!r}{nearest(name, known)}")


def check_whole(what: str, value: object, least: int) -> None:
    """Raises MistakenError for what isn't a whole number, or is below ``least``. ``what`` as in "PageNumber(start="."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise mistaken(f"{what}{value!r}: give a whole number")
    if value < least:
        raise mistaken(f"{what}{value!r}: at least {least}")


def _is_ours(file: str) -> bool:
    # The __init__ of a dataclass is of no file: "<string>".
    return file.startswith(_PACKAGE) or file == "<string>"
