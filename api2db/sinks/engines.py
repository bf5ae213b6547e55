"""Connections, shared: one pool per target, whoever loads into it."""

from __future__ import annotations

import threading

from sqlalchemy import URL, Engine

from api2db.sinks.dialect import Dialect

# The delivery pool's default per target (design: threads and durability).
THREADS_PER_TARGET = 2


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

    def close(self) -> None:
        """Close every idle connection. Engines asked for later are new ones."""
        with self._lock:
            engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            engine.dispose()
