"""A source that is declared, without a function: a request, its records, its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from api2db.sources.page import Page
from api2db.sources.rest.client import Rest
from api2db.sources.rest.paging import Paging
from api2db.sources.rest.walk import Walk

if TYPE_CHECKING:
    from api2db.sources.answer import Answer


class RestSource:
    """What a collector polls: ``Collector(..., import_target=RestSource(...))``. Making one asks nothing.

    api       a ``Rest``, or the address of one
    path      below it

    The other options are those of ``Rest`` and of ``Rest.pages``. Raises ConfigError, which names the line of the
    declaration.
    """

    def __init__(
        self,
        api: Rest | str,
        path: str = "",
        *,
        method: str = "GET",
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | str | None = None,
        records: object = None,
        paging: Paging | None = None,
        key: str | tuple[str, ...] | None = None,
        max_pages: int | None = None,
        deadline: float | str | None = None,
        decode: Callable[[Answer], object] | None = None,
        conditional: bool | None = None,
        ignore: tuple[int, ...] = (),
        **rest: Any,
    ) -> None:
        self.rest = api if isinstance(api, Rest) else Rest(api, **rest)
        ask = self.rest.ask(method, path, params=params, headers=headers, json=json, body=body)
        self.plan = self.rest.plan(
            ask,
            records=records,
            paging=paging,
            key=key,
            max_pages=max_pages,
            deadline=deadline,
            decode=decode,
            conditional=conditional,
            ignore=ignore,
        )

    def __call__(self, place: Any) -> Iterator[Page]:
        """One poll, from ``place`` on: a ``Page`` an answer. None and ``{}`` are the beginning."""
        for page in Walk(self.plan, self.rest.fetcher, place).pages():
            yield Page(page.records(), page.place)

    def __repr__(self) -> str:
        return f"RestSource({self.plan.first})"
