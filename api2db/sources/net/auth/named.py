"""Credentials of an API by name: ``AUTH/<name>.json``, with the environment's word over the file's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from api2db.credentials import API_FIELDS, read_json, variable_of
from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.secret import remember

_SECRET: Final = ("key", "token", "password", "client_secret", "refresh_token")
_LINE_BREAKS: Final = "\r\n"
_UNSENDABLE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110 5.6.2
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")
_TYPES: Final = {
    "key": ("key",),
    "bearer": ("token",),
    "basic": ("username", "password"),
    "oauth2": ("token_url", "client_id"),
}


@dataclass(frozen=True)
class Credentials:
    """What a file, or a collector, says of them.

    where   as errors name it
    fields  as in the file; those that are empty are left out
    params  of the body of a token request, beside the standard's
    """

    name: str
    where: str
    type: str
    fields: Mapping[str, str] = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)

    def get(self, key: str) -> str:
        """A field; "" if it is left out."""
        return self.fields.get(key, "")

    def account(self) -> str:
        """What differs where they are another account's, as far as anybody can tell. It may hold secrets.

        A user's password, and a client's secret, may change; so may what an OAuth server gives out, which isn't here.
        """
        of_user = ("type", "username") if self.type == "basic" else tuple(set(self.fields) - {"client_secret"})
        said = {name: self.fields[name] for name in sorted(of_user)}
        return repr([said, sorted(self.params.items())])


def read_credentials(table: Mapping[str, object], name: str, where: str) -> Credentials:
    """The credentials in a JSON object. Raises ConfigError naming what is missing or wrong, never a value."""
    params = table.get("params") or {}
    if not isinstance(params, Mapping) or not all(isinstance(value, str) for value in params.values()):
        raise ConfigError(f"{where}: params must be an object of texts")
    fields: dict[str, str] = {}
    for key, value in table.items():
        if key not in (*API_FIELDS, "params"):
            raise ConfigError(f"{where}: there is no key {key!r}{nearest(key, [*API_FIELDS, 'params'])}")
        if key != "params" and value is not None and not isinstance(value, str):
            raise ConfigError(f"{where}: {key} must be text")
        if key != "params" and value:
            fields[key] = str(value)
    remember(*(fields[key] for key in _SECRET if key in fields))
    kind = fields.get("type", "")
    if kind not in _TYPES:
        raise ConfigError(f"{where}: type must be one of {', '.join(_TYPES)}{nearest(kind, _TYPES)}")
    missing = [key for key in _TYPES[kind] if key not in fields]
    if missing:
        raise ConfigError(f"{where}: {' and '.join(missing)} missing or empty")
    for key in _in_header(kind, fields):
        if cause := unsendable(fields.get(key, "")):
            raise ConfigError(f"{where}: {key} has {cause}, and no header can be sent so: write it without")
    if not _HEADER_NAME.fullmatch(fields.get("header", "X")):
        raise ConfigError(f"{where}: header isn't a header's name, such as X-Api-Key")
    return Credentials(name, where, kind, fields, {str(key): value for key, value in params.items()})


def unsendable(text: str) -> str:
    """What in a text no header can have, in words that show nothing of it; "" where there is nothing."""
    found = _UNSENDABLE.search(text)
    if found is None:
        return ""
    if found[0] in _LINE_BREAKS:
        return "a line break at its end" if not text[found.start() :].strip(_LINE_BREAKS) else "a line break in it"
    return "a control character in it" if found[0] <= "\x7f" else "a letter in it that isn't of Latin-1"


def _in_header(kind: str, fields: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that are sent in a header as they are."""
    return {"bearer": ("token",), "key": ("key", "prefix") if "header" in fields else ()}.get(kind, ())


class Named:
    """Credentials by name, read anew when their file or their variables have changed. Any thread."""

    def __init__(self, name: str, environ: Mapping[str, str] = os.environ) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"auth={name!r}: give the name of a file in AUTH/, without its .json")
        self.name = name
        self._environ = environ
        self._variables = [(key, variable_of(name, key)) for key in API_FIELDS]
        self._read: tuple[object, Credentials] | None = None

    def read(self, folder: Path) -> Credentials:
        """Those in ``folder`` as they are now: the same object as long as nothing changes. Raises ConfigError."""
        path = folder / f"{self.name}.json"
        said = {key: self._environ[variable] for key, variable in self._variables if self._environ.get(variable)}
        try:
            about = path.stat()
            state: object = (path, about.st_mtime_ns, about.st_ino, about.st_size, said)
        except FileNotFoundError:
            state = (path, said)
            if not said:
                first = variable_of(self.name, "type")
                raise ConfigError(f"there are no credentials {self.name!r}: {path} isn't there, nor {first}") from None
        except OSError as error:
            raise ConfigError(f"{path} can't be read: {error.strerror}") from None
        if self._read is not None and self._read[0] == state:
            return self._read[1]
        there = isinstance(state, tuple) and len(state) > 2
        table = {**(read_json(path) if there else {}), **said}
        variables = [variable for key, variable in self._variables if key in said] if there else []
        where = str(path) if there else f"the environment ({variable_of(self.name, '*')})"
        where += f" (and {', '.join(variables)})" if variables else ""
        credentials = read_credentials(table, self.name, where)
        self._read = (state, credentials)
        return credentials
