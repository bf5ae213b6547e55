"""The next page's address in the Link header (RFC 8288)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import urljoin

from api2db.sources.rest.ask import Ask
from api2db.sources.rest.paging.convention import Seen, Step


@dataclass(frozen=True)
class LinkHeader:
    """``Link: <https://…?page=2>; rel="next"``; ``rel`` is the relation that is followed."""

    rel: str = "next"

    counts: ClassVar[bool] = False

    def ask(self, first: Ask, step: Step) -> Ask:
        return at_address(first, step)

    def after(self, seen: Seen) -> Step | None:
        found = seen.answer.links.get(self.rel, {}).get("url")
        return {"url": urljoin(seen.answer.url, found)} if found else None


def at_address(first: Ask, step: Step) -> Ask:
    """The request of a step that is an address: that holds the parameters, too."""
    return replace(first, url=step["url"], params=()) if "url" in step else first
