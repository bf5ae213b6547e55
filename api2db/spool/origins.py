"""Files in quarantine that batches were made of: each goes when its batch is settled, and is replayed once."""

from __future__ import annotations

from api2db.errors import StoreError
from api2db.failpoint import reach
from api2db.files import write_atomic
from api2db.shard import Header
from api2db.spool.store import Spool


class Origins:
    """Of one collector's batches that aren't settled yet. Its owner's lock is held for all but ``end``."""

    def __init__(self, spool: Spool, collector: str) -> None:
        self._spool = spool
        self._collector = collector
        self._headers: dict[int, Header] = {}

    def check(self, origin: str) -> None:
        """Raises StoreError for a file that is in a batch already."""
        if any(header.origin == origin for header in self._headers.values()):
            raise StoreError(f"{origin} is being replayed already: its rows are accepted, and wait for their streams")

    def add(self, header: Header) -> None:
        """A batch was accepted; nothing happens unless it was made of such a file."""
        if header.origin is not None:
            self._headers[header.created_ns] = header

    def under_way(self) -> list[Header]:
        return list(self._headers.values())

    def forget(self, ended: list[Header]) -> None:
        for header in ended:
            self._headers.pop(header.created_ns, None)

    def end(self, header: Header) -> None:
        """The file that a batch was made of goes, once what is left of it is safe. Repeatable. Raises OSError."""
        assert header.origin is not None
        root, usage = self._spool.layout.root, self._spool.usage
        origin = root / header.origin
        if not origin.exists():
            return
        size = origin.stat().st_size
        if header.rest is not None:
            path, data = root / header.rest[0], header.rest[1].encode()
            self._spool.make_dir(path.parent)
            fresh = path == origin or not path.exists()
            write_atomic(path, data, flush=self._spool.durable)
            if fresh:
                usage.add(self._collector, len(data))
        if header.rest is None or root / header.rest[0] != origin:
            origin.unlink()
            self._spool.flush(origin.parent)
        usage.add(self._collector, -size)
        reach("spool.origin")
