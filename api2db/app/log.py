"""Logs: one file a collector in LOGS/, and the console for people."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from api2db.collector import Collector
from api2db.printable import printable
from api2db.secret import redact, remember_named, without_source

LOGGER = "api2db"
USER = f"{LOGGER}.user"
DAEMON_LOG = "api2db"
# A log file is renamed to .1 at this size, three are kept: a year of one-second failures fits the disk.
MAX_LOG_BYTES = 5 * 2**20
BACKUPS = 3


def get_logger(filename: str | None = None, q: object = None) -> logging.Logger:
    """A logger for a user's own code: while ``Run`` runs, its lines are in ``LOGS/<filename>.log``.

    filename  a collector's name, or another; None: the daemon's own log, ``LOGS/api2db.log``
    q         not used: programs may hand over a queue
    """
    return logging.getLogger(f"{USER}.{filename}" if filename else USER)


class Redacting(logging.Formatter):
    """Formats a record, its traceback included, without keys and passwords that user code and its errors may quote,
    and so that nothing in it passes for another record.
    """

    def formatException(self, ei: Any) -> str:
        return without_source(super().formatException(ei) + "\n").rstrip()

    def format(self, record: logging.LogRecord) -> str:
        return printable(redact(super().format(record)))


class CollectorLogs(logging.Handler):
    """Writes each record to LOGS/<collector>.log (see ``_log_of``), the rest to LOGS/api2db.log.

    Files are opened for a record and closed after it: a thousand collectors don't hold a thousand files.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        self._folder = folder
        self._files: dict[str, logging.Handler] = {}
        self._told = False
        self.setFormatter(Redacting("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        name = _log_of(record) or DAEMON_LOG
        file = self._files.get(name)
        try:
            if file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                file = self._files[name] = logging.handlers.RotatingFileHandler(
                    self._folder / f"{name}.log", maxBytes=MAX_LOG_BYTES, backupCount=BACKUPS, delay=True
                )  # fmt: skip
                file.setFormatter(self.formatter)
            file.emit(record)
            file.close()
        except OSError as error:
            if not self._told:
                self._told = True  # once: the disk may stay full for long
                print(f"api2db: logs can't be written to {self._folder}: {error.strerror}", file=sys.stderr)  # noqa: T201


class Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Time and message on standard output; of collectors with ``debug=False`` only what needs attention.

    The journal of systemd keeps the time itself, and takes the level as a prefix: sd-daemon(3).
    """

    def __init__(self, quiet: frozenset[str]) -> None:
        super().__init__(sys.stdout)
        self._quiet = quiet
        self._journal = _is_journal(sys.stdout)
        self.setFormatter(
            Redacting("%(message)s") if self._journal else Redacting("%(asctime)s  %(message)s", "%H:%M:%S")
        )

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or _log_of(record) not in self._quiet

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if self._journal:
            return f"<{_priority(record.levelno)}>{text}"
        return text if record.levelno < logging.WARNING else text.replace("  ", f"  {record.levelname}: ", 1)


def _log_of(record: logging.LogRecord) -> str | None:
    """Whose log a record belongs in: its ``collector`` attribute says, or the name its logger was asked for with."""
    named: str | None = getattr(record, "collector", None)
    if named is None and record.name.startswith(f"{USER}."):
        # Only a file of LOGS/ itself, whatever the name.
        named = record.name.removeprefix(f"{USER}.").replace("/", "_").replace("\0", "_")
    return named


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd connected this stream with its journal: JOURNAL_STREAM in systemd.exec(5)."""
    try:
        there = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False  # closed, or no file at all
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def _priority(level: int) -> int:
    """The level of syslog(3)."""
    return 3 if level >= logging.ERROR else 4 if level >= logging.WARNING else 6


def configure(folder: Path, collectors: Iterable[Collector], *, console: bool) -> None:
    """Send our log records to LOGS/ and, if asked, to the console. Calling it again replaces the handlers.

    What the environment calls a password, a token or a key is hidden in them from now on.
    """
    remember_named(os.environ)
    if logging.lastResort is not None:
        # Warnings of libraries (urllib3's quote whole addresses), where the program has no handler for them.
        logging.lastResort.setFormatter(Redacting("%(levelname)s: %(name)s: %(message)s"))
    # A console that was closed must not print a traceback for each record.
    logging.raiseExceptions = False
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(CollectorLogs(folder))
    if console:
        logger.addHandler(Console(frozenset(c.name for c in collectors if not c.debug)))
