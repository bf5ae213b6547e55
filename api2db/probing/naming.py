"""What a written collector is called: as its file, its function and its table can be."""

from __future__ import annotations

import keyword
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from api2db.errors import ConfigError
from api2db.layout import RESERVED, check_name
from api2db.probing.fields import plain_name

# Words of paths that name nothing.
_GENERAL: Final = frozenset(
    (
        *("query", "search", "find", "list", "all", "get", "api", "rest"),
        *("data", "json", "feed", "latest", "public", "index"),
    )
)
_OWN: Final = frozenset(("api", "Incremental"))
"""What the function of a written collector uses."""

_MOST: Final = 60
_LETTER: Final = re.compile(r"[A-Za-z]")
_NUMBERS_FIRST: Final = re.compile(r"([0-9][0-9_]*?)_*([^0-9_].*)?")


def collector_name(url: str) -> str:
    """A name for what an address gives: the last word of its path that isn't a number, else its host's."""
    parts = urlsplit(url)
    words = [unquote(word.rpartition(".")[0] or word) for word in parts.path.split("/") if word]
    named = [word for word in reversed(words) if not _is_version(word) and word.lower() not in _GENERAL]
    host = (parts.hostname or "api").removeprefix("www.").removeprefix("api.").partition(".")[0]
    return fitting(next(filter(_LETTER.search, named), host))


def fitting(text: str) -> str:
    """The nearest that a file that is run, a function and a table can be called: no number or ``_`` first."""
    name = plain_name(text).strip("_")
    numbers = _NUMBERS_FIRST.fullmatch(name)
    if numbers is not None:
        name = f"{numbers[2] or 'c'}_{numbers[1]}"
    name = name[:_MOST].strip("_")
    if name in RESERVED | _OWN:
        return f"{name}_data"
    return f"{name}_" if keyword.iskeyword(name) else name


def checked_name(name: str) -> str:
    """One that somebody has chosen. Raises ConfigError."""
    is_function = name.isidentifier() and not keyword.iskeyword(name) and name not in _OWN
    if not is_function or name.startswith("_"):
        raise ConfigError(
            f"--name {name!r} can't be that of a collector's file and function, which begin with a letter;"
            f" try {fitting(name)!r}"
        )
    return check_name(name)


def _is_version(word: str) -> bool:
    return word.isdigit() or (word[:1] in "vV" and word[1:].replace(".", "").isdigit())
