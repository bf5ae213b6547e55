"""The next page's address in the Link header (RFC 8288)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urljoin, urlsplit

from api2db.sources.rest.ask import Ask
from api2db.sources.rest.paging.address import at_address, step_to
from api2db.sources.rest.paging.convention import Answered, Step
from api2db.sources.rest.paging.links import links


@dataclass(frozen=True)
class LinkHeader:
    """``Link: <https://…?page=2>; rel="next"``; ``rel`` is the relation that is followed."""

    rel: str = "next"

    counts: ClassVar[bool] = False
    heeds: ClassVar[tuple[str, ...]] = ("Link",)

    def ask(self, first: Ask, step: Step) -> Ask:
        return at_address(first, step)

    def after(self, answered: Answered) -> Step | None:
        found = relations(answered.answer.headers.get("Link", ""), answered.answer.url)
        return step_to(answered, found.get(self.rel.lower()))

    def in_vain(self, answered: Answered) -> str | None:
        return None if relations(answered.answer.headers.get("Link", "")) else "there is no header Link"


def relations(header: str, url: str = "") -> dict[str, str]:
    """Relation, in lower case -> address, of a Link header: ``rel="next last"`` are two. Of several the first.

    url  of the answer. Links of something else, which they name as their ``anchor``, are left out
    """
    found: dict[str, str] = {}
    for target, parameters in links(header):
        if not all(_is_of(url, value) for name, value in parameters if name == "anchor"):
            continue
        # Of several rel= of one link the first counts (RFC 8288, section 3.3).
        said = next((value for name, value in parameters if name == "rel"), "")
        for relation in said.lower().split():
            found.setdefault(relation.strip("'"), target)  # as nobody should write it: rel='next'
    return found


def _is_of(url: str, anchor: str) -> bool:
    """Is a link with this anchor one of the answer itself (RFC 8288, section 3.2)?

    By its path alone: an API may name its page without the parameters, or by the name it has behind a proxy.
    """
    try:
        said = urlsplit(urljoin(url, anchor))
        return not anchor or (not said.fragment and said.path.rstrip("/") == urlsplit(url).path.rstrip("/"))
    except ValueError:
        return False
