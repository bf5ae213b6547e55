"""One answer on a walk from page to page: its page, and what comes after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from api2db.errors import SourceError
from api2db.sources.rest.page import RestPage, about
from api2db.sources.rest.paging import Answered, RepeatedPage, Step
from api2db.sources.rest.paging.convention import WAS, keeps
from api2db.sources.rest.paging.ended import check_end
from api2db.sources.rest.repeats import Repeats
from api2db.sources.rest.sent import sent

if TYPE_CHECKING:
    from api2db.sources.rest.walk import Walk


@dataclass
class Turn:
    """One answer: its page, and what comes after it, found once.

    is_resumed   the poll went on there: the page before was of another one
    is_repeated  it is that page once more. It stays at that until the page behind it is another one
    """

    walk: Walk
    page: RestPage
    answered: Answered
    repeats: Repeats
    is_resumed: bool = False
    is_repeated: bool = False

    @cached_property
    def next(self) -> Step | None:
        """Raises SourceError where the same request would be sent again, or the page before came once more."""
        step = self.onward
        if step is None and not self.answered.step:
            with about(self.page.ask):
                check_end(self.walk.plan.paging, self.answered)
        if step is not None and self._again():
            self._repeated(
                RepeatedPage(
                    "this page has the records of the page before, and says that there are more: what is sent to ask"
                    f" for the next one has no effect{self._sent(step)}; check paging="
                )
            )
            step = None
        step = self.walk.with_names(step)
        after = step if step is not None else self.kept
        # The page knows its cursor now and needs this no more: without the circle it is freed once it is handed on.
        self.page.reach = partial(self.walk.cursor_after, self.page.step if self.is_repeated else after)
        return step

    @cached_property
    def kept(self) -> Step | None:
        """Of the last page: what the next poll begins with. Raises SourceError where it isn't there."""
        paging = self.walk.plan.paging
        if not keeps(paging):
            return None
        with about(self.page.ask):
            found: Step | None = paging.kept(self.answered)  # type: ignore[attr-defined]
        return self.walk.with_names(found)

    @cached_property
    def onward(self) -> Step | None:
        """The next step as the convention says it, which may need no records for it. Raises SourceError."""
        with about(self.page.ask):
            return self._after()

    def look_onward(self) -> None:
        """Raises SourceError where the convention can't go on, before anybody says where the records are."""
        self.onward  # noqa: B018

    def cursor(self) -> Any:
        step = self.next
        if step is None:
            step = self.kept
        return self.walk.cursor_after(self.page.step if self.is_repeated else step)

    def records(self) -> Sequence[Any] | None:
        """None where nobody has said which they are: who reads the body alone needn't."""
        try:
            return self.page.counted()
        except SourceError:
            return None

    def _again(self) -> bool:
        return bool(self.records()) and self.repeats.again(self.answered.digest)

    def _repeated(self, error: RepeatedPage) -> None:
        """Raises it, unless that is how the pages end."""
        if not getattr(self.walk.plan.paging, "repeat_ends", False):
            raise RepeatedPage(f"{self.page.ask}: {error}")
        self.page.drop()

    def _sent(self, step: Step) -> str:
        return sent(self.walk.plan.paging, self.answered.first, step)

    def _after(self) -> Step | None:
        paging = self.walk.plan.paging
        try:
            step = paging.after(self.answered)
        except RepeatedPage as error:
            step = self._beyond() if self.is_resumed else None
            if step is None:
                self._repeated(error)
                return None
        if step is not None and self.walk.asked_before(paging.ask(self.answered.first, step)):
            raise SourceError(
                "the next page would be one that was asked for already: what is sent to ask for it has no effect"
                f"{self._sent(step)}, or the API goes round in a circle; check paging="
            )
        return step

    def _beyond(self) -> Step | None:
        """The step after the page before, come once more: as many records as it has may have come in before it since.

        If so the page behind it is another one. If it is the same again, what asks for it is ignored, or it is the
        last one given again.
        """
        answered = self.answered
        known = {name: value for name, value in answered.step.items() if name != WAS}
        step = self.walk.plan.paging.after(replace(answered, step=known))
        if step is not None:
            self.is_repeated = True
            self.page.drop()
        return step
