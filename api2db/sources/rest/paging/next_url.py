"""The next page's address in the answer's body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from api2db.errors import SourceError
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.find import kind_of
from api2db.sources.rest.paging.address import at_address, step_to
from api2db.sources.rest.paging.convention import (
    Answered,
    Step,
    checked_flag,
    checked_path,
    flag_at,
    is_there,
    value_at,
)

_RELATIONS: Final = ("rel", "@rel", "relation")
_ADDRESSES: Final = ("href", "@href", "url", "uri")


@dataclass(frozen=True)
class NextUrl:
    """``{"next": "https://…?page=2"}``; ``path`` is where it is. The end: it is missing, null or empty.

    has_more  path of what says whether there is more, or, "!end_of_stream", that this is the end, for an API whose
              address is always there
    rel  of a list of links at ``path``, as those of Atom, FHIR or HATEOAS: the relation that is followed
    keep  path of the address on the last page that the next poll begins with, "@odata\\.deltaLink"; True: ``path``
    """

    path: str = "next"
    rel: str = "next"
    has_more: str | None = None
    keep: bool | str = False

    counts: ClassVar[bool] = False
    heeds: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        checked_path(self.path)
        if self.has_more is not None:
            checked_flag(self.has_more)
        if isinstance(self.keep, str):
            checked_path(self.keep)

    def ask(self, first: Ask, step: Step) -> Ask:
        return at_address(first, step)

    def after(self, answered: Answered) -> Step | None:
        more = None if self.has_more is None else flag_at(answered.body, self.has_more)
        if more is False:
            return None
        found = value_at(answered.body, self.path)
        if are_links(found):
            found = address_in(found, self.rel)
        if not found and more:
            raise SourceError(f"{self.has_more!r} says that there is more, but there is no address at {self.path!r}")
        if not found:
            return None
        if not isinstance(found, str):
            raise SourceError(f"what is at {self.path!r} should be the next page's address, but is {kind_of(found)}")
        return step_to(answered, found)

    def kept(self, answered: Answered) -> Step | None:
        if not self.keep:
            return None
        where = self.path if self.keep is True else self.keep
        found = value_at(answered.body, where)
        if not isinstance(found, str) or not found:
            raise SourceError(f"there is no address at {where!r} for the next poll to begin with; correct keep=")
        return step_to(answered, found)

    def in_vain(self, answered: Answered) -> str | None:
        if self.has_more is not None and flag_at(answered.body, self.has_more) is not None:
            return None
        if isinstance(self.keep, str) and is_there(answered.body, self.keep):
            return None
        return None if is_there(answered.body, self.path) else f"there is nothing at {self.path!r}"


def are_links(found: object) -> bool:
    """Is it a link with its relation, as ``{"rel": "next", "href": "/a?page=2"}``, or a list of such?"""
    links = found if isinstance(found, list) else [found]
    return bool(links) and all(isinstance(link, dict) and _of(link, _RELATIONS) is not None for link in links)


def address_in(links: Any, rel: str) -> Any:
    """That of the link whose relation it is; None where none is."""
    for link in links if isinstance(links, list) else [links]:
        if rel.lower() in str(_of(link, _RELATIONS)).lower().split():
            return _of(link, _ADDRESSES)
    return None


def _of(link: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((link[name] for name in names if link.get(name) is not None), None)
