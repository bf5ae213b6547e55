"""What the daemon tells a person at its console, in plain words."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from api2db.due.schedule import Schedule
from api2db.place import FORMATS
from api2db.runtime.running import Running
from api2db.settings import Settings
from api2db.sinks.base import Sink


def tell_start(settings: Settings, running: Sequence[Running]) -> None:
    """What runs, where its data goes, how to look at it, how to stop it."""
    _say(f"api2db is running as process {os.getpid()}, with {_count(len(running), 'collector')}:")
    for each in running:
        _say(f"  {each.collector.name}: polled {_when(each.collector.schedule)}, delivered to")
        for delivery in each.deliveries:
            _say(f"    {delivery.stream:<16} {_where(delivery.sink, settings.project)}")
    looks = [look(d.stream, d.sink, settings.project) for each in running for d in each.deliveries]
    if any(looks):
        _say("Look at the data, now or at any time:")
        for line in dict.fromkeys(filter(None, looks)):
            _say(f"  {_python(settings.project)} -c {line}")
    _say(
        f"What is on its way is kept in {_short(settings.store, settings.project)}/, logs in"
        f" {_short(settings.logs, settings.project)}/. Ask how it is: {_status(settings)}"
    )
    _say(
        f"Stop it with Ctrl-C. Or pull the plug, kill -9 {os.getpid()}, and run it again:"
        " nothing is lost, nothing comes twice."
    )
    _say("Below, a poll with news is one line: what was accepted is safe on disk; then one for each place it is in.\n")


def tell_end(running: Sequence[Running]) -> None:
    """What still waits, if anything."""
    for each in running:
        for delivery in each.deliveries:
            waiting, parked = delivery.backlog
            if waiting or parked:
                _say(f"{delivery.name}: {_count(waiting + parked, 'batch', 'batches')} safe in STORE for next time")
    _say("Stopped.")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the console is where this belongs


def _where(sink: Sink, project: Path) -> str:
    if sink.target.startswith("sqlite:///"):
        file, _, table = sink.target.removeprefix("sqlite:///").rpartition("/")
        return f"table {table} in {_short(Path('/' + file.lstrip('/')), project)}"
    return _short(Path(sink.target), project) if sink.target.startswith("/") else sink.target


def look(stream: str, sink: Sink, project: Path) -> str | None:
    """Code that shows the rows, for ``python -c``, with nothing but what is installed anyway."""
    if sink.target.startswith("sqlite:///"):
        file, _, table = sink.target.removeprefix("sqlite:///").rpartition("/")
        path = _short(Path("/" + file.lstrip("/")), project)
        query = f"SELECT * FROM [{table}]"
        return f"\"import pandas, sqlite3; print(pandas.read_sql('{query}', sqlite3.connect('{path}')))\""
    if sink.target.startswith("/"):
        path = _short(Path(sink.target), project)
        from api2db.sinks.local.whole import WholeSink

        kind, _, fmt = stream.partition(".")
        fmt = fmt.partition(".")[0]
        if kind != "local" or fmt not in FORMATS:
            return None
        if fmt == "parquet" or isinstance(sink, WholeSink) or Path(path).suffix == f".{fmt}":
            return f"\"import pandas; print(pandas.read_{fmt}('{path}'))\""
        each = f"map(pandas.read_{fmt}, glob.glob('{path}/*.{fmt}'))"
        return f'"import glob, pandas; print(pandas.concat({each}))"'
    return None


def _python(project: Path) -> str:
    """This interpreter, as one would type it in the project's folder."""
    path = Path(sys.executable)
    return str(path.relative_to(project)) if path.is_relative_to(project) else "python"


def _status(settings: Settings) -> str:
    """What to type in the project's folder; main.py of a project without collectors/ is a program of its own."""
    if not settings.collectors.is_dir():
        return "api2db status"
    return f"{_python(settings.project)} main.py --status"


def _short(path: Path, project: Path) -> str:
    return str(path.relative_to(project)) if path.is_relative_to(project) else str(path)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _when(schedule: Schedule) -> str:
    if schedule.calendar is None and schedule.slowest_s is None:
        return f"every {_span(schedule.seconds)}"
    return schedule.text


def _span(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            return _count(int(seconds // size), unit)
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"
