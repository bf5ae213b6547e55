"""A collector: a declaration of what to poll, how often, its shape, and where it goes. It runs nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from api2db.children import Children, checked
from api2db.due.schedule import schedule_of
from api2db.durations import seconds as duration_s
from api2db.errors import ConfigError
from api2db.layout import check_name
from api2db.sizes import size_bytes
from api2db.sources.context import ending
from api2db.sources.cursor import Cursor

# Where a collector's rows go unless it says so: the embedded SQLite file.
DEFAULT_PLACE = "database"


class Collector:
    """A named job: source, schedule, form, streams.

    name           names table, folders and state
    seconds        the period, a number or a duration ("5m"); 0 disables the collector; None where ``cron``, ``at`` or
                   ``adaptive`` says when
    import_target  called for each poll: returns a list of dicts (one per response), None for nothing this time,
                   a DataFrame, an Arrow table, a ``Page``, or is a generator of these. Where it takes a
                   parameter it is handed the cursor.
    api_form       returns the ApiForm, or None: then types are found
    streams        returns the list of streams
    stores         returns the list of stores
    debug          also log to the console
    cursor         takes the cursor from the rows accepted
    to             names of places, or streams, beside those of ``streams``
    key, version   make deliveries to places a merge: one row a key, the newest version wins
    timeout        the longest a single item may take, a number of seconds or a duration; the settings' if None
    fresh_within   the age of the last success beyond which the status calls the collector stale
    isolate        call import_target in a process of its own: see docs/collectors.md
    memory         the most that process may take beyond what its imports take ("512 MiB"); no limit if None
    tape           how long what its source answers is kept in STORE/tape, for rebuilds: see docs/tape.md; 0 keeps none
    keep           how long delivered batches are kept in STORE/log, for replays; 0 keeps none; the settings' if None
    children       name -> Children: lists inside records that are tables of their own; see docs/children.md
    cron, at, zone, offset, jitter, catch_up, adaptive    when it is polled, other than by a period: docs/schedules.md

    Raises ConfigError (a ValueError).
    """

    def __init__(
        self,
        name: str,
        seconds: float | str | None,
        import_target: Callable[..., object],
        api_form: Callable[[], Any] | None,
        streams: Callable[[], Sequence[Any] | None] | None,
        stores: Callable[[], Sequence[Any] | None] | None = None,
        debug: bool = True,
        *,
        cursor: Cursor | None = None,
        to: str | Iterable[Any] = (),
        key: str | Iterable[str] | None = None,
        version: str | None = None,
        timeout: float | str | None = None,
        fresh_within: float | str | None = None,
        isolate: bool = False,
        memory: int | str | None = None,
        keep: float | str | None = None,
        tape: float | str = 0,
        children: Mapping[str, Children] | None = None,
        cron: str | None = None,
        at: str | Iterable[str] | None = None,
        zone: str | None = None,
        offset: float | str = 0,
        jitter: float | str = 0,
        catch_up: str | None = None,
        adaptive: tuple[float | str, float | str] | None = None,
    ) -> None:
        self.name = check_name(name)
        where = f"collector {name}"
        try:
            self.schedule = schedule_of(
                every=seconds,
                cron=cron,
                at=at,
                zone=zone,
                offset=offset,
                jitter=jitter,
                catch_up=catch_up,
                adaptive=adaptive,
            )
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if not callable(import_target):
            raise ConfigError(f"{where}: import_target must be a function, not {type(import_target).__name__}")
        self.import_target = import_target
        self.children = checked(children, where)
        self.api_form = _with_children(name, api_form, self.children) if api_form else (lambda: None)
        self.streams = streams or (lambda: [])
        self.stores = stores or (lambda: [])
        self.debug = debug
        self.cursor = cursor
        self.to: tuple[Any, ...] = (to,) if isinstance(to, str) or not isinstance(to, Iterable) else tuple(to)
        self.key: tuple[str, ...] = (key,) if isinstance(key, str) else tuple(key or ())
        self.version = version
        if version is not None and not self.key:
            raise ConfigError(f"{where}: version={version!r} says which row of a key is newest; give key= too")
        self.timeout_s = None if timeout is None else duration_s(timeout)
        self.fresh_within_s = None if fresh_within is None else duration_s(fresh_within)
        self.isolate = isolate
        self.memory_bytes = None if memory is None else size_bytes(memory)
        if self.memory_bytes is not None and not isolate:
            raise ConfigError(f"{where}: memory={memory!r} limits a process of its own; give isolate=True too")
        self.declared_in: Path | None = None  # the module it was found in, where somebody looked for it
        self.keep_s = None if keep is None else duration_s(keep)
        self.tape_s = duration_s(tape)
        self.takes_cursor = _takes_parameter(import_target)
        self._cursor_name = _cursor_name(import_target)

    @property
    def seconds(self) -> float:
        """The period; 0 if it is disabled. Of other schedules as in ``Schedule``."""
        return self.schedule.seconds

    @seconds.setter
    def seconds(self, period: float | str) -> None:
        self.schedule = schedule_of(every=period)

    def __call__(self, *arguments: object) -> object:
        """Call the source as written: handy in a user's own tests."""
        return self.import_target(*arguments)

    def poll(self, since: object) -> object:
        """Call the source as a poll does, with ``since`` for the parameter that takes the cursor, if there is one."""
        if not self.takes_cursor:
            return self.import_target()
        given = {} if self._cursor_name is None else {self._cursor_name: since}
        returned = self.import_target(**given) if given else self.import_target(since)
        return returned if self.cursor is not None else ending(returned)

    def found_form(self, types: Mapping[str, str]) -> Any:
        """The form where ``api_form`` gives none: columns and types are found, going by those that are known."""
        from api2db.form import InferredForm  # pandas and pyarrow, which the function's own process may never need

        return InferredForm(types, self.children)

    def __repr__(self) -> str:
        return f"Collector({self.name!r}, {self.schedule.text})"


