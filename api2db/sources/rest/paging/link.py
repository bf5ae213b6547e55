"""The next page's address in the Link header (RFC 8288)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final
from urllib.parse import unquote_plus, urljoin, urlsplit, urlunsplit

from api2db.secret import is_name_of_secret, is_remembered
from api2db.sources.rest.ask import Ask
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
        return step_to(answered, relations(answered.answer.headers.get("Link", "")).get(self.rel.lower()))


_WITH: Final = "with"


def relations(header: str) -> dict[str, str]:
    """Relation, in lower case -> address, of a Link header: ``rel="next last"`` are two. Of several the first."""
    found: dict[str, str] = {}
    for target, parameters in links(header):
        # Of several rel= of one link the first counts (RFC 8288, section 3.3).
        said = next((value for name, value in parameters if name == "rel"), "")
        for relation in said.lower().split():
            found.setdefault(relation.strip("'"), target)  # as nobody should write it: rel='next'
    return found


def step_to(answered: Answered, address: str | None) -> Step | None:
    """The step that is an address, perhaps a relative one; None without one.

    A step is kept with the rows, so the credentials that an API repeats in its addresses aren't in it: those of
    ``auth`` are sent anyway, and of the declared parameters the names are enough.
    """
    if not address:
        return None
    parts = urlsplit(urljoin(answered.answer.url, address))
    kept, named = [], []
    for pair in parts.query.split("&"):
        name, value = (unquote_plus(text) for text in pair.partition("=")[::2])
        if is_name_of_secret(name) and answered.first.param(name) == value:
            named.append(name)
        elif not is_remembered(value):
            kept.append(pair)
    step: Step = {"url": urlunsplit(parts._replace(query="&".join(kept)))}
    return {**step, _WITH: named} if named else step


def at_address(first: Ask, step: Step) -> Ask:
    """The request of a step that is an address: that holds the parameters, too."""
    if "url" not in step:
        return first
    again = tuple(pair for pair in first.params if pair[0] in step.get(_WITH, ()))
    return replace(first, url=step["url"], params=again if _host(step["url"]) == _host(first.url) else ())


def _host(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc
