"""The table ``[notify]``: who is told of what goes wrong, and how often."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from api2db.durations import seconds
from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.secret import Secret

ENVIRONMENT_PREFIX = "API2DB_NOTIFY_"
DEFAULTS: Mapping[str, object] = {
    "webhook": "",
    "command": "",
    "every": "5m",
    "backlog_age": "1h",
    "backlog_shards": 10_000,
}


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What ``[notify]`` says.

    webhook         a URL that gets each message by POST; an empty one: none
    command         a program and its arguments, run for each message; empty: none; arguments may be secret
    every_s         messages are at least so far apart
    backlog_age_s   a stream whose oldest shard waits longer is told of; so is one with
    backlog_shards  more shards that wait
    """

    webhook: Secret
    command: tuple[str, ...] = field(repr=False)
    every_s: float
    backlog_age_s: float
    backlog_shards: int

    @property
    def wanted(self) -> bool:
        return bool(self.webhook or self.command)


def read_telling(table: object, environ: Mapping[str, str]) -> Telling:
    """The table's word, and over it that of ``API2DB_NOTIFY_WEBHOOK`` and its like.

    Raises ConfigError, which never shows the URL.
    """
    if not isinstance(table, dict):
        raise ConfigError("api2db.toml: notify is a table: write [notify], then its keys below")
    given = dict(DEFAULTS)
    for key, value in table.items():
        if key not in DEFAULTS:
            raise ConfigError(f"api2db.toml: notify: there is no key {key!r}{nearest(key, list(DEFAULTS))}")
        given[key] = value
    for variable, text in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and text:
            key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if key not in DEFAULTS:
                known = [ENVIRONMENT_PREFIX + name.upper() for name in DEFAULTS]
                raise ConfigError(f"the environment: {variable} is no setting{nearest(variable, known)}")
            given[key] = int(text) if key == "backlog_shards" and re.fullmatch(r"\d{1,9}", text, re.ASCII) else text
    return Telling(
        webhook=_url(given["webhook"]),
        command=_command(given["command"]),
        every_s=_span("every", given["every"]),
        backlog_age_s=_span("backlog_age", given["backlog_age"]),
        backlog_shards=_count(given["backlog_shards"]),
    )


def _url(value: object) -> Secret:
    if value == "":
        return Secret("")
    try:
        parts = urlsplit(value) if isinstance(value, str) and not re.search(r"\s", value) else None
        right = parts is not None and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ConfigError("notify: webhook is not a URL that begins with https:// or http:// (it isn't shown here)")
    return Secret(str(value))


def _command(value: object) -> tuple[str, ...]:
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ConfigError(f"notify: command: {error}") from None
    if not isinstance(words, list) or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ConfigError('notify: command is a program and its arguments: "notify.sh --loud", or a list of texts')
    return tuple(words)


def _span(key: str, value: object) -> float:
    try:
        span_s = seconds(value)
    except ConfigError as error:
        raise ConfigError(f"notify: {key}: {error}") from None
    if span_s == 0:
        raise ConfigError(f"notify: {key}: must be more than 0 seconds")
    return span_s


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ConfigError(f"notify: backlog_shards: {value!r} is not a whole number from 1")
