"""The options of a request as they are declared, checked: what would be misread silently is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api2db.errors import ConfigError
from api2db.form.path import parse_path
from api2db.nearest import nearest

_METHODS: Final = (
    *("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY", "SEARCH", "REPORT", "PROPFIND"),
)


def method(said: object) -> str:
    """In capitals. Raises ConfigError for what is no HTTP method."""
    name = said.upper() if isinstance(said, str) else ""
    if name not in _METHODS:
        raise ConfigError(f"method={said!r} is none of {', '.join(_METHODS)}{nearest(name, _METHODS)}")
    return name


def mapping(name: str, given: Any) -> Mapping[str, Any]:
    """Params or headers; None are none. Raises ConfigError."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name}= are names with values, {{'name': value}}, not {type(given).__name__}")
    return given


def conditional(said: object) -> bool:
    """Raises ConfigError: any text would count as true."""
    if not isinstance(said, bool):
        raise ConfigError(f"conditional={said!r}: give True or False")
    return said


def key(key: object) -> tuple[str, ...]:
    """Raises ConfigError."""
    names = (key,) if isinstance(key, str) else key or ()
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"key={key!r}: give the name of the field that identifies a record, or several: ('a', 'b')")
    for name in names:
        parse_path(name, ())
    return tuple(names)


def ignored(statuses: object) -> tuple[int, ...]:
    """Raises ConfigError."""
    if not isinstance(statuses, (tuple, list, set, frozenset)) or not all(
        isinstance(status, int) and 100 <= status <= 599 for status in statuses
    ):
        raise ConfigError(f"ignore={statuses!r}: give HTTP statuses, (404,) for example")
    return tuple(statuses)
