"""The audit of a project: every stream that the journal, STORE's folders or a collector knows of."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from api2db.audit.report import Audit, CollectorAudit, StreamAudit
from api2db.audit.store import Lines, holds_anything, stream_folders
from api2db.audit.stream import Asked, audit_stream
from api2db.collector import Collector
from api2db.discovery import Broken
from api2db.errors import ConfigError, in_one_line
from api2db.layout import Layout, lock_owner
from api2db.nearest import nearest
from api2db.settings import Settings
from api2db.sinks.base import Placement, Sink, Target
from api2db.sinks.engines import Engines
from api2db.state import assign_directories, read_state

TargetsOf = Callable[[Collector], Sequence[Target]]
_REMOVED = "no collector has this stream now: what is loaded is the journal's word"


def audit(
    settings: Settings,
    layout: Layout,
    declared: tuple[Sequence[Collector], Sequence[Broken]],
    targets_of: TargetsOf,
    only: Sequence[str] = (),
    *,
    deep: bool = False,
) -> Audit:
    """Compare everything, or the collectors named. Changes nothing; a daemon may run meanwhile.

    deep  recount the rows in tables and files, too

    Raises ConfigError for a collector nobody knows, StoreError for a journal that can't be read.
    """
    layout.check_format()
    answer = Audit()
    if not layout.journal.exists():
        if stream_folders(layout):
            answer.notes.append("there is no journal: the daemon begins one at its start; then ask again")
            answer.blind = True
        return answer
    with ExitStack() as stack:
        engines = Engines(1)
        stack.callback(engines.close)
        running = lock_owner(layout) is not None
        lines = Lines(layout)
        stack.callback(lines.close)
        _tell_begun_anew(answer, lines.begun_anew_ns(), settings.history)
        places = dict(_places(settings, layout, declared[0], targets_of, engines))
        broken = {each.path: f"{each.path} can't be used: {each.cause}" for each in declared[1]}
        # A program declares all collectors there are; a module one of them.
        programs = [cause for path, cause in broken.items() if path.parent == settings.project]
        unknown: Mapping[str, Sink] | str = programs[0] if programs else {}
        places |= {path.stem: cause for path, cause in broken.items() if path.parent != settings.project}
        known = {*lines.streams(), *stream_folders(layout)}
        names = {*lines.collectors(), *places, *(collector for collector, _ in known)}
        for name in only:
            if name not in names:
                raise ConfigError(f"there is no collector {name!r}{nearest(name, names)}")
        for name in sorted(only or names):
            mine = places.get(name, unknown)
            sinks: Mapping[str, Sink] = {} if isinstance(mine, str) else mine
            streams = {stream for collector, stream in known if collector == name} | set(sinks)
            one = CollectorAudit(name, lines.steps(name))
            for stream in sorted(streams):
                begun_ns = time.time_ns()
                lines.again()
                asked = Asked(layout, lines, name, stream, sinks.get(stream), running, begun_ns, deep)
                one.streams.append(_told(audit_stream(asked), mine))
            if one.streams or one.steps:
                answer.collectors.append(one)
    return answer


def _tell_begun_anew(answer: Audit, began_ns: int | None, history_s: float) -> None:
    """What a journal never knew can't be told; until it would be summed up anyway, and compared with nothing."""
    if began_ns is None or time.time_ns() - began_ns > history_s * 1e9:
        return
    began = dt.datetime.fromtimestamp(began_ns // 10**9, dt.UTC)
    answer.notes.append(
        f"the journal was begun anew at {began:%Y-%m-%d %H:%M:%S} UTC: of what was accepted before, only what waits"
        " and what is in STORE/log was audited; what places lack of the rest can't be told"
    )
    answer.blind = True


def _told(stream: StreamAudit, places: Mapping[str, Sink] | str) -> StreamAudit:
    """With what is to be said of a stream that no sink could be made for."""
    if isinstance(places, str):
        stream.unreached = places
    elif stream.stream not in places:
        stream.notes = [_REMOVED, *(note for note in stream.notes if "keeps no record" not in note)]
    return stream


def _places(
    settings: Settings, layout: Layout, collectors: Iterable[Collector], targets_of: TargetsOf, engines: Engines
) -> Iterator[tuple[str, Mapping[str, Sink] | str]]:
    """Each collector's sinks by their directory; or why there are none."""
    for collector in collectors:
        try:
            yield collector.name, _sinks(settings, layout, collector.name, targets_of(collector), engines)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything
            cause = in_one_line(error)
            yield collector.name, f"its streams can't be told: {cause}"


def _sinks(
    settings: Settings, layout: Layout, collector: str, targets: Sequence[Target], engines: Engines
) -> Mapping[str, Sink]:
    places = [(target.stream_type, target.target(settings.project, layout.root)) for target in targets]
    known = read_state(layout.state(collector)).streams
    waiting = frozenset(stream for stream in known if holds_anything(layout, collector, stream))
    directories, _ = assign_directories(known, places, waiting)  # as the daemon would
    return {
        directory: target.sink(
            Placement(
                stream=f"{collector}/{directory}",
                store=layout.root,
                staging=layout.queue(collector, directory),
                parked=layout.failed(collector, directory),
                project=settings.project,
                engines=engines,
                durable=False,
                store_id=layout.id,
            )
        )
        for directory, target in zip(directories, targets, strict=True)
    }
