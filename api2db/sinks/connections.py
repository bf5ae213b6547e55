"""One table's connections: each load has one, with a ledger; whatever goes wrong there leaves as one of our errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError, TimeoutError

from api2db import ledger
from api2db.errors import ConfigError, FatalError, RetryableError, SinkError
from api2db.secret import redact
from api2db.sinks.dialect import READS, Dialect
from api2db.sinks.engines import Engines

log = logging.getLogger(__name__)

_LEDGER_READY = "api2db.ledger"


class Connections:
    """How one sink reaches its database. ``to_read`` may be called by any thread.

    stream   the stream's identity, and
    table    its table: what errors name
    engines  the process's connections; without them it has its own, and closes them
    """

    def __init__(self, stream: str, table: str, url: URL, dialect: Dialect, engines: Engines | None) -> None:
        self.url = url
        self._stream = stream
        self._table = table
        self._dialect = dialect
        self._own_engines = Engines()
        self._engines = engines or self._own_engines

    def go_in_by(self, url: URL) -> bool:
        """Use another user or password of the same database from now on; whether they are others."""
        if url == self.url:
            return False
        before, self.url = self.url, url
        # Idle connections of before would be kept until the process ends, since nobody asks for them any more.
        self._engines.discard(before)
        return True

    def close(self) -> None:
        """Close those that aren't shared. New ones are made when they are asked for."""
        self._own_engines.close()

    @contextmanager
    def to_load(self) -> Iterator[Connection]:
        """A connection for one load, to a database that has a ledger now. On any error it isn't used again."""
        with self._guarded(self._open) as connection:
            assert connection is not None
            self._make_ledger(connection)
            yield connection

    @contextmanager
    def to_read(self) -> Iterator[Connection | None]:
        """A connection that only reads; None where there is no database, or no ledger in it."""
        with self._guarded(self._open_to_read) as connection:
            if connection is None:
                yield None
                return
            with connection.begin():
                has_ledger = ledger.exists(connection)
            yield connection if has_ledger else None

    @contextmanager
    def _guarded(self, opened: Callable[[], Connection | None]) -> Iterator[Connection | None]:
        connection: Connection | None = None
        try:
            connection = opened()
            yield connection
            if connection is not None:
                connection.close()
        except BaseException as error:
            self._drop(connection, error)
            ours = self._ours(error)
            if ours is None:
                raise
            raise ours from error

    def _engine(self, url: URL) -> Engine:
        """Raises FatalError where its driver isn't installed, or the URL can't work: a person must act."""
        try:
            return self._engines.get(url, self._dialect)
        except ConfigError as error:
            raise FatalError(str(error)) from error

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        """The driver's; none without a driver."""
        try:
            return self._dialect.errors
        except ConfigError:
            return ()

    def _open_to_read(self) -> Connection | None:
        if not self._dialect.is_there(self.url):
            return None
        engine = self._engine(self._dialect.reading(self.url))
        try:
            return engine.connect().execution_options(**{READS: True})
        except self._dialect.errors as error:
            if self._dialect.is_missing_database(error, self.url):
                return None
            raise

    def _open(self) -> Connection:
        engine = self._engine(self.url)
        try:
            return engine.connect()
        except self._dialect.errors as error:
            if not self._dialect.is_missing_database(error, self.url):
                raise
        self._dialect.create_database(self.url)
        log.info("database created target=%s", self._dialect.target(self.url))
        return engine.connect()

    def _make_ledger(self, connection: Connection) -> None:
        if _LEDGER_READY in connection.info:
            return
        with connection.begin():
            if not ledger.exists(connection):
                try:
                    self._dialect.lock_schema(connection, ledger.NAME)
                    ledger.create(connection)
                except self._dialect.errors as error:
                    cause = self._dialect.cause(error)
                    if cause.error is not FatalError:
                        raise
                    raise FatalError(
                        f"the ledger can't be created: {cause.text}; {cause.advice}, "
                        f"or as someone who may, run: {ledger.ddl(connection.dialect)}"
                    ) from error
        connection.info[_LEDGER_READY] = True

    def _drop(self, connection: Connection | None, error: BaseException) -> None:
        if connection is not None:
            connection.invalidate()
            connection.close()
        if isinstance(error, self._errors) and self._dialect.cause(error).lost:
            # The others in the pool are most likely as dead; each would cost a retry to find out.
            self._engines.get(self.url, self._dialect).dispose()

    def _ours(self, error: BaseException) -> SinkError | None:
        """The error as ours: stream, table, cause, what to do. None for what isn't a database's."""
        where = f"stream {self._stream}: table {self._table}"
        if isinstance(error, SinkError):
            return type(error)(f"{where}: {error}")
        if isinstance(error, self._errors):
            cause = self._dialect.cause(error)
            return cause.error(f"{where}: {cause.text}" + (f"; {cause.advice}" if cause.advice else ""))
        if isinstance(error, SQLAlchemyError):
            if isinstance(error, TimeoutError):
                return RetryableError(f"{where}: no connection was free in time")
            return RetryableError(f"{where}: {type(error).__name__}: {redact(str(error))[:500]}")
        return None
