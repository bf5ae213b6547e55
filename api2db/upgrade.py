"""A STORE that an older version has written is taken over at start: all of it is kept, nothing is loaded again.

Layout 2 has STORE's own id, and a journal that sums up what is older than the history. A version that knows layout 1
would load shards that a ledger has forgotten, so it refuses such a STORE.
"""

from __future__ import annotations

import logging

from api2db.journal.file import JournalFile
from api2db.layout import FORMAT, Layout

log = logging.getLogger(__name__)


def take_over(layout: Layout) -> None:
    """Bring STORE to this version's layout. Whoever calls it holds the lock; a kill in between is repeated.

    Raises StoreError if STORE can't be written.
    """
    layout.make_id()
    found = layout.format()
    if found is not None and found < FORMAT:
        JournalFile(layout.journal).close()  # it makes the tables that an older one lacks
        layout.mark_format()
        log.info("STORE taken over store=%s from_layout=%d to_layout=%d", layout.root, found, FORMAT)
