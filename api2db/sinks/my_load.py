"""Rows into a table of MySQL or MariaDB: by LOAD DATA LOCAL, or by INSERT where the server forbids that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from api2db.errors import ConfigError
from api2db.sinks import my_errors, my_rows
from api2db.sinks.conform import Slot
from api2db.sinks.my_names import quote

# A statement of a megabyte is as fast per row as a longer one.
_INSERT_BYTES = 2**20


def driver() -> Any:
    """The driver, when first needed."""
    try:
        import pymysql
    except ImportError as error:
        raise ConfigError('MySQL and MariaDB need a driver: pip install "api2db-daemon[mysql]"') from error
    return pymysql


def fill(
    session: Any, quoted: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch], forbidden: Callable[[], None]
) -> None:
    """The chunks into a table, over a ``LocalConnection``; what the server would only warn of is an error.

    Calls ``forbidden`` when the server says for the first time that it takes no LOAD DATA LOCAL.
    """
    if session.server.local_infile:
        try:
            _load_data(session, quoted, slots, chunks)
            return
        except driver().MySQLError as error:
            # Said before the first row was asked for.
            if my_errors.number(error) not in my_errors.FORBIDS_LOCAL:
                raise
            session.server.local_infile = False
            forbidden()
    _insert(session, quoted, slots, chunks)


def _load_data(session: Any, quoted: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]) -> None:
    into, sets = [], []
    for place, slot in enumerate(slots):
        before, after = my_rows.expression(slot)
        into.append(f"@v{place}" if before else quote(slot.column))
        sets += [f"{quote(slot.column)} = {before}@v{place}{after}"] if before else []
    statement = f"LOAD DATA LOCAL INFILE 'rows' INTO TABLE {quoted} {my_rows.FORMAT} ({', '.join(into)})"
    sent = 0

    def lines() -> Iterator[memoryview]:
        nonlocal sent
        for chunk in chunks:
            sent += chunk.num_rows
            yield my_rows.lines(chunk, slots)

    _check(session, session.load(statement + (f" SET {', '.join(sets)}" if sets else ""), lines()), sent)


def _insert(session: Any, quoted: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]) -> None:
    head = f"INSERT INTO {quoted} ({', '.join(quote(slot.column) for slot in slots)}) VALUES ".encode()
    # The command's own byte and some room: a server counts what it adds.
    room = session.server.max_packet - len(head) - 64
    for chunk in chunks:
        for part, rows in my_rows.tuples(chunk, slots, min(_INSERT_BYTES, room)):
            if len(part) > room:
                raise driver().DataError(
                    my_errors.PACKET_TOO_LARGE,
                    f"the row takes {len(part):,} bytes, max_allowed_packet is {session.server.max_packet:,}",
                )
            _check(session, session.run(head + part), rows)


def _check(session: Any, result: Any, rows: int) -> None:
    """LOAD DATA LOCAL skips and cuts what doesn't fit, and warns; here that is an error, as in INSERT."""
    if result.affected_rows == rows and not result.warning_count:
        return
    warned = session.run(b"SHOW WARNINGS").rows
    for level, number, text in warned:
        if level != "Note" and number not in my_errors.DEPRECATIONS:
            raise driver().DataError(number, text, sqlstate=my_errors.BAD_DATA)
    if result.affected_rows != rows:
        text = f"the server took {result.affected_rows:,} of {rows:,} rows"
        raise driver().DataError(my_errors.TRUNCATED, text)
