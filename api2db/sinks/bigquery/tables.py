"""The dataset and the table, made and made to fit: columns are added, never changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import Conflict, NotFound

from api2db.errors import FatalError
from api2db.schema import Field, Kind
from api2db.sinks.bigquery.columns import NAMES, declare
from api2db.sinks.bigquery.goal import Goal, Nested
from api2db.sinks.bigquery.jobs import ONCE, TIMEOUT_S
from api2db.sinks.bigquery.nested import declare_nested
from api2db.sinks.group import Group
from api2db.sinks.names import place
from api2db.sinks.new_columns import new_columns

if TYPE_CHECKING:
    from google.cloud import bigquery
    from google.cloud.bigquery import SchemaField

log = logging.getLogger(__name__)

_LAYOUT = ("timePartitioning", "rangePartitioning", "clustering")
_ATTEMPTS = 5


@dataclass(frozen=True)
class Columns:
    """A table as it is.

    known   its columns
    layout  how it is partitioned and clustered, as the REST API has it
    """

    known: tuple[SchemaField, ...]
    layout: Mapping[str, Any]

    def placed(self, names: Sequence[str]) -> Mapping[str, str]:
        return place(names, [column.name for column in self.known], NAMES)

    def named(self, name: str) -> SchemaField | None:
        return next((column for column in self.known if column.name == name), None)


class Tables:
    """One goal's dataset and table. One thread at a time; raises Google's errors, and FatalError."""

    def __init__(self, client: Callable[[], bigquery.Client], goal: Goal) -> None:
        self._client = client
        self._goal = goal

    def make_dataset(self) -> bigquery.Dataset:
        """The dataset, made where it isn't there. Raises FatalError for one in another location than its jobs are."""
        found = self._dataset()
        if (found.location or self._goal.location).upper() != self._goal.location.upper():
            raise FatalError(f'the dataset is in {found.location}: set location="{found.location}"')
        return found

    def _dataset(self) -> bigquery.Dataset:
        from google.cloud.bigquery import Dataset

        client = self._client()
        try:
            return client.get_dataset(self._goal.dataset, retry=ONCE, timeout=TIMEOUT_S[1])
        except NotFound:
            wanted = Dataset(self._goal.dataset)
            wanted.location = self._goal.location
            try:
                made = client.create_dataset(wanted, retry=ONCE, timeout=TIMEOUT_S[1])
            except Conflict:
                return client.get_dataset(self._goal.dataset, retry=ONCE, timeout=TIMEOUT_S[1])
            log.info("dataset created dataset=%s location=%s", self._goal.dataset, self._goal.location)
            return made

    def get(self) -> bigquery.Table | None:
        try:
            return self._client().get_table(self._goal.table, retry=ONCE, timeout=TIMEOUT_S[1])
        except NotFound:
            return None

    def fit(self, groups: Sequence[Group], about_to_make: Callable[[], None]) -> Columns | None:
        """The table as it is once it has a column for each field that has a type; None where none has, and no table.

        about_to_make  called before the table is made
        """
        for _ in range(_ATTEMPTS):
            table = self.get()
            known = () if table is None else tuple(table.schema)
            missing = self._missing(known, groups)
            if table is None:
                if not missing or not set(map(NAMES.legal, self._goal.key)) <= {column.name for column in missing}:
                    return None
                about_to_make()
                table = self._make_in_its_dataset(missing)
            elif missing:
                table = self._add(table, missing)
            if table is not None:
                return columns_of(table)
        raise FatalError("its columns keep being changed by others meanwhile")

    def _make_in_its_dataset(self, columns: Sequence[SchemaField]) -> bigquery.Table | None:
        """The same as ``make``; the dataset, which is there since ``connect``, only where somebody dropped it."""
        try:
            return self.make(columns)
        except NotFound:
            self.make_dataset()
            return self.make(columns)

    def make(self, columns: Sequence[SchemaField]) -> bigquery.Table | None:
        """The table; None if somebody else has just made it."""
        from google.cloud.bigquery import Table, TimePartitioning

        goal = self._goal
        wanted = Table(goal.table, schema=list(columns))
        placed = place(
            [field for field in (goal.partition_by, *goal.cluster_by) if field],
            [column.name for column in columns],
            NAMES,
        )
        lacking = set(placed.values()) - {column.name for column in columns}
        if lacking:
            raise FatalError(
                f"it can't be made without the column {', '.join(sorted(lacking))}, which it is to be partitioned or"
                " clustered by: no row has had a value there"
            )
        if goal.partition_by is not None:
            wanted.time_partitioning = TimePartitioning(type_=goal.partition_type, field=placed[goal.partition_by])
        if goal.cluster_by:
            wanted.clustering_fields = [placed[field] for field in goal.cluster_by]
        try:
            made = self._client().create_table(wanted, retry=ONCE, timeout=TIMEOUT_S[1])
        except Conflict:
            return None
        log.info("table created table=%s columns=%d", goal.table, len(columns))
        return made

    def sketch(self, groups: Sequence[Group]) -> list[SchemaField]:
        """The columns of a table that is made for these rows; asks nobody."""
        return self._missing((), groups)

    def drop(self, table: str) -> None:
        self._client().delete_table(table, retry=ONCE, timeout=TIMEOUT_S[1], not_found_ok=True)

    def _missing(self, known: Sequence[SchemaField], groups: Sequence[Group]) -> list[SchemaField]:
        def can_make(field: Field, one: Group) -> bool:
            return self._declare(field.name, field, one) is not None

        names = [column.name for column in known]
        new = new_columns(
            groups, names, lambda fields, columns: place(fields, columns, NAMES), self._goal.key, can_make
        )
        made = [self._declare(name, field, one) for name, (field, one) in new.items()]
        return [column for column in made if column is not None]

    def _declare(self, name: str, field: Field, one: Group) -> SchemaField | None:
        """The column that is made for a field; None where nothing is known yet of what its nested values hold."""
        if field.kind is Kind.JSON and self._goal.nested is Nested.STRUCT:
            with suppress(ValueError):  # what has no common type goes into a JSON column
                return declare_nested(name, one.table.column(field.name).to_pylist())
        return declare(name, field)

    def _add(self, table: bigquery.Table, columns: Sequence[SchemaField]) -> bigquery.Table | None:
        """The table with these columns; None if somebody else has changed it meanwhile."""
        from google.api_core.exceptions import PreconditionFailed

        table.schema = [*table.schema, *columns]
        try:
            return self._client().update_table(table, ["schema"], retry=ONCE, timeout=TIMEOUT_S[1])
        except PreconditionFailed:
            return None


def columns_of(table: bigquery.Table) -> Columns:
    about = table.to_api_repr()
    return Columns(tuple(table.schema), {name: about[name] for name in _LAYOUT if about.get(name)})
