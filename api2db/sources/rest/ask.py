"""One request as it is asked, and how Python's values become what is sent."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from api2db.credentialname import is_credential
from api2db.errors import ConfigError
from api2db.secret import shown_url

_TYPE: Final = "Content-Type"
_INDEX: Final = re.compile(r"-?[0-9]{1,9}")
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Ask:
    """One request as it is asked, before auth. Tapes know a request by what was sent: ``tape.identity``.

    url      absolute; a query it has stays as it is, before ``params``
    params   in the order they are sent; a name may come more than once
    body     with its Content-Type in ``headers``
    bounds   parameters that say what is asked for, from when to when: whatever they are called, they turn no page
    """

    method: str
    url: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    bounds: frozenset[str] = frozenset()

    def identity(self) -> str:
        """What validators, and loops of pages, know it by: a hex digest of method, address, parameters and body.

        Not of headers: these may hold credentials.
        """
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.method, self.url, *(text for pair in self.params for text in pair)):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data) + data)
        digest.update(b"-" if self.body is None else b"=" + self.body)
        return digest.hexdigest()

    def param(self, name: str) -> str | None:
        """The last value of a parameter."""
        return next((value for key, value in reversed(self.params) if key == name), None)

    def fields(self) -> dict[str, Any]:
        """Those of its JSON body; none where that is anything else."""
        try:
            found = {} if self.body is None else msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    def only_params(self, *names: str) -> Ask:
        """The same request with these of its parameters alone, and those that are credentials."""
        return replace(self, params=tuple(pair for pair in self.params if pair[0] in names or is_credential(pair[0])))

    def only_fields(self, *names: str) -> Ask:
        """The same request with these fields of its JSON body alone."""
        kept = {name: value for name, value in self.fields().items() if name in names}
        return replace(self, body=None if self.body is None else _encoder.encode(kept))

    def with_params(self, **values: object) -> Ask:
        """The same request with these parameters, in place of those of the same names."""
        kept = tuple(pair for pair in self.params if pair[0] not in values)
        return replace(self, params=(*kept, *as_params(values)))

    def with_fields(self, **values: object) -> Ask:
        """The same request with these fields of its JSON body.

        ``a.b`` is the field b of the object a; a number is an index where it meets a list: ``filters.0.value``.
        Raises ConfigError where the body isn't a JSON object, or the list has no such item.
        """
        document = {} if self.body is None else _object(self.body)
        for path, value in values.items():
            *parents, last = path.split(".")
            inner: Any = document
            for name in parents:
                inner = _inside(inner, name, path)
            _put(inner, last, value, path)
        return replace(self, body=_encoder.encode(document), headers=_json_headers(self.headers))

    def __str__(self) -> str:
        return f"{self.method} {shown_url(self.url)}"


def as_params(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Parameters as they are sent: None is left out, a list is one parameter an item, times are ISO-8601.

    Raises ConfigError for values that are neither text, numbers, times nor lists of these.
    """
    return tuple((name, text) for name, value in values.items() for text in _texts(name, value))


def json_body(value: object) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """A JSON body and the header that goes with it. Raises ConfigError for what JSON can't hold."""
    try:
        return _encoder.encode(value), ((_TYPE, "application/json"),)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"json= can't be sent as JSON: {error}") from None


def joined(base: str, path: str) -> str:
    """The address of ``path`` below ``base``; a path that is an address itself stands for itself."""
    if not path or is_address(path):
        return path or base
    return path if not base else f"{base.rstrip('/')}/{path.lstrip('/')}"


def is_address(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _texts(name: str, value: object) -> Iterable[str]:
    if value is None:
        return ()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [text for item in value for text in _texts(name, item)]
    return (_text(name, value),)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, dt.datetime):
        aware = value.tzinfo is not None and value.utcoffset() == dt.timedelta(0)
        return value.isoformat().replace("+00:00", "Z") if aware else value.isoformat()
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, Mapping)):
        raise ConfigError(f"parameter {name!r} can't be {type(value).__name__}; give text, a number, a time or a list")
    return str(value)


def _inside(outer: Any, name: str, path: str) -> Any:
    """What is there, where a field is to be set; an object that isn't there yet is made."""
    inner = outer[_index(outer, name, path)] if isinstance(outer, list) else outer.setdefault(name, {})
    if not isinstance(inner, (dict, list)):
        raise ConfigError(f"the field {path!r} can't be set in the body: {name!r} isn't an object there")
    return inner


def _put(outer: Any, name: str, value: object, path: str) -> None:
    outer[_index(outer, name, path) if isinstance(outer, list) else name] = value


def _index(items: list[Any], name: str, path: str) -> int:
    if not _INDEX.fullmatch(name) or not -len(items) <= int(name) < len(items):
        raise ConfigError(
            f"the field {path!r} can't be set in the body: there is a list of {len(items)}, and {name!r} is no number"
            " of an item in it"
        )
    return int(name)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError("a paging that is sent in the body needs a JSON object there: give json={...}")
    return found


def _json_headers(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if any(name.lower() == _TYPE.lower() for name, _ in headers):
        return headers
    return (*headers, (_TYPE, "application/json"))
