"""How credentials are sent with a request, and what is tried once when a server refuses them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from api2db.errors import ConfigError
from api2db.sources.context import PollContext
from api2db.sources.net.auth.named import Credentials, Named, read_credentials
from api2db.sources.net.auth.oauth2 import OAuth2
from api2db.sources.net.sessions import Auth

if TYPE_CHECKING:
    from requests import PreparedRequest


class Login(Protocol):
    """Credentials as they are used. Any thread."""

    def account(self, context: PollContext) -> str:
        """A text that differs where they are another account's now. It may hold secrets. Raises ConfigError."""

    def auth(self, context: PollContext, refused: Auth | None = None) -> Auth | None:
        """Those to send now.

        refused  what an earlier call gave, and the server answered 401: then others, or None if there are none

        Raises ConfigError if they can't be used as they are written, HttpError or SourceError if a token can't be had.
        """


def login_of(auth: object, http: Mapping[str, Any]) -> Login | None:
    """What a person gives as ``auth=``: a name, an object as in the file, user and password, or a hook of requests.

    http  limits for token requests, as ``Http`` takes them

    Raises ConfigError.
    """
    if auth is None:
        return None
    if isinstance(auth, str):
        return _Known(Named(auth), http)
    if isinstance(auth, Mapping):
        digest = hashlib.blake2b(repr([auth.get("token_url"), auth.get("client_id")]).encode(), digest_size=8)
        return _Known(read_credentials(auth, f"inline-{digest.hexdigest()}", "auth={...}"), http)
    if isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(part, str) for part in auth):
        fields = {"type": "basic", "username": auth[0], "password": auth[1]}
        return _Known(read_credentials(fields, "inline", "auth=(user, password)"), http)
    if callable(auth):
        return _Hook(auth)
    raise ConfigError(
        f"auth= can't be {type(auth).__name__}: give the name of a file in AUTH/, its content, (user, password), or a"
        " function or requests.auth.AuthBase that changes a request"
    )


def who(auth: object, http: Mapping[str, Any]) -> str:
    """A text that differs where different accounts ask, and shows nothing of them.

    The same in each process, but for a hook: nobody can tell whose that is.
    """
    account: object = sorted(auth.items()) if isinstance(auth, Mapping) else auth
    if auth is not None and not isinstance(auth, (str, tuple, Mapping)):
        account = secrets.token_hex()
    said = repr([account, sorted(http.get("headers", {}).items()), sorted(http.get("params", {}).items())])
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _Hook:
    """A user's own: it knows by itself what to do about 401, as requests' digest does."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook

    def account(self, context: PollContext) -> str:
        return ""

    def auth(self, context: PollContext, refused: Auth | None = None) -> Auth | None:
        return self._hook if refused is None else None


class _Known:
    """Credentials of a file, or written out."""

    def __init__(self, source: Named | Credentials, http: Mapping[str, Any]) -> None:
        self._source = source
        self._http = http
        self._made: tuple[Credentials, OAuth2 | _Sent] | None = None

    def auth(self, context: PollContext, refused: Auth | None = None) -> Auth | None:
        credentials = self._read(context)
        made = self._made
        if made is None or made[0] is not credentials:
            kind = OAuth2(credentials, self._http) if credentials.type == "oauth2" else _Sent(credentials)
            made = self._made = (credentials, kind)
        if isinstance(made[1], OAuth2):
            return made[1].auth(context, refused)
        return None if made[1] is refused else made[1]

    def account(self, context: PollContext) -> str:
        return self._read(context).account()

    def _read(self, context: PollContext) -> Credentials:
        source = self._source
        return source if isinstance(source, Credentials) else source.read(context.credentials)


class _Sent:
    """Credentials that are sent as they are.

    secrets  what no tape may hold, of any length
    """

    def __init__(self, credentials: Credentials) -> None:
        self.secrets = tuple(filter(None, map(credentials.get, ("key", "token", "password"))))
        self._param = ""
        if credentials.type == "basic":
            pair = f"{credentials.get('username')}:{credentials.get('password')}".encode()
            self._header, self._value = "Authorization", f"Basic {base64.b64encode(pair).decode()}"
        elif credentials.type == "bearer":
            self._header, self._value = "Authorization", f"Bearer {credentials.get('token')}"
        else:
            self._header, self._param = credentials.get("header"), credentials.get("param")
            self._value = credentials.get("prefix") + credentials.get("key")
            if bool(self._header) == bool(self._param):
                raise ConfigError(f"{credentials.where}: say where the key goes: either header or param")
        self.secrets += (self._value,)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._param:
            from api2db.sources.redirects import mark_key  # with requests, which is loaded once one is sent

            request.prepare_url(request.url, {self._param: self._value})
            mark_key(request, self._param)
        else:
            request.headers[self._header] = self._value
        return request
