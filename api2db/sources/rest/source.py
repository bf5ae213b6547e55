"""A source that is declared, without a function: a request, its records, its pages, perhaps for each of a parent's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.sources.page import Page
from api2db.sources.rest import graphql, options
from api2db.sources.rest.client import OPTIONS, Rest
from api2db.sources.rest.declared import check_options, checked, mistaken
from api2db.sources.rest.listed import Listed, listed
from api2db.sources.rest.paging import Paging
from api2db.sources.rest.paging.convention import keeps, path_of
from api2db.sources.rest.per_parent import PerParent
from api2db.sources.rest.records import Found
from api2db.sources.rest.since import SinceWalk, taken_out
from api2db.sources.rest.template import Template
from api2db.sources.rest.walk import Plan, Walk, begun_at

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.incremental.incremental import Incremental

_OWN = (
    *("method", "params", "headers", "json", "body", "query", "variables", "records", "paging", "key", "max_pages"),
    *(
        "deadline",
        "format",
        "charset",
        "delimiter",
        "decode",
        "conditional",
        "ignore",
        "incremental",
        "parent",
        "parent_fields",
    ),
)


class RestSource:
    """What a collector polls: ``Collector(..., import_target=RestSource(...))``. Making one asks nothing.

    api            a ``Rest``, or the address of one
    path           below it
    query, variables   of GraphQL, with ``records`` the path of its connection
    parent         another RestSource, or a list of records: the request is made for each of its records, with
                   ``{name}`` in path, params, headers and json filled in
    parent_fields  name -> path in the parent's record, or names that are paths: what may be filled in; each is a
                   column of the rows too. Of a list all fields, by default

    incremental    asks for what is new alone; it may be a parameter's value, too. With a parent each of its records
                   has a cursor of its own

    The other options are those of ``Rest.pages``, and of ``Rest`` where ``api`` is an address. Raises ConfigError,
    which names the line of the declaration.
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
        query: str | None = None,
        variables: Mapping[str, object] | None = None,
        records: object = None,
        paging: Paging | None = None,
        key: str | tuple[str, ...] | None = None,
        max_pages: int | None = None,
        deadline: float | str | None = None,
        format: str | None = None,
        charset: str | None = None,
        delimiter: str | None = None,
        decode: Callable[[Answer], object] | None = None,
        conditional: bool | None = None,
        ignore: tuple[int, ...] = (),
        incremental: Incremental | None = None,
        parent: RestSource | Sequence[Mapping[str, object]] | None = None,
        parent_fields: Mapping[str, str] | Iterable[str] = (),
        **rest: Any,
    ) -> None:
        check_options("RestSource", rest, (*_OWN, *OPTIONS))
        if isinstance(api, Rest) and rest:
            raise mistaken(f"RestSource: {next(iter(rest))!r} is an option of the Rest that is given; say it there")
        self.rest = api if isinstance(api, Rest) else Rest(api, **rest)
        if query is not None:
            if json is not None or body is not None:
                raise mistaken("RestSource: give query= or a body, not both")
            method, json, decode = "POST", graphql.content(query, variables), decode or graphql.decode
            records, paging = self._of_query(query, records, paging)
        elif variables is not None:
            raise mistaken("RestSource: variables= are those of a query=")
        try:
            params, self._incremental = taken_out(options.mapping("params", params), incremental)
            self._method, self._body, self._query = method, body, query
        except ConfigError as error:
            raise mistaken(f"RestSource({path or self.rest.base!r}): {error}") from None
        given = variables if query is not None else json
        self._template = Template(
            path, dict(params or {}), dict(checked(lambda: options.mapping("headers", headers))), given
        )
        self._children: PerParent | None = None
        self.plan = self.rest.plan(
            self.rest.ask(method, path, params=params, headers=headers, json=json, body=body),
            # Nobody says it later: what is wrong with a page is known when it comes.
            records=Found().__call__ if records is None else records,
            paging=paging,
            key=key,
            max_pages=max_pages,
            deadline=deadline,
            format=format,
            charset=charset,
            delimiter=delimiter,
            decode=decode,
            conditional=conditional,
            ignore=ignore,
        )
        about = f"RestSource({path or self.rest.base!r})"
        self._children = checked(lambda: self._of_parent(parent, parent_fields, path), about)

    def __call__(self, cursor: Any) -> Iterator[Page]:
        """One poll, from ``cursor`` on: a ``Page`` an answer. None and ``{}`` are the beginning."""
        return self._pages(begun_at(cursor), self.plan)

    def batches(self, cursor: Any) -> Iterator[tuple[Any, Sequence[Any], Any]]:
        """The records for who asks for each of them: also those that are as they were; with the cursors around them."""
        before = cursor or {}
        plan = replace(self.plan, conditional=False)
        if self._incremental is None and self._children is None:
            walk = Walk(plan, self.rest.fetcher, before)
            for answered in walk.pages():
                # It may have been begun anew.
                before = walk.cursor_after(answered.step or None) if answered.answer is not None else before
                found: Any = answered.records()
                yield before, found, answered.cursor
                before = answered.cursor
            return
        for page in self._pages(before, plan):
            records: Any = page.records or ()
            yield before, records, page.cursor
            before = page.cursor

    def __repr__(self) -> str:
        return f"RestSource({self.plan.first})"

    def _pages(self, cursor: Any, plan: Plan) -> Iterator[Page]:
        if self._incremental is not None:
            yield from self._new(self._incremental, cursor, plan)
            return
        if self._children is not None:
            yield from replace(self._children, plan=lambda values: self._filled(plan, values)).pages(cursor)
            return
        for page in Walk(plan, self.rest.fetcher, cursor).pages():
            item = Page(page.records(), page.cursor)
            del page  # one page of dicts at a time: nothing is held while the next one comes
            yield item
            del item

    def _new(self, how: Incremental, cursor: Any, plan: Plan) -> Iterator[Page]:
        """What is new, of each record of a parent by itself."""
        walk = SinceWalk(how, plan, self.rest.fetcher, cursor, certain=True)
        if self._children is None:
            for _, page in walk.pages():
                yield Page(page.records(), page.cursor)
            return
        parents = self._children.parents()
        walk = replace(walk, parted=True, of=lambda name: self._filled(plan, parents[name]))
        for name, page in walk.pages(list(parents)):
            yield Page(self._children.copied(parents[name], page.records()), page.cursor)

    def _is_limited(self) -> bool:
        """May a poll read a part of it alone?"""
        limited = self.plan.max_pages is not None or self.plan.deadline_s is not None
        above = None if self._children is None else self._children.parent
        return limited or (isinstance(above, RestSource) and above._is_limited())

    def _filled(self, plan: Plan, values: Mapping[str, object]) -> Plan:
        made = self._template.filled(values)
        json: Any = made.json if self._query is None else graphql.content(self._query, made.json)  # type: ignore[arg-type]
        ask = self.rest.ask(
            self._method, made.path, params=made.params, headers=made.headers, json=json, body=self._body
        )
        return replace(plan, first=ask)

    def _of_query(self, query: str, records: object, paging: Paging | None) -> tuple[object, Paging | None]:
        if records is not None and not isinstance(records, str):
            return records, paging
        select, found = checked(lambda: graphql.convention(query, records, "after"), "RestSource")
        return select, paging or found

    def _of_parent(
        self,
        parent: RestSource | Sequence[Mapping[str, object]] | None,
        fields: Mapping[str, str] | Iterable[str],
        path: str,
    ) -> PerParent | None:
        """Raises ConfigError."""
        if parent is None:
            for name in sorted(Template(path).names()):
                raise ConfigError(
                    f"{{{name}}} names a field of a parent, but there is no parent=: give one, or the values:"
                    f" parent=[{{'{name}': ...}}]"
                )
            if fields:
                raise ConfigError("parent_fields= are those of a parent=, and there is none")
            return None
        above = parent if isinstance(parent, RestSource) else listed(parent)
        selected = dict(fields) if isinstance(fields, Mapping) else {name: name for name in fields}
        if isinstance(above, Listed):
            selected = selected or above.fields()
        for where in selected.values():
            path_of(where)
        named = self._template.names()
        for name in sorted(named - selected.keys()):
            raise ConfigError(f"{{{name}}} isn't among parent_fields{nearest(name, selected)}")
        if keeps(self.plan.paging) or (isinstance(above, RestSource) and keeps(above.plan.paging)):
            raise ConfigError("keep= goes with requests that stand for themselves, not with a parent=")
        if self._incremental is not None and isinstance(above, RestSource) and above._is_limited():
            raise ConfigError(
                "with an Incremental each poll needs all of the parent's records: make the parent without"
                " max_pages= and deadline="
            )
        if not named:
            raise ConfigError("nothing of the parent is in the request: name a field, as in '/accounts/{id}/orders'")
        return PerParent(
            above,
            selected,
            frozenset(named),
            plan=lambda values: self._filled(self.plan, values),
            fetcher=lambda: self.rest.fetcher,
            max_pages=self.plan.max_pages,
            deadline_s=self.plan.deadline_s,
        )
