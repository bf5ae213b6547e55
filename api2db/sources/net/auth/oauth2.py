"""OAuth 2: a token for credentials, or for the refresh token that the last one came with."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlsplit

from api2db.errors import ConfigError, SourceError
from api2db.failpoint import reach
from api2db.secret import redact
from api2db.sources.context import PollContext
from api2db.sources.net.auth.named import Credentials, unsendable
from api2db.sources.net.auth.tokens import Token, TokenFile
from api2db.sources.net.patient import Patient
from api2db.sources.net.retries import Retries
from api2db.sources.net.sessions import Sessions
from api2db.sources.rest.ask import Ask
from api2db.sources.tape.recorder import off_tape

if TYPE_CHECKING:
    from requests import PreparedRequest

    from api2db.sources.answer import Answer

_FORM: Final = "application/x-www-form-urlencoded"
_SHOWN_CHARS: Final = 200
_DEADLINE_S: Final = 30.0  # of a token request, unless the API's own is shorter


class Bearer:
    """A token as it is sent."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def __repr__(self) -> str:
        return "Bearer(***)"


class OAuth2:
    """The tokens of one client, by client credentials or refresh token. Any thread, and any process of the project.

    One renews at a time: of a refresh token that is given out anew each time, two at once would lose one.
    """

    def __init__(self, credentials: Credentials, http: Mapping[str, Any]) -> None:
        self._credentials = credentials
        self._refreshes = bool(credentials.get("refresh_token"))
        self._check()
        # A person who puts other credentials into the file means them, not what the old ones led to.
        said = repr(sorted({**credentials.fields, **credentials.params}.items()))
        self._of = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
        options = {name: value for name, value in http.items() if name in ("connect_s", "read_s", "deadline_s")}
        options["deadline_s"] = min(_DEADLINE_S, options.get("deadline_s", _DEADLINE_S))
        url = credentials.get("token_url")
        self._patient = Patient(Sessions({**options, "max_bytes": "1 MiB"}, url), Retries(), check_status=False)
        self._lock = threading.Lock()
        self._token: Token | None = None

    def auth(self, context: PollContext, refused: object = None) -> Bearer:
        """The token that is good now, a new one if it has expired, or is the refused one. Raises SourceError."""
        stale = refused.token if isinstance(refused, Bearer) else ""
        token = self._token
        if token is None or not token.good(stale):
            with self._lock:
                token = self._token
                if token is None or not token.good(stale):
                    token = self._token = self._renewed(context, stale)
        return Bearer(token.access)

    def _renewed(self, context: PollContext, stale: str) -> Token:
        """Another's that is kept already, or a new one, kept before it is used."""
        if context.tokens is None:
            if self._refreshes:
                raise ConfigError(
                    f"{self._credentials.where}: a refresh token is used where the one that replaces it can be kept: in"
                    " the daemon"
                )
            return self._asked(context, "")
        file = TokenFile(context.tokens, self._credentials.name)
        with file.locked(context):
            kept = file.read(self._of)
            if kept is not None and kept.good(stale):
                return kept
            token = self._asked(context, kept.refresh if kept is not None else "")
            reach("token.given")
            file.write(self._of, token)
            reach("token.kept")
            return token

    def _asked(self, context: PollContext, refresh: str) -> Token:
        began_ns = time.time_ns()
        refresh = refresh or self._credentials.get("refresh_token")
        with off_tape():
            answer = self._patient.send(self._ask(refresh), {}, context, again=True)
        said = self._parsed(answer, refresh)
        lifetime_s = said.get("expires_in")
        expires_ns = 0 if lifetime_s is None else began_ns + int(float(lifetime_s) * 1e9)
        return Token(str(said["access_token"]), began_ns, expires_ns, str(said.get("refresh_token") or refresh))

    def _ask(self, refresh: str) -> Ask:
        from oauthlib.oauth2 import BackendApplicationClient

        credentials, headers = self._credentials, [("Content-Type", _FORM), ("Accept", "application/json")]
        client = BackendApplicationClient(credentials.get("client_id"))
        extra = dict(credentials.params)
        if credentials.get("scope"):
            extra["scope"] = credentials.get("scope")
        secret, in_body = credentials.get("client_secret"), credentials.get("client_auth") == "body"
        if secret and not in_body:
            pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
            headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        else:
            extra["client_id"] = client.client_id
            if secret:
                extra["client_secret"] = secret
        if refresh:
            body = client.prepare_refresh_body(refresh_token=refresh, **extra)
        else:
            body = client.prepare_request_body(include_client_id="client_id" in extra, **extra)
        return Ask("POST", credentials.get("token_url"), headers=tuple(headers), body=body.encode())

    def _parsed(self, answer: Answer, refresh: str) -> Mapping[str, Any]:
        """The fields of the answer. Its body is never shown: it holds tokens."""
        from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error

        client = BackendApplicationClient(self._credentials.get("client_id"))
        where = f"{self._credentials.where}: {urlsplit(self._credentials.get('token_url')).hostname}"
        try:
            said: Mapping[str, Any] = client.parse_request_body_response(answer.content.decode("utf-8", "replace"))
        except OAuth2Error as error:
            hidden = (refresh, self._credentials.get("client_secret"))
            cause = redact(f"{error.error}: {error.description}".rstrip(": "), hidden)[:_SHOWN_CHARS]
            todo = "correct client_id, client_secret or scope"
            if error.error == "invalid_grant" and refresh:
                todo = "log in there again, and put the new refresh_token into it"
            raise SourceError(f"{where} gives no token ({answer.status_code}, {cause}); {todo}") from None
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
            raise SourceError(f"{where} gives no token ({answer.status_code}, no answer of OAuth 2)") from None
        access = said.get("access_token")
        if answer.status_code >= 400 or not isinstance(access, str):
            raise SourceError(f"{where} gives no token ({answer.status_code}, no answer of OAuth 2)")
        if not access or unsendable(access):
            cause = unsendable(access) or "nothing in it"
            raise SourceError(f"{where} gives no token ({answer.status_code}, its access_token has {cause})")
        return said

    def _check(self) -> None:
        where, url = self._credentials.where, urlsplit(self._credentials.get("token_url"))
        if url.scheme != "https" and not (url.scheme == "http" and _is_here(url.hostname or "")):
            raise ConfigError(f"{where}: token_url must begin with https://, since secrets are sent there")
        if self._credentials.get("client_auth") not in ("", "basic", "body"):
            raise ConfigError(f"{where}: client_auth is basic or body")
        if not self._refreshes and not self._credentials.get("client_secret"):
            raise ConfigError(f"{where}: client_secret missing or empty, or else refresh_token")
        try:
            import oauthlib.oauth2  # noqa: F401 - is it there?
        except ImportError as error:
            raise ConfigError('OAuth 2 needs its package: pip install "api2db-daemon[oauth2]"') from error


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
