"""What the sources in a collector's process ask the daemon for: to wait, and their turn at a host."""

from __future__ import annotations

from contextlib import ExitStack

from api2db.runtime.isolated.messages import Brought, Call, Given, Granted, Over, Refused, Reply, Turn, Wait
from api2db.sources.context import PollContext, PutOff, Stopping


class Granting:
    """One poll of an isolated collector, on the daemon's side. Used by the thread that polls."""

    def __init__(self, context: PollContext) -> None:
        self._context = context
        self._turn = ExitStack()  # of the request that is under way there, if there is one

    @property
    def given(self) -> Given:
        c = self._context
        return Given(
            c.collector, c.started_ns, c.state, c.whole, c.full, c.credentials, c.tokens, c.secret, c.seen, c.key
        )

    def take(self, brought: Brought | None) -> None:
        """The poll came to its end there."""
        if brought is not None:
            self._context.state = brought.state
            self._context.asked, self._context.news = brought.asked, brought.news

    def grant(self, call: Call) -> Reply:
        """Do what is asked, which may take as long as a source may wait."""
        try:
            if isinstance(call, Wait):
                self._context.wait(call.seconds)
            elif isinstance(call, Over):
                self.end()
            elif isinstance(call, Turn) and self._context.hosts is not None:
                self.end()
                turn = self._context.hosts.turn(call.host, call.rates, call.at_once, call.max_wait_s, self._context)
                self._turn.enter_context(turn)
        except PutOff as error:
            return Refused(str(error), error.until_s)
        except Stopping as error:
            return Refused(str(error), None)
        return Granted()

    def end(self) -> None:
        """Whatever became of it, no request is under way there any more."""
        self._turn.close()
