"""One answer of a paged request: its records, or its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from api2db.errors import SourceError
from api2db.sources.page import Page
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.complaint import complaint
from api2db.sources.rest.headers import Headers, NamesMissing
from api2db.sources.rest.records import Select, objects, selector

if TYPE_CHECKING:
    from api2db.form.shaped import Form, Shaped
    from api2db.sources.answer import Answer


class NoCursor:
    """Nobody keeps a cursor."""


NO_CURSOR = NoCursor()
Forms = dict[object, "Form"]
Sift = Callable[[Sequence[Any], Any], tuple[Sequence[Any], Any]]
"""Records, and the cursor after their page, to those that are new and the cursor to keep."""


class RestPage:
    """What ``pages`` gives for each answer. Used by one thread.

    ask      the request
    answer   the HTTP answer; None for a page that stands for none, but says how far things are
    body     decoded by ``decode``
    select   where the records are, unless ``records`` or ``rows`` says it
    new      takes the records and leaves out those delivered before
    forms    compiled, kept from page to page
    headers  the names of columns, kept likewise
    """

    def __init__(
        self,
        ask: Ask,
        answer: Answer | None,
        *,
        decode: Callable[[Answer], object],
        select: Select,
        new: Callable[[Sequence[Any]], Sequence[Any]],
        forms: Forms,
        headers: Headers,
    ) -> None:
        self.ask = ask
        self.answer = answer
        with about(ask):
            self.body = None if answer is None else decode(answer)
        self.reach: Callable[[], Any] = lambda: NO_CURSOR  # the cursor after this page; who made the page sets it
        self._decode = decode
        self.on_unfound: Callable[[], None] = lambda: None  # told that the records aren't where they were said to be
        self.on_cursor: Callable[[], None] = lambda: None  # told that somebody wants to know the cursor
        self.step: Any = None  # which page it is, as the convention says it
        self.ends = False  # nobody wants the pages behind it
        self._select = select
        self._new = new
        self._forms = forms
        self._headers = headers
        self._chosen: Sequence[Any] | None = None
        self._records: Sequence[Any] = ()
        self._sift: Sift | None = None

    @property
    def cursor(self) -> Any:
        """How far everything up to this page reaches, for the next poll; ``NO_CURSOR`` where none is kept."""
        self.on_cursor()
        if self._sift is not None:
            self._take(None)
        return self.reach()

    def sift(self, sift: Sift) -> None:
        """Have ``sift`` say which records are new, and the cursor after them; once, when they are asked for."""
        self._sift = sift

    def records(self, path: object = None, /) -> list[Any]:
        """The records as they arrived, but those that the page before had. ``path`` as for ``pages(records=)``.

        Raises SourceError if they aren't there.
        """
        return list(self._take(path))

    def rows(self, path: object = None, /, **columns: Any) -> Shaped | Page | list[Any]:
        """The table of ``column="path:kind"``, to be yielded; without columns the records, for the collector's form.

        With a cursor it comes in a ``Page``. Raises SourceError, ConfigError, ShapeError.
        """
        taken = self._take(path)
        rows: Any = self._form(columns).shape(taken) if columns else list(taken)
        cursor = self.cursor
        return rows if cursor is NO_CURSOR else Page(rows, cursor)

    def counted(self) -> Sequence[Any]:
        """All records of the answer: what paging counts."""
        if self._chosen is None:
            self._choose(None)
        assert self._chosen is not None
        return self._chosen

    def _take(self, path: object) -> Sequence[Any]:
        if self.answer is None:
            self._chosen = ()
        if self._chosen is None:
            try:
                self._choose(path)
            except SourceError as error:
                if not isinstance(error, NamesMissing):
                    self.on_unfound()
                raise
        elif path is not None and self.answer is not None:
            # Another list of the same answer: paging counts the first one.
            return self._selected(path)
        # Before anything is handed out: it raises if this answer is the one before once more.
        cursor = self.reach()
        if self._sift is not None:
            self._records, cursor = self._sift(self._records, cursor)
            self._sift, self.reach = None, lambda: cursor
        return self._records

    def drop(self) -> None:
        """Nothing of this answer is new."""
        self._chosen, self._records = self._chosen or (), ()

    def again(self) -> Callable[[], Sequence[Any]]:
        """How ``counted`` is had once more without this page, which needn't be kept for it."""
        assert self.answer is not None
        return partial(_again, self._decode, self._select, self.answer)

    def _choose(self, path: object) -> None:
        if path is not None:
            self._select = selector(path)
        self._chosen = self._selected(None)
        self._records = self._new(self._chosen)

    def _selected(self, path: object) -> Sequence[Any]:
        with about(self.ask):
            select = self._select if path is None else selector(path)
            try:
                records = select(self.body)
            except SourceError as error:
                if type(error) is not SourceError:
                    raise
                raise SourceError(f"{error}{self._complaint()}") from None
            self._headers.check(select, records, counted=path is None)
            return objects(records)

    def _complaint(self) -> str:
        """What the API says in place of records, as the end of a message."""
        said = complaint(self.body)
        return "" if said is None or self.answer is None else f"; it says {self.answer.quoted(said)}"

    def _form(self, columns: dict[str, Any]) -> Form:
        key = tuple(columns.items())
        form = self._forms.get(key)
        if form is None:
            from api2db.form import form_from_shape

            form = self._forms[key] = form_from_shape("rows", columns)
        return form


def _again(decode: Callable[[Answer], object], select: Select, answer: Answer) -> Sequence[Any]:
    return objects(select(decode(answer)))


@contextmanager
def about(ask: Ask) -> Iterator[None]:
    """What is wrong with an answer names its request."""
    try:
        yield
    except SourceError as error:
        kind = type(error)
        if kind not in (SourceError, NamesMissing) or str(error).startswith(f"{ask}: "):
            raise
        raise kind(f"{ask}: {error}") from None
