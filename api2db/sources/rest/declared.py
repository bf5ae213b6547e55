"""Where a declaration stands: the line of the user's own that made it, for errors that say where to correct it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from api2db.errors import ConfigError
from api2db.nearest import nearest

_PACKAGE: Final = str(Path(__file__).parents[2])


def declared_at() -> str:
    """``collectors/orders.py:12``: the nearest line on the stack that isn't of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}" if path.parent.name else f"{path.name}:{frame.f_lineno}"


def mistaken(what: str, at: str | None = None) -> ConfigError:
    """The error of a declaration; ``at`` is where it stands, found on the stack if it isn't given."""
    return ConfigError(f"{at or declared_at()}: {what}")


def check_options(made: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigError for an option that isn't one of ``known``, naming the nearest."""
    known = tuple(known)
    for name in given:
        if name not in known:
            raise mistaken(f"{made} has no option {name!r}{nearest(name, known)}")
