"""GraphQL connections: pageInfo says where the next page begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from api2db.errors import SourceError
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.paging.convention import Answered, Step, checked_path, path_of


@dataclass(frozen=True)
class Connection:
    """``pageInfo { hasNextPage endCursor }`` of the connection at ``path``; the cursor is sent as a variable.

    after_variable  the variable's name, which the query declares: ``query ($after: String)``
    """

    path: str
    after_variable: str = "after"

    counts: ClassVar[bool] = False
    heeds: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        checked_path(self.path)

    def ask(self, first: Ask, step: Step) -> Ask:
        if "cursor" not in step:
            return first
        return first.with_fields(**{f"variables.{self.after_variable}": step["cursor"]})

    def after(self, answered: Answered) -> Step | None:
        connection = path_of(self.path).read(answered.body)
        if connection is None:
            return None
        info = connection.get("pageInfo") if isinstance(connection, dict) else None
        if not isinstance(info, dict) or "hasNextPage" not in info:
            raise SourceError(f"there is no pageInfo {{ hasNextPage endCursor }} at {self.path!r}; ask for it")
        if not info["hasNextPage"]:
            return None
        if not info.get("endCursor"):
            raise SourceError(f"pageInfo at {self.path!r} has a next page, but no endCursor; ask for it in the query")
        return {"cursor": info["endCursor"]}
