"""What ``auth=`` puts into a request: a credential, wherever it stands and whatever it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from requests import PreparedRequest

from api2db.secret import is_number_or_date

# What a user's own function puts in may be an ordinary word; what is as short isn't taken for a credential.
_SHORTEST: Final = 8
_ORDINARY: Final = frozenset(("accept", "accept-encoding", "content-length", "content-type", "date", "user-agent"))


class Noticed:
    """An ``auth`` of requests; ``credentials_in`` and ``put_in`` the request say afterwards what it put in.

    Of one that has ``secrets`` those; of any what is new in address and headers.
    """

    def __init__(self, auth: Callable[[PreparedRequest], PreparedRequest]) -> None:
        self._auth = auth

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        before, asked = _pairs(request), _params(request)
        signed = self._auth(request)
        found = list(getattr(self._auth, "secrets", ()))
        for _, value in _pairs(signed) - before:
            parts = (value, value.rpartition(" ")[2])
            found += [one for one in parts if len(one) >= _SHORTEST and not is_number_or_date(one)]
        signed.api2db_credentials = tuple(found)  # type: ignore[attr-defined]
        signed.api2db_put = frozenset(_params(signed) - asked)  # type: ignore[attr-defined]
        return signed


def credentials_in(request: PreparedRequest) -> tuple[str, ...]:
    """What was put in by ``auth``, as it was noticed."""
    found: tuple[str, ...] = getattr(request, "api2db_credentials", ())
    return found


def put_in(request: PreparedRequest) -> frozenset[tuple[str, str]]:
    """The parameters of the address that ``auth`` added: it adds them, or others of their names, to the next too."""
    found: frozenset[tuple[str, str]] = getattr(request, "api2db_put", frozenset())
    return found


def carry(before: PreparedRequest, now: PreparedRequest) -> None:
    """The next request of a redirect to the same host has what ``auth`` put into the one before it."""
    now.api2db_credentials = credentials_in(before)  # type: ignore[attr-defined]
    now.api2db_put = put_in(before)  # type: ignore[attr-defined]


def mark_secrets(request: PreparedRequest, secrets: tuple[str, ...]) -> None:
    """Say which texts are credentials wherever they stand."""
    request.api2db_secrets = secrets  # type: ignore[attr-defined]


def secrets_in(request: PreparedRequest) -> tuple[str, ...]:
    """What was said to be a credential; it needn't be in this request."""
    found: tuple[str, ...] = getattr(request, "api2db_secrets", ())
    return found


def _params(request: PreparedRequest) -> set[tuple[str, str]]:
    return set(parse_qsl(urlsplit(str(request.url)).query))


def _pairs(request: PreparedRequest) -> set[tuple[str, str]]:
    def text(value: Any) -> str:
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)

    return _params(request) | {
        (name, text(value)) for name, value in request.headers.items() if name.lower() not in _ORDINARY
    }
