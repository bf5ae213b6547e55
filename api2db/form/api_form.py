"""ApiForm: the recipe that turns an API's responses into a table, and the running of it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa

from api2db.children import Children
from api2db.errors import ConfigError, ShapeError
from api2db.form.children import ListForm, list_forms, without
from api2db.form.column import Column, is_json, step_count, table_of
from api2db.form.feature import Feature
from api2db.form.frames import frame_of, table_of_frame
from api2db.form.infer import infer_columns
from api2db.form.kinds import column_kind
from api2db.form.lab import LAB, Lab
from api2db.form.merge_static import MergeStatic
from api2db.form.path import Records
from api2db.form.post import Post
from api2db.form.pre import GlobalExtract, Pre, RowsAt
from api2db.form.rows import row_count, rows_of_response
from api2db.form.shaped import Shaped, StepCount
from api2db.form.step import failed
from api2db.form.typecast import typecast


@dataclass
class _Part:
    """Rows that become one frame: of one response, or of several where nothing tells them apart."""

    rows: Sequence[object]
    position: int = 0
    globals: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class _Ledger:
    """The account of the steps, in order, summed over parts."""

    counts: dict[int, StepCount] = field(default_factory=dict)

    def add(self, position: int, count: StepCount) -> None:
        before = self.counts.get(position)
        if before is not None:
            count = StepCount(
                count.step,
                before.rows_in + count.rows_in,
                before.rows_out + count.rows_out,
                before.nulled + count.nulled,
                before.replaced + count.replaced,
                _summed(before.by_column, count.by_column),
            )
        self.counts[position] = count

    def steps(self) -> tuple[StepCount, ...]:
        return tuple(self.counts[position] for position in sorted(self.counts))


class ApiForm:
    """How an API's responses become rows.

    For each response: every pre-processor in order, then one row per item with every feature, then the values
    of GlobalExtract as columns, then every post-processor in order. Without features the columns are found
    (see ``InferredForm``). A feature or global value with the key of an earlier one replaces it.
    """

    def __init__(
        self,
        name: str,
        pre_process: list[Any] | None = None,
        data_features: list[Any] | None = None,
        post_process: list[Any] | None = None,
    ) -> None:
        self.name = name
        self.pre_process: list[Any] = [] if pre_process is None else pre_process
        self.data_features: list[Any] = [] if data_features is None else data_features
        self.post_process: list[Any] = [] if post_process is None else post_process
        self._lists: tuple[ListForm, ...] = ()
        # Only the lab tells a phase that isn't written yet from one without steps.
        self._unwritten = [phase is None and name == LAB for phase in (pre_process, data_features, post_process)]

    @classmethod
    def from_shape(cls, name: str, shape: Mapping[str, Any] | None, rows: str | None = None) -> ApiForm:
        """A form of paths: ``{"mag": "properties.mag", "at": "properties.time:ms"}``.

        Columns without a kind find their types; a function of a record may stand for a path, and ``Children`` for
        a list that is a table of its own; without a shape all columns are found. ``rows`` is the path of the list in
        each response. Raises ConfigError for a path that can't be.
        """
        given = shape or {}
        features = [Feature(key, where) for key, where in given.items() if not isinstance(where, Children)]
        form = cls(name, [] if rows is None else [RowsAt(rows)], features)
        form._lists = list_forms({key: where for key, where in given.items() if isinstance(where, Children)})
        return form

    def with_children(self, children: Mapping[str, Children]) -> ApiForm:
        """The same form, with lists inside its rows as children. Raises ConfigError for what can't be together."""
        self._check_post(children, self.post_process)
        taken = sorted({feature.key for feature in self.data_features} & set(children))
        if taken:
            raise ConfigError(f"form {self.name}: {taken[0]!r} is a feature and a name of children: rename one of them")
        form = copy.copy(self)
        form._lists = (*self._lists, *list_forms(children))
        return form

    def _check_post(self, children: Collection[object], post: Sequence[object]) -> None:
        if children and post:
            raise ConfigError(
                f"form {self.name}: children= and post_process don't go together: post-processors see a frame, which"
                " has no children; use features in their place"
            )

    @property
    def lists(self) -> tuple[str, ...]:
        """The names of its children."""
        return tuple(one.name for one in self._lists)

    def add_pre(self, pre: Pre) -> None:
        """Add a pre-processor after those there are."""
        self.pre_process.append(pre)

    def add_feature(self, feat: Feature) -> None:
        """Add a feature after those there are."""
        self.data_features.append(feat)

    def add_post(self, post: Post) -> None:
        """Add a post-processor after those there are. Raises ConfigError for a form with children."""
        self._check_post(self._lists, [post])
        self.post_process.append(post)

    def pandas_typecast(self) -> dict[str, str]:
        """The pandas dtype of each feature's column, for ``DataFrame.astype``."""
        return {feature.key: typecast(feature.dtype) for feature in self.data_features}

    @staticmethod
    def typecast(dtype: Any) -> str:
        """``Int64``, ``Float64`` or ``bool`` for ``int``, ``float`` and ``bool``; ``string`` for anything else."""
        return typecast(dtype)

    def missing_dependencies(self) -> list[str]:
        """Files of MergeStatic that aren't there yet; a poll waits for them."""
        return [step.path for step in self.post_process if isinstance(step, MergeStatic) and not step.is_satisfied()]

    def dependencies_satisfied(self) -> bool:
        """Are the files of all MergeStatic steps there?"""
        return not self.missing_dependencies()

    def experiment(self, CACHE: bool, import_target: Callable[[], Any]) -> bool:
        """Try the form on a real answer, step by step, with files to look at (see ``Lab``). True when it's complete."""
        return Lab(self, *self._unwritten).run(import_target, CACHE)

    def shape(self, responses: Sequence[object]) -> Shaped:
        """Shape all responses of one poll into one table. Raises ShapeError, naming the step."""
        ledger = _Ledger()
        parts = self._parts(responses, ledger)
        if not self.post_process:
            table = self._table(parts, ledger)
            return Shaped(table, ledger.steps())
        frames: list[pd.DataFrame] = []
        known: dict[str, pa.Field] = {}
        for part in parts:
            table = self._table([part], ledger)
            _learn(known, table.schema)
            if table.num_rows:
                frames.append(self._post(frame_of(table), f"response {part.position}", ledger))
        if not frames:
            empty = pa.schema(known.values()).empty_table() if parts else self._table([], ledger)
            return Shaped(empty, ledger.steps())
        shaped = table_of_frame(_together(frames), known)
        changed = tuple(count for count in shaped.steps if count.nulled or count.replaced)
        return Shaped(shaped.table, ledger.steps() + changed)

    def frame(self, data: object) -> pd.DataFrame | None:
        """The frame of one response, with the documented dtypes; None if it has nothing to give."""
        ledger = _Ledger()
        part = self._part(data, 0, ledger)
        if part is None:
            return None
        frame = frame_of(self._table([part], ledger))
        return self._post(frame, "response 0", ledger).reset_index(drop=True) if len(frame) else frame

    def _parts(self, responses: Sequence[object], ledger: _Ledger) -> list[_Part]:
        """The rows of the responses. Without pre-processors, responses that are objects are rows of one frame."""
        if not self.pre_process and set(map(type, responses)) == {dict}:
            return [_Part(responses)]
        parts: list[_Part] = []
        loose: list[object] = []
        for position, response in enumerate(responses):
            if not self.pre_process and type(response) is dict:
                loose.append(response)
                continue
            part = self._part(response, position, ledger)
            if part is not None:
                parts.append(part)
        return [_Part(loose), *parts] if loose else parts

    def _part(self, data: object, position: int, ledger: _Ledger) -> _Part | None:
        """One response through the pre-processors; None once one of them gives None."""
        found: dict[str, dict[str, Any]] = {}
        for number, step in enumerate(self.pre_process):
            before, nulled = row_count(data), 0
            if data is not None:
                try:
                    if type(step) is GlobalExtract:
                        result, nulled = step.counted(data)
                    else:
                        result = step(data)
                except ShapeError:
                    raise
                except Exception as error:
                    raise failed(step.label, error, f"response {position}") from error
                if isinstance(step, GlobalExtract):
                    found[step.key] = result
                else:
                    data = result
            ledger.add(number, StepCount(step.label, before, row_count(data), nulled))
        return None if data is None else _Part(rows_of_response(data, position), position, found)

    def _table(self, parts: Sequence[_Part], ledger: _Ledger) -> pa.Table:
        """Features and global values of the rows of these parts, one below the other."""
        rows = parts[0].rows if len(parts) == 1 else [row for part in parts for row in part.rows]
        columns = self._features(rows)
        for step in self.pre_process:
            if isinstance(step, GlobalExtract):
                values = [part.globals[step.key]["value"] for part in parts for _ in part.rows]
                columns[step.key] = column_kind(step.dtype).column(values)
        table, renamed = table_of(columns, list(columns.values()))
        number = len(self.pre_process)
        ledger.add(number, step_count("features", len(rows), table.num_rows, columns, columns.values()))
        for count in renamed:
            ledger.add(number + 1, count)
        return table

    def _features(self, rows: Sequence[object]) -> dict[object, Column]:
        columns: dict[object, Column]
        if not self.data_features:
            columns = dict(zip(*infer_columns(without(rows, self._lists) if self._lists else rows), strict=True))
        else:
            records = Records(rows, [step.path for step in self.data_features if step.path is not None])
            columns = {feature.key: feature.column(records, rows) for feature in self.data_features}
        for one in self._lists:
            columns[one.name] = one.made(rows, {}).column
        return columns

    def _post(self, frame: pd.DataFrame, where: str, ledger: _Ledger) -> pd.DataFrame:
        for number, step in enumerate(self.post_process, len(self.pre_process) + 2):
            before = len(frame)
            try:
                frame, nulled = step.counted(frame) if isinstance(step, Post) else (step(frame), 0)
            except ShapeError:
                raise
            except Exception as error:
                raise failed(step.label, error, where) from error
            if not isinstance(frame, pd.DataFrame):
                raise ShapeError(f"step {step.label} returned {type(frame).__name__}, not a frame, on {where}")
            ledger.add(number, StepCount(step.label, before, len(frame), nulled))
        return frame


def _summed(one: Iterable[tuple[str, int]], other: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    total = Counter(dict(one))
    total.update(dict(other))
    return tuple(total.items())


def _learn(known: dict[str, pa.Field], schema: pa.Schema) -> None:
    """Add what the fields of one more part are to what is known of them: JSON only while all are."""
    for new in schema:
        old = known.get(new.name)
        if old is None or old.type == pa.null():
            known[new.name] = new
        elif is_json(old) and not is_json(new) and new.type != pa.null():
            known[new.name] = old.remove_metadata()


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    return pd.concat(frames, ignore_index=True)


def form_from_shape(name: str, shape: Mapping[str, Any] | None, rows: str | None = None) -> ApiForm:
    """``ApiForm.from_shape`` as a function."""
    return ApiForm.from_shape(name, shape, rows)
