"""How a session with MySQL or MariaDB is opened: its options, its encryption, what it is told and what it finds out."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Mapping
from typing import Any

from api2db.errors import ConfigError, FatalError
from api2db.sinks.my_connection import LocalConnection, Server

log = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 30
# Strict: what doesn't fit is an error. A zero stays a zero, and a backslash a backslash.
_SQL_MODE = (
    "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO,NO_BACKSLASH_ESCAPES"
)
_SET_UP = (
    # A table that someone has locked is waited for between loads, not in one: the thread has other streams too.
    # Notes aren't counted among the warnings: a decimal rounded to its column's places is one.
    f"SET SESSION sql_mode = '{_SQL_MODE}', time_zone = '+00:00', sql_notes = 0, max_sort_length = 4096,"
    f" lock_wait_timeout = {{lock_timeout}}, innodb_lock_wait_timeout = {{lock_timeout}}",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)
_VARIABLES = ("local_infile", "max_allowed_packet", "innodb_flush_log_at_trx_commit")
_MIN_PACKET = 1024
_LEDGER_ENGINE = (
    "SELECT t.ENGINE FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE"
    " WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME = '{ledger}' AND coalesce(e.TRANSACTIONS, 'NO') <> 'YES'"
)

_SECONDS = ("connect_timeout", "read_timeout", "write_timeout", "lock_timeout")
_TEXTS = ("unix_socket", "bind_address")
_TLS = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key")
# Written in many URLs; what it asks for is always so.
_IGNORED = ("charset",)
_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")


class Sessions:
    """Opens the sessions of one engine. What is said of a server is said once."""

    def __init__(self, target: str, ledger: str) -> None:
        self._target = target
        self._ledger = ledger
        self._said: set[str] = set()

    def open(self, options: Mapping[str, Any]) -> LocalConnection:
        """A session as loads need it. Raises pymysql's errors, and FatalError for a ledger that isn't safe."""
        given = dict(options)
        lock_timeout_s = given.pop("lock_timeout", LOCK_TIMEOUT_S)
        connection = LocalConnection(**given)
        try:
            self._set_up(connection, lock_timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: LocalConnection, lock_timeout_s: int) -> None:
        for statement in _SET_UP:
            connection.run(statement.format(lock_timeout=lock_timeout_s).encode())
        names = ", ".join(f"'{name}'" for name in _VARIABLES)
        found = dict(connection.run(f"SHOW VARIABLES WHERE Variable_name IN ({names})".encode()).rows)
        connection.server = Server(
            mariadb="mariadb" in connection.server_version.lower(),
            version=version(connection.server_version),
            local_infile=found.get("local_infile", "OFF") == "ON",
            max_packet=max(_MIN_PACKET, int(found.get("max_allowed_packet", _MIN_PACKET))),
        )
        if not connection.server.local_infile:
            self.say_slow()
        flushed = found.get("innodb_flush_log_at_trx_commit", "1")
        if flushed != "1":
            self._say(
                f"a crash of the server may lose rows it has confirmed target=%s"
                f" innodb_flush_log_at_trx_commit={flushed}; on the server, run:"
                f" SET GLOBAL innodb_flush_log_at_trx_commit = 1"
            )
        unsafe = connection.run(_LEDGER_ENGINE.format(ledger=self._ledger).encode()).rows
        if unsafe:
            raise FatalError(
                f"the ledger is of engine {unsafe[0][0]}, which has no transactions; run: "
                f"ALTER TABLE `{self._ledger}` ENGINE=InnoDB"
            )

    def say_slow(self) -> None:
        """The server takes rows by INSERT alone."""
        self._say(
            "rows go by INSERT, at about two thirds of the speed: the server forbids LOAD DATA LOCAL target=%s;"
            " there, run: SET GLOBAL local_infile = 1"
        )

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning(text, self._target)


def version(text: str) -> tuple[int, ...]:
    """The numbers of a version; MariaDB puts 5.5.5- before its own for old replicas."""
    numbers = re.match(r"[\d.]+", text.removeprefix("5.5.5-"))
    return tuple(int(part) for part in numbers[0].split(".") if part) if numbers else ()


def options(query: Mapping[str, Any]) -> dict[str, Any]:
    """The URL's parameters as pymysql's. Raises ConfigError for one that isn't known or can't be."""
    found: dict[str, Any] = {}
    for name, value in query.items():
        if name in _SECONDS:
            if not str(value).isdigit() or not int(value):
                raise ConfigError(f"{name}={value} in the url is no number of seconds")
            found[name] = int(value)
        elif name in _TEXTS:
            found[name] = str(value)
        elif name not in (*_TLS, *_IGNORED):
            known = ", ".join((*_SECONDS, *_TEXTS, *_TLS))
            raise ConfigError(f"the url has a parameter {name!r}; there are {known}")
    return found | _encryption({name: str(query[name]) for name in _TLS if name in query})


def _encryption(given: Mapping[str, str]) -> dict[str, Any]:
    """pymysql's ``ssl``, made of MySQL's own names. With an ssl_ca the certificate and its name are checked."""
    mode = given.get("ssl_mode", "verify_identity" if "ssl_ca" in given else "preferred").lower()
    if mode not in _MODES:
        raise ConfigError(f"ssl_mode={mode} in the url is none of {', '.join(_MODES)}")
    if mode == "disabled":
        return {"ssl_disabled": True}
    if mode == "preferred" and not given.keys() - {"ssl_mode"}:
        return {}
    checks = mode in ("verify_ca", "verify_identity")
    try:
        context = ssl.create_default_context(cafile=given.get("ssl_ca"))
        # The certificates that servers make for themselves aren't strict.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = mode == "verify_identity"
        context.verify_mode = ssl.CERT_REQUIRED if checks else ssl.CERT_NONE
        if "ssl_cert" in given:
            context.load_cert_chain(given["ssl_cert"], given.get("ssl_key"))
    except OSError as error:
        raise ConfigError(f"ssl_ca, ssl_cert or ssl_key in the url can't be read: {error}") from None
    return {"ssl": context}
