"""Tapes in a collector's own process: its polls recorded there, or played back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from api2db.sources.tape.recorder import TAPE, Recorder

if TYPE_CHECKING:
    from api2db.runtime.isolated.messages import Poll
    from api2db.sources.tape.offline import Offline
    from api2db.sources.tape.player import Player

log = logging.getLogger(__name__)


class Deck:
    """The tape of the poll under way. Used by the thread that calls the collector's function."""

    def __init__(self) -> None:
        self._recorder: Recorder | None = None
        self._player: Player | None = None
        self._offline: Offline | None = None
        self._failures = 0

    def go_offline(self) -> None:
        from api2db.sources.tape.offline import Offline

        self._offline = Offline()

    def begin(self, poll: Poll) -> object:
        """What the function is called with. Raises StoreError."""
        self.end("stopped")
        if poll.tape is not None:
            self._recorder = Recorder(poll.tape, self._failed)
        if poll.plays is not None:
            from api2db.sources.tape.player import Player

            self._player = Player(poll.plays)
        TAPE.set(self._player or self._recorder)
        if self._offline is not None:
            self._offline.tried = ""
        return poll.since if self._player is None else self._player.since

    def end(self, outcome: str) -> None:
        """The poll under way, if there is one, has ended."""
        if self._recorder is not None:
            self._recorder.end(outcome)
        self._recorder = self._player = None
        TAPE.set(None)

    def lacks(self) -> str | None:
        """Why what was played back isn't the poll: what the function caught itself, too. None where it is."""
        if self._player is not None and self._player.missing:
            what = f"it asks {self._player.missing}, which isn't on its tape"
        elif self._offline is not None and self._offline.tried:
            what = f"it asks {self._offline.tried} otherwise than by Http, so that is on no tape"
        else:
            return None
        return what + self.then()

    def then(self) -> str:
        """How it ended then, where that explains something."""
        if self._player is None or self._player.outcome == "ok":
            return ""
        ended = {"": "the tape ends there: it was cut short", "failed": "it failed then, too"}
        return f"; {ended.get(self._player.outcome, 'it was stopped then')}"

    def _failed(self, cause: str) -> None:
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:
            log.warning("polls aren't taped, they go on polls=%d cause=%s", self._failures, cause)
