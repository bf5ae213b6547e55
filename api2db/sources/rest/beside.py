"""Fields of the answer in each of its records: the base of exchange rates, the place of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api2db.errors import SourceError
from api2db.form.path import Path, parse_path
from api2db.sources.decoding.named import NamedRows
from api2db.sources.rest.declared import checked, mistaken
from api2db.sources.rest.records import Select, objects, selector


@dataclass(frozen=True, init=False)
class Beside:
    """The records, as ``records=`` says where they are, each with what stands beside them in the answer.

    ``Beside("rates.*", base="base", day="meta.date")``: name -> path from the top of the answer; one that leads nowhere
    is null. Raises ConfigError, which names the line of the declaration.
    """

    records: object
    fields: tuple[tuple[str, Path], ...]
    select: Select = field(compare=False, repr=False)

    def __init__(self, records: object = None, /, **fields: str) -> None:
        for name, path in fields.items():
            if not isinstance(path, str):
                raise mistaken(f"Beside({name}={path!r}): give a path from the top of the answer, 'meta.date'")
        if not fields:
            raise mistaken("Beside: name what each record is to have, Beside('items', day='meta.date')")
        object.__setattr__(self, "records", records)
        object.__setattr__(self, "select", checked(lambda: selector(records)))
        found = checked(lambda: tuple((name, parse_path(path, ())[0]) for name, path in fields.items()))
        object.__setattr__(self, "fields", found)

    def __call__(self, body: object) -> Sequence[Any]:
        selected = self.select(body)
        records = objects(selected)
        values = {name: path.read(body) for name, path in self.fields}
        own = next((name for record in records for name in values if name in record), None)
        if own is not None:
            raise SourceError(
                f"the records have a field {own!r} of their own: give the answer's another name in Beside"
            )
        made = [{**values, **record} for record in records]
        # Whose names stood in a row of their own is known further on, too.
        return NamedRows(made, selected.names, selected.advice) if isinstance(selected, NamedRows) else made
