"""The lab: a form tried on a real answer, phase by phase, as far as it's written."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pandas as pd

from api2db.files import write_atomic

LAB: Final = "lab"
"""The name of a form that is being written."""

CACHE_FILE: Final = "lab_cache.pickle"
_SHOWN_ROWS: Final = 3


@dataclass
class Bench:
    """Where a lab leaves its files, and how its last run ended: None before it, then whether the form was complete.

    fresh  the API is to be called again, whatever is cached; what it answers replaces that
    """

    folder: Path
    complete: bool | None = None
    fresh: bool = False


_bench: ContextVar[Bench | None] = ContextVar("api2db_bench", default=None)


@contextmanager
def at_bench(bench: Bench) -> Iterator[None]:
    """Inside, labs leave their files there instead of in the working directory."""
    token = _bench.set(bench)
    try:
        yield
    finally:
        _bench.reset(token)


class TriedForm(Protocol):
    """What the lab needs of a form."""

    pre_process: list[Any]
    data_features: list[Any]
    post_process: list[Any]

    def frame(self, data: object) -> pd.DataFrame | None: ...


class Lab:
    """Runs a form on the first response, leaving files on its bench (by default in the working directory) and saying
    what it finds.

    A phase that isn't written yet is where the lab stops and shows what there is to write it for.
    """

    def __init__(self, form: TriedForm, no_pre: bool, no_features: bool, no_post: bool) -> None:
        self._form = form
        self._no_pre = no_pre
        self._no_features = no_features
        self._no_post = no_post
        self._bench = _bench.get() or Bench(Path())

    def run(self, import_target: Callable[[], Any], cache: bool) -> bool:
        """True when every phase is there and gives a frame. ``cache`` calls the API once and keeps its answer."""
        self._bench.complete = False
        self._bench.complete = self._run(import_target, cache)
        return self._bench.complete

    def _run(self, import_target: Callable[[], Any], cache: bool) -> bool:
        responses = self._imported(import_target, cache)
        if not isinstance(responses, list) or not responses or not isinstance(responses[0], dict):
            return _stop("import_target must return a list of dicts", import_target=responses)
        data: Any = responses[0]
        self._write("data_without_preprocess.json", data)
        if self._no_pre and not self._form.pre_process:
            return _stop("pre_process must return a list of pre-processors", data=data, keys=list(data))
        rows = self._pre_processed(data)
        self._write("data_after_preprocess.json", rows)
        if not isinstance(rows, list):
            return _stop("data should be a list of dicts after pre-processing", data=rows)
        if self._no_features and not self._form.data_features:
            return _stop("data_features must return a list of features", **_first(rows))
        kept, self._form.post_process = self._form.post_process, []
        try:
            frame = self._form.frame(data)
        finally:
            self._form.post_process = kept
        assert frame is not None
        file = self._bench.folder / "data_after_feature_extraction.json"
        frame.to_json(file, orient="records", indent=4, date_format="iso")
        if self._no_post and not self._form.post_process:
            return _stop("post_process must return a list of post-processors", data=frame, dtypes=frame.dtypes)
        _say(**_first(rows), finished=(done := self._form.frame(data)), dtypes=None if done is None else done.dtypes)
        return True

    def _pre_processed(self, data: Any) -> Any:
        for step in self._form.pre_process:
            result = step(data)
            if step.ctype != "global_extract":
                data = result
        return data

    def _imported(self, import_target: Callable[[], Any], cache: bool) -> Any:
        file = self._bench.folder / CACHE_FILE
        if cache and file.is_file() and not self._bench.fresh:
            return pickle.loads(file.read_bytes())
        responses = import_target()
        self._bench.fresh = False
        if cache and responses:
            write_atomic(file, pickle.dumps(responses))
        return responses

    def _write(self, name: str, data: Any) -> None:
        path = self._bench.folder / name
        path.write_text(json.dumps(data, indent=4, default=str), encoding="utf-8")


def _first(rows: list[Any]) -> dict[str, Any]:
    return {f"row {number}": row for number, row in enumerate(rows[:_SHOWN_ROWS], 1)}


def _say(**shown: Any) -> None:
    for name, value in shown.items():
        sys.stdout.write(f"{name}:\n{value}\n\n")


def _stop(hint: str, **shown: Any) -> bool:
    _say(**shown)
    sys.stdout.write(f"next: {hint}\n")
    return False
