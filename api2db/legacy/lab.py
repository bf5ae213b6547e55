"""``rlab``: a project's lab.py run as a program, its files kept beside it."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from api2db.form import ApiForm
from api2db.form.lab import LAB, Bench, at_bench
from api2db.printable import printable
from api2db.secret import redact, without_source

_FUNCTIONS = ("import_target", "pre_process", "data_features", "post_process")


def run_lab(project: Path, file: Path, *, fresh: bool = False) -> bool:
    """True when the lab's form is complete and gave a frame. Relative paths in it, and its imports, are the project's.

    What it raises is shown, and answered with False. ``fresh`` calls the API whatever is cached; where that fails, what
    is cached stays.
    """
    sys.path.insert(0, str(project))
    bench = Bench(file.parent, fresh=fresh)
    try:
        with at_bench(bench):
            said = runpy.run_path(str(file), run_name="__main__")
            if bench.complete is None:
                _experiment(said)
    except (Exception, SystemExit):  # noqa: BLE001 - user code may raise anything
        shown = without_source(traceback.format_exc())
        sys.stderr.write("\n".join(printable(redact(line)) for line in shown.splitlines()) + "\n")
        return False
    return bool(bench.complete)


def _experiment(said: Mapping[str, Any]) -> None:
    """For a lab of the four functions alone, which begins no experiment by itself."""
    functions: list[Callable[[], Any]] = [said.get(name) or _none for name in _FUNCTIONS]
    import_target, *phases = functions
    ApiForm(LAB, *(phase() for phase in phases)).experiment(bool(said.get("CACHE")), import_target)


def _none() -> None:
    return None
