"""Where a convention that was said ends at the very first page: does the answer say that there is more?"""

from __future__ import annotations

import logging
from typing import Final

from api2db.errors import SourceError
from api2db.sources.rest.paging.convention import Answered, Paging
from api2db.sources.rest.paging.detect import next_in
from api2db.sources.rest.paging.more import says_more, total_above
from api2db.sources.rest.paging.next_cursor import NextCursor
from api2db.sources.rest.paging.next_url import NextUrl
from api2db.sources.tape.recorder import is_played

log = logging.getLogger(__name__)

_told: Final[set[str]] = set()  # requests of which it was said that there may be more


def check_end(paging: Paging, answered: Answered) -> None:
    """Raises SourceError where the convention looked for the next page in vain, and the answer says that there is one.

    A total above what came may count something else, so that is but logged.
    """
    in_vain = getattr(paging, "in_vain", None)
    missed = None if in_vain is None or answered.body is None else in_vain(answered)
    if missed is None or is_played():
        return
    said = f"{missed}, so that this would be the only page"
    more = says_more(answered)
    if more is not None:
        raise SourceError(f"{said}, but {more} says that there is more; correct paging=")
    found = next_in(answered)
    if isinstance(found, (NextUrl, NextCursor)) and found.path is not None:
        raise SourceError(f"{said}, but {found.path!r} seems to be what asks for the next one; correct paging=")
    above = total_above(answered)
    about = str(answered.first)
    if above is not None and about not in _told:
        _told.add(about)
        log.warning("%s: %s, but %s; if there are more, correct paging=", about, said, above)
