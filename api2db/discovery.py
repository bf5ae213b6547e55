"""Finds the collectors of a project: every ``Collector`` in ``collectors/*.py``."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from api2db.collector import Collector
from api2db.secret import redact, without_source


@dataclass(frozen=True)
class Broken:
    """A module that can't be used. ``cause`` is one line, ``details`` the traceback (or the same line)."""

    path: Path
    cause: str
    details: str


def find_collectors(folder: Path) -> tuple[list[Collector], list[Broken]]:
    """Import each module of ``folder`` in the order of their names; one that fails doesn't stop the others.

    Of two collectors with one name the first is kept and the second's module reported.
    """
    found: dict[str, tuple[Collector, Path]] = {}
    broken: list[Broken] = []
    project = str(folder.parent)
    if project not in sys.path:
        sys.path.insert(0, project)  # modules may share code that lies beside main.py
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        try:
            module = _import(path)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything
            cause = redact(f"{type(error).__name__}: {error}")
            broken.append(Broken(path, cause, without_source(traceback.format_exc())))
            continue
        for value in list(vars(module).values()):
            if not isinstance(value, Collector) or found.get(value.name, (None,))[0] is value:
                continue
            if value.name in found:
                cause = f"collector {value.name!r} is declared in {found[value.name][1].name} already"
                broken.append(Broken(path, cause, cause))
            else:
                found[value.name] = (value, path)
                value.declared_in = path
    return [collector for collector, _ in found.values()], broken


def find_in(path: Path) -> list[Collector]:
    """The collectors of one module, imported as ``find_collectors`` does. Raises what importing it raises."""
    return [value for value in vars(_import(path)).values() if isinstance(value, Collector)]


def _import(path: Path) -> object:
    name = f"{path.parent.name}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look classes up by their module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
