"""Requests with ``{names}`` in them, filled in from a record of a parent."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from api2db.errors import ConfigError, SourceError

_FORMATTER = string.Formatter()
# Of a path: as "." and "..", also as %2E, they are left out by whoever reads an address; "" asks for the whole list.
_OTHER_PATH = (".", "..", "")


@dataclass(frozen=True)
class Template:
    """What a request is made of, each text of it perhaps with ``{name}``; ``{{`` is a brace itself."""

    path: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None

    def names(self) -> set[str]:
        """The names in it. Raises ConfigError for what is no name."""
        return {name for text in _texts([self.path, self.params, self.headers, self.json]) for name in _names(text)}

    def filled(self, values: Mapping[str, object]) -> Template:
        """With the values in place of their names: quoted in the path, of their own type where a text is all name.

        Raises SourceError where one makes another path of it.
        """
        return replace(
            self,
            path=self._path(values),
            params=_filled(self.params, values),
            headers={name: text.format_map(values) for name, text in self.headers.items()},
            json=_filled(self.json, values),
        )

    def _path(self, values: Mapping[str, object]) -> str:
        quoted = {name: quote(str(value), safe="") for name, value in values.items()}
        path = self.path.partition("?")[0]
        for part in path.split("/"):
            if part not in _OTHER_PATH and part.format_map(quoted) in _OTHER_PATH:
                said = ", ".join(f"{{{name}}} {str(values[name])!r}" for name in _names(part))
                raise SourceError(
                    f"a record of the parent has as {said}, which in {self.path!r} asks for another path: leave it out"
                    " of the parent's records, by a function as records="
                )
        return self.path.format_map(quoted)


def _filled(value: Any, values: Mapping[str, object]) -> Any:
    if isinstance(value, str):
        whole = value[1:-1] if value.startswith("{") and value.endswith("}") else ""
        return values[whole] if whole in values else value.format_map(values)
    if isinstance(value, Mapping):
        return {name: _filled(item, values) for name, item in value.items()}
    return [_filled(item, values) for item in value] if isinstance(value, (list, tuple)) else value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _names(text: str) -> Iterator[str]:
    try:
        found = list(_FORMATTER.parse(text))
    except ValueError as error:
        raise ConfigError(f"{text!r} can't be filled in: {error}; a brace itself is written twice") from None
    for _, name, spec, conversion in found:
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ConfigError(f"{text!r}: {{{name}}} is no name of a parent's field; a brace itself is written twice")
        yield name
