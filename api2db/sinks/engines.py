"""Connections, shared: one pool per target, whoever loads into it."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import InvalidatePoolError

from api2db.sinks.dialect import Dialect

# As ``target_threads`` in docs/settings.md.
THREADS_PER_TARGET = 2


# To ask a connection whether it is alive costs a round trip of each load: one that was used a moment ago is asked
# only where its socket has something to say, as when the server ended it.
PING_AFTER_S = 5.0
_RESTED = "api2db.rested_since"


def ping_when_rested(engine: Engine, fileno: Callable[[Any], int]) -> None:
    """Have the pool replace connections that died at rest: a restart between two loads isn't a failed load.

    fileno  the file descriptor of a driver's connection
    """

    def rest(_connection: Any, record: Any) -> None:
        record.info[_RESTED] = time.monotonic()

    def ask(connection: Any, record: Any, _proxy: Any) -> None:
        now = time.monotonic()
        if now - record.info.get(_RESTED, now) < PING_AFTER_S and not _readable(fileno(connection)):
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error
        if not alive:
            raise InvalidatePoolError

    event.listen(engine, "checkin", rest)
    event.listen(engine, "checkout", ask)


def _readable(fileno: int) -> bool:
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))


class Engines:
    """SQLAlchemy engines by URL, made when first asked for. Safe to call from any thread.

    A pool holds as many connections as threads may load into its target, and never more.
    """

    def __init__(self, threads_per_target: int = THREADS_PER_TARGET) -> None:
        self._threads_per_target = threads_per_target
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def get(self, url: URL, dialect: Dialect) -> Engine:
        """The engine for ``url``. Raises ConfigError if its driver isn't installed."""
        name = url.render_as_string(hide_password=False)
        with self._lock:
            if name not in self._engines:
                size = min(self._threads_per_target, dialect.max_threads or self._threads_per_target)
                self._engines[name] = dialect.engine(url, size)
            return self._engines[name]

    def discard(self, url: URL) -> None:
        """Close the idle connections of ``url``, and those in use once they are given back."""
        with self._lock:
            engine = self._engines.pop(url.render_as_string(hide_password=False), None)
        if engine is not None:
            engine.dispose()

    def close(self) -> None:
        """Close every idle connection. Engines asked for later are new ones."""
        with self._lock:
            engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            engine.dispose()
