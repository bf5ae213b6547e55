"""Credentials by name: ``AUTH/<name>.json``, with the environment's word over the file's.

``API2DB_AUTH_WAREHOUSE_PASSWORD`` replaces the password of ``AUTH/warehouse.json`` and of
``[places.warehouse]``; the other fields likewise. No message and no repr shows a password or a URL's.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.secret import Secret, remember

log = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "API2DB_AUTH_"
_FILES = ("sqlite", "duckdb")  # dialects that need nothing but a file


@dataclass(frozen=True, kw_only=True)
class Auth:
    """What a file in AUTH says; a field it leaves out is None. ``url`` is a whole SQLAlchemy URL."""

    username: str | None = None
    password: Secret | None = None
    host: str | None = None
    port: int | None = None
    db_name: str | None = None
    dialect: str | None = None
    url: Secret | None = None


FIELDS = tuple(field.name for field in dataclasses.fields(Auth))
API_FIELDS = (
    *("type", "key", "header", "param", "prefix", "token", "username", "password"),
    *("token_url", "client_id", "client_secret", "client_auth", "scope", "refresh_token"),
)
"""What the environment may say of the credentials of an API, beside ``FIELDS`` of a database's."""


def load_auth(path: Path | str, environ: Mapping[str, str] = os.environ) -> Auth:
    """The credentials in a JSON file, complete: a ``url``, or username, password and host (SQLite, DuckDB: db_name).

    Raises ConfigError (a ValueError) naming the file and what is missing or wrong in it, never a value.
    """
    path = Path(path)
    table = read_json(path)
    if table.get("type") == "service_account":
        raise ConfigError(
            f"{path} is a Google service-account file, not the credentials of an SQL database;"
            f' name it in api2db.toml: [places.{path.stem}] type = "bigquery", auth_path = "…/{path.name}", did = "…"'
        )
    auth = override(path.stem, read_fields(table, str(path)), environ)
    check_complete(auth, str(path))
    return auth


def read_service_account(path: Path | str) -> dict[str, object]:
    """What a Google service account's file says.

    Raises ConfigError naming the file and what is missing or wrong in it, never a value.
    """
    path = Path(path)
    table = read_json(path)
    remember(*(value for key, value in table.items() if key.startswith("private_key") and isinstance(value, str)))
    if table.get("type") != "service_account":
        raise ConfigError(f'{path} is no Google service-account file: its "type" isn\'t "service_account"')
    missing = [key for key in ("client_email", "private_key", "token_uri") if not table.get(key)]
    if missing:
        raise ConfigError(f"{path}: {' and '.join(missing)} missing or empty; download the file from Google again")
    return table


def read_fields(table: Mapping[str, object], where: str) -> Auth:
    """``Auth`` of a JSON object or TOML table; what is empty counts as left out, but for a password."""
    for key in table:
        if key not in FIELDS:
            raise ConfigError(f"{where}: there is no key {key!r}{nearest(key, FIELDS)}")
    text = {key: _text(key, value, where) for key, value in table.items() if key != "port" and value is not None}
    secrets = {key: Secret(text.pop(key)) for key in ("password", "url") if text.get(key) is not None}
    remember(secrets.get("password", ""))  # a URL's is, where the URL is parsed
    if secrets.get("url") == Secret(""):
        del secrets["url"]
    return Auth(
        port=_port(table.get("port"), where),
        password=secrets.get("password"),
        url=secrets.get("url"),
        **{key: value for key, value in text.items() if value},
    )


def override(name: str, auth: Auth, environ: Mapping[str, str]) -> Auth:
    """``auth`` with what the environment sets for ``name``. It alone may be enough."""
    found = {field: environ[variable] for field in FIELDS if environ.get(variable := variable_of(name, field), "")}
    if not found:
        return auth
    said = read_fields(found, f"the environment ({variable_of(name, '*')})")
    changes = {field: value for field in found if (value := getattr(said, field)) is not None}
    # A URL says everything: the file's fields beside it would change it unseen.
    base = Auth() if "url" in changes else auth
    return dataclasses.replace(base, **changes)


def variable_of(name: str, field: str) -> str:
    """The environment variable that overrides a field of the credentials called ``name``."""
    return f"{ENVIRONMENT_PREFIX}{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}_{field.upper()}"


def check_complete(auth: Auth, where: str) -> None:
    """Raise ConfigError unless somebody could connect with this."""
    if auth.url is not None or (auth.dialect in _FILES and auth.db_name):
        return
    needed = ["db_name"] if auth.dialect in _FILES else ["username", "password", "host"]
    missing = [field for field in needed if getattr(auth, field) is None]
    if missing:
        raise ConfigError(f"{where}: {' and '.join(missing)} missing or empty; or give a whole url")


def read_json(path: Path) -> dict[str, object]:
    """The JSON object in a file of credentials. Raises ConfigError naming the file, never a value."""
    try:
        _warn_if_others_can_read(path)
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there; copy a template from its folder and fill it in") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        # A decoder's message may quote bytes of the file; only the position is told.
        line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigError(f"{path} is not valid JSON{line}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path} must hold one JSON object")
    return table


@functools.cache  # Once a file and process: a thousand collectors may share one.
def _warn_if_others_can_read(path: Path) -> None:
    about = path.stat()
    # Of another user's file, root's for example, our group may be how we come to read it.
    own = about.st_uid == os.geteuid()
    if not about.st_mode & (0o077 if own else 0o007):
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return  # a container's secret, or systemd's: only its mount says who sees it
    log.warning(
        "credentials that other users of this machine can read or change path=%s mode=%04o do=chmod %s %s",
        path, stat.S_IMODE(about.st_mode), "600" if own else "o-rwx", shlex.quote(str(path)),
    )  # fmt: skip


def _text(key: str, value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    raise ConfigError(f"{where}: {key} must be text")


def _port(value: object, where: str) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and re.fullmatch(r"\d{1,5}", value, re.ASCII):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    raise ConfigError(f"{where}: port must be a whole number from 1 to 65535")
