"""What makes of a fork the process that ``python`` with these words would have been."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import signal
import sys
import time
import warnings
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from api2db import failpoint
from tests.warm.parent import FIRST_FILTER, ON_INTERRUPT, Order


def become(order: Order, path: list[str]) -> list[str]:
    """Environment, folder, signals, streams and warnings of a fresh interpreter; what is left of the words to execute.

    path  ``sys.path`` without a script's folder and PYTHONPATH
    """
    os.environ.clear()
    os.environ.update(order.env)
    if coerced := not any(order.env.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")):
        os.environ["LC_CTYPE"] = "C.UTF-8"  # as Python has it: PEP 538
    time.tzset()
    os.chdir(order.cwd)
    signal.signal(signal.SIGINT, ON_INTERRUPT)
    assert sys.stdout.errors is not None
    _streams("surrogateescape" if coerced else sys.stdout.errors, bool(order.env.get("PYTHONUNBUFFERED")))
    words = list(order.command)
    while words[0] == "-W":
        _warn(words[1])
        del words[:2]
    match words[0]:
        case "-c":
            first = ""
        case "-m":
            first = order.cwd
        case script:
            first = str(Path(script).resolve().parent)
    given = order.env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [first, *dict.fromkeys([*(os.path.abspath(each) for each in given if each), *path])]
    # It was imported before its environment was this one.
    failpoint.arm(os.environ.get("API2DB_FAILPOINT", ""))
    if disk := os.environ.get("API2DB_TEST_DISK"):
        failpoint.arm_disk(disk)
    return words


def execute(words: list[str]) -> None:
    """``-c code …``, ``-m module …`` or ``script …``, as ``__main__``. What ends it ends the interpreter likewise."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    try:
        if words[0] == "-m":
            sys.argv = ["-m", *words[2:]]
            # As ``python -m`` does; ``run_module`` would take ``__main__`` away before threads and atexit are through.
            runpy._run_module_as_main(words[1])  # type: ignore[attr-defined]
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec", dont_inherit=True), main.__dict__)
        else:
            sys.argv = words
            file = os.path.abspath(words[0])
            main.__file__ = file
            main.__loader__ = SourceFileLoader("__main__", file)
            exec(compile(Path(file).read_bytes(), file, "exec", dont_inherit=True), main.__dict__)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - told as the interpreter tells it
        if ours := error.__traceback__:
            error.with_traceback(ours.tb_next)  # without the line of this function
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(1) from None


def _streams(errors: str, unbuffered: bool) -> None:
    """Standard output and errors; input is a file that nobody has read."""
    sys.stdout = sys.__stdout__ = _stream(1, errors, unbuffered)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "backslashreplace", unbuffered)  # type: ignore[misc]


def _stream(fd: int, errors: str, unbuffered: bool) -> io.TextIOWrapper:
    file = open(fd, "wb", buffering=0 if unbuffered else -1, closefd=False)  # noqa: SIM115 - lives as long as we
    lines = not unbuffered and (fd == 2 or file.isatty())
    return io.TextIOWrapper(file, "utf-8", errors, newline="\n", line_buffering=lines, write_through=unbuffered)


def _warn(action: str) -> None:
    """As ``-W`` has it: before what Python begins with, behind what libraries asked for."""
    sys.warnoptions.append(action)
    filters = list(warnings.filters)
    filters.insert(filters.index(FIRST_FILTER), (action, None, Warning, None, 0))
    warnings.resetwarnings()
    assert isinstance(warnings.filters, list)
    warnings.filters.extend(filters)
