"""Keys that are sent as parameters, where a redirect leads: back to their own host, and to no other."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, unquote_plus, urlsplit

from requests import PreparedRequest

from api2db.credentialname import may_be_credential
from api2db.secret import folded, is_number_or_date, is_remembered
from api2db.sources.noticed import carry, put_in

_MARK: Final = "api2db_keys"
# What is as short as that stands in other values too.
_KEY_CHARS: Final = 8
# A parameter of all requests that is this long, and no number or date, may be a key whatever it is called.
_LONG_CHARS: Final = 16


def mark_key(request: PreparedRequest, name: str) -> None:
    """Say that this parameter of the request is a credential."""
    setattr(request, _MARK, frozenset((*getattr(request, _MARK, ()), name)))


@dataclass(frozen=True)
class Key:
    """A parameter that proves who asks, or belongs to what does.

    pair      as it stands in the address
    is_telling  its value is a credential wherever it stands; not so of what is short or a number, unless that is known
    """

    name: str
    value: str = field(repr=False)
    pair: str = field(repr=False)
    is_telling: bool = True


def keys_of(request: PreparedRequest, params: Container[str], secrets: Iterable[str]) -> list[Key]:
    """The credentials among a request's parameters, and all that ``auth`` put in.

    params   names of those that are sent with every request
    secrets  texts that are credentials wherever they stand
    """
    marked: Container[str] = getattr(request, _MARK, frozenset())
    known, put, found = frozenset(map(folded, secrets)), put_in(request), list[Key]()
    for pair in _pairs(str(request.url)):
        name, value = _read(pair)
        is_known = folded(value) in known or is_remembered(value) or is_remembered(unquote(pair.partition("=")[2]))
        if name in marked or is_known or _looks_like_key(name, value, name in params):
            found.append(Key(name, value, pair))
        elif (name, value) in put:
            found.append(Key(name, value, pair, len(value) >= _KEY_CHARS and not is_number_or_date(value)))
    return found


def with_keys(url: str, keys: Iterable[Key]) -> str:
    """The address with the keys it lacks."""
    there = {unquote_plus(pair.partition("=")[0]) for pair in _pairs(url)}
    return _with_pairs(url, [*_pairs(url), *(key.pair for key in keys if key.name not in there)])


def without_keys(url: str, keys: Iterable[Key], secrets: Collection[str]) -> str | None:
    """The address without parameters that hold a key; None if one, or one of ``secrets``, stands elsewhere in it."""
    keys = list(keys)
    own = {(key.name, key.value) for key in keys}
    values = [folded(key.value) for key in keys if key.value and key.is_telling]
    texts = [text for text in (*values, *map(folded, secrets)) if len(text) >= _KEY_CHARS]
    values += texts
    left = [
        pair
        for pair in _pairs(url)
        if _read(pair) not in own and not any(_holds(unquote_plus(pair), value) for value in values)
    ]
    bare = _with_pairs(url, left)
    read = folded(unquote(bare))
    path = [unquote(one) for one in urlsplit(bare).path.split("/")]
    if any(text in path for text in secrets if text) or any(text in read for text in texts):
        return None
    return bare


def take_marks(before: PreparedRequest, now: PreparedRequest) -> None:
    """The next request of a redirect to the same host has the same keys."""
    setattr(now, _MARK, getattr(before, _MARK, frozenset()))
    carry(before, now)


def _looks_like_key(name: str, value: str, is_everywhere: bool) -> bool:
    if len(value) < _KEY_CHARS or is_number_or_date(value):
        return False
    named = may_be_credential(name)
    return named or (is_everywhere and len(value) >= _LONG_CHARS)


def _holds(pair: str, key: str) -> bool:
    """``key`` is folded; ``pair`` was read once, and may hold an address that is to be read again."""
    value = folded(pair.partition("=")[2])
    return value == key or (len(key) >= _KEY_CHARS and any(key in folded(one) for one in (pair, unquote_plus(pair))))


def _read(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    return unquote_plus(name), unquote_plus(value)


def _pairs(url: str) -> list[str]:
    return [pair for pair in urlsplit(url).query.split("&") if pair]


def _with_pairs(url: str, pairs: Iterable[str]) -> str:
    return urlsplit(url)._replace(query="&".join(pairs)).geturl()