def collector(
    *,
    every: float | str | None = None,
    to: str | Iterable[Any] = (DEFAULT_PLACE,),
    key: str | Iterable[str] | None = None,
    version: str | None = None,
    shape: Mapping[str, object] | None = None,
    rows: str | None = None,
    form: Any = None,
    name: str | None = None,
    debug: bool = True,
    timeout: float | str | None = None,
    fresh_within: float | str | None = None,
    isolate: bool = False,
    memory: int | str | None = None,
    keep: float | str | None = None,
    tape: float | str = 0,
    children: Mapping[str, Children] | None = None,
    cron: str | None = None,
    at: str | Iterable[str] | None = None,
    zone: str | None = None,
    offset: float | str = 0,
    jitter: float | str = 0,
    catch_up: str | None = None,
    adaptive: tuple[float | str, float | str] | None = None,
) -> Callable[[Callable[..., object]], Collector]:
    """Make a function a collector; its name names the table.

    every   the period: a number of seconds or a duration ("5m", "1h30m"); 0 disables it. Or one of:
            cron="*/15 6-18 * * mon-fri", at=("06:00", "18:30"), both with zone="Europe/Berlin" and
            catch_up="skip", "once" or "all"; adaptive=("10s", "10m"): see docs/schedules.md
    to      names of places (entries of ``[places]`` in api2db.toml or of AUTH/), or streams; the embedded
            SQLite database by default
    shape   column -> path in a record ("properties.mag"); ``rows`` is the path of the list in each response
    form    an ApiForm instead of a shape; with neither, columns and types are found
    children  name -> Children("path"): lists inside records that are tables of their own, ``<table>_<name>``

    The rest is as for ``Collector``. A parameter whose default is a ``Cursor`` is handed how far the
    accepted rows reach. Raises ConfigError.
    """

    def declare(function: Callable[..., object]) -> Collector:
        title = name or str(getattr(function, "__name__", ""))
        if form is not None and (shape is not None or rows is not None):
            raise ConfigError(f"collector {title}: give form= or shape=, not both")
        return Collector(
            title,
            every,
            function,
            _form_maker(title, form, shape, rows),
            None,
            None,
            debug,
            cursor=_cursor_of(function),
            to=to,
            key=key,
            version=version,
            timeout=timeout,
            fresh_within=fresh_within,
            isolate=isolate,
            memory=memory,
            keep=keep,
            tape=tape,
            children=checked(children, f"collector {title}", shape),
            cron=cron,
            at=at,
            zone=zone,
            offset=offset,
            jitter=jitter,
            catch_up=catch_up,
            adaptive=adaptive,
        )

    return declare


def _with_children(name: str, make: Callable[[], Any], children: Mapping[str, Children]) -> Callable[[], Any]:
    """The function that makes the form, of one that knows of the children too."""
    if not children:
        return make

    def made() -> Any:
        form = make()
        if form is None:
            return None
        if not hasattr(form, "with_children"):
            raise ConfigError(f"collector {name}: children= goes with an ApiForm or no form, not {type(form).__name__}")
        return form.with_children(children)

    return made


def _form_maker(title: str, form: Any, shape: Mapping[str, object] | None, rows: str | None) -> Callable[[], Any]:
    def make() -> Any:
        if shape is None and rows is None:
            return form
        from api2db.form import (
            form_from_shape,
        )  # pandas and pyarrow load when a form is needed, not at import

        return form_from_shape(title, shape, rows=rows)

    return make


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return []


def _takes_parameter(function: Callable[..., object]) -> bool:
    """Has it a parameter for the cursor: without a default, or with a ``Cursor`` as its default? Others are its own."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(
        parameter.kind in positional and (parameter.default is parameter.empty or isinstance(parameter.default, Cursor))
        for parameter in _parameters(function)
    )


def _cursor_name(function: Callable[..., object]) -> str | None:
    return next((p.name for p in _parameters(function) if isinstance(p.default, Cursor)), None)


def _cursor_of(function: Callable[..., object]) -> Cursor | None:
    return next((p.default for p in _parameters(function) if isinstance(p.default, Cursor)), None)
