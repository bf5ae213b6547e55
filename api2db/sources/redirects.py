"""Keys that are sent as parameters, where a redirect leads: back to their own host, and to no other."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final
from urllib.parse import unquote, unquote_plus, urlsplit

from requests import PreparedRequest

from api2db.credentialname import may_be_credential
from api2db.secret import folded, is_number_or_date, is_remembered

_MARK: Final = "api2db_keys"
# What is as short as that stands in other values too.
_KEY_CHARS: Final = 8
# A parameter of all requests that is this long, and no number or date, may be a key whatever it is called.
_LONG_CHARS: Final = 16


def mark_key(request: PreparedRequest, name: str) -> None:
    """Say that this parameter of the request is a credential."""
    setattr(request, _MARK, frozenset((*getattr(request, _MARK, ()), name)))


def keys_of(request: PreparedRequest, params: Container[str], secrets: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The credentials among a request's parameters: name -> what was sent for it, as it stands in the address and read.

    params   names of those that are sent with every request
    secrets  texts that are credentials wherever they stand
    """
    marked: Container[str] = getattr(request, _MARK, frozenset())
    known, found = frozenset(map(folded, secrets)), dict[str, tuple[str, str]]()
    for pair in _pairs(str(request.url)):
        name, _, value = (unquote_plus(part) for part in pair.partition("="))
        is_known = folded(value) in known or is_remembered(value) or is_remembered(unquote(pair.partition("=")[2]))
        if name in marked or is_known or _looks_like_key(name, value, name in params):
            found[name] = pair, value
    return found


def with_keys(url: str, keys: Mapping[str, tuple[str, str]]) -> str:
    """The address with the keys it lacks."""
    there = {unquote_plus(pair.partition("=")[0]) for pair in _pairs(url)}
    return _with_pairs(url, [*_pairs(url), *(pair for name, (pair, _) in keys.items() if name not in there)])


def without_keys(url: str, keys: Mapping[str, tuple[str, str]]) -> str | None:
    """The address without parameters that hold a key; None if one stands elsewhere in it."""
    values = [folded(value) for _, value in keys.values() if value]
    left = [pair for pair in _pairs(url) if not any(_holds(unquote_plus(pair), value) for value in values)]
    bare = _with_pairs(url, left)
    read = folded(unquote_plus(bare))
    return None if any(len(value) >= _KEY_CHARS and value in read for value in values) else bare


def take_marks(before: PreparedRequest, now: PreparedRequest) -> None:
    """The next request of a redirect to the same host has the same keys."""
    setattr(now, _MARK, getattr(before, _MARK, frozenset()))


def _looks_like_key(name: str, value: str, is_everywhere: bool) -> bool:
    if len(value) < _KEY_CHARS or is_number_or_date(value):
        return False
    named = may_be_credential(name)
    return named or (is_everywhere and len(value) >= _LONG_CHARS)


def _holds(pair: str, key: str) -> bool:
    """``key`` is folded; ``pair`` was read once, and may hold an address that is to be read again."""
    value = folded(pair.partition("=")[2])
    return value == key or (len(key) >= _KEY_CHARS and any(key in folded(one) for one in (pair, unquote_plus(pair))))


def _pairs(url: str) -> list[str]:
    return [pair for pair in urlsplit(url).query.split("&") if pair]


def _with_pairs(url: str, pairs: Iterable[str]) -> str:
    return urlsplit(url)._replace(query="&".join(pairs)).geturl()
