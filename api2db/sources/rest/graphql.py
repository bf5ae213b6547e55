"""GraphQL over HTTP: a query as a request, its answer's errors, its connections as records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import ConfigError
from api2db.sources.rest.paging import Connection, Paging, Single
from api2db.sources.rest.records import At, Found, Select

if TYPE_CHECKING:
    from api2db.sources.answer import Answer

_DATA: Final = "data"
_LISTS: Final = ("nodes", "edges")
_SHOWN_ERRORS: Final = 3


@dataclass(frozen=True)
class Nodes:
    """The nodes of the connection at a path: its ``nodes``, or the ``node`` of each of its ``edges``."""

    path: str

    def __call__(self, body: object) -> Sequence[Any]:
        found = At(self.path)(body)
        if len(found) != 1 or not set(_LISTS) & set(found[0]):
            return found
        connection = found[0]
        if "nodes" in connection:
            return [node for node in connection["nodes"] or () if node is not None]
        return [edge["node"] for edge in connection["edges"] or () if edge and edge.get("node") is not None]


def content(query: str, variables: Mapping[str, object] | None) -> dict[str, object]:
    """What is posted."""
    return {"query": query, "variables": dict(variables or {})}


def convention(query: str, records: str | None, after: str) -> tuple[Select, Paging]:
    """Where the records of a query are, and how it goes on. Raises ConfigError where the query can't."""
    pages = re.search(rf"\${re.escape(after)}\b", query) is not None
    if records is None:
        if pages:
            raise ConfigError(f"the query takes ${after}: say which connection goes on by it: records='viewer.issues'")
        return Found(), Single()
    *outer, last = records.split(".")
    connection = ".".join((_DATA, *outer, *(() if last in _LISTS else (last,))))
    if not pages:
        if "pageInfo" in query:
            raise ConfigError(
                f"the query asks for pageInfo but doesn't take the cursor: declare ${after}: String, and give it"
                f" as after: ${after}"
            )
        return Nodes(connection), Single()
    if "pageInfo" not in query:
        raise ConfigError(f"the query takes ${after} but doesn't ask for pageInfo {{ hasNextPage endCursor }}")
    return Nodes(connection), Connection(connection, after)


def decode(answer: Answer) -> object:
    """The answer, once it is known to hold no errors. Raises HttpError with what they say."""
    body = answer.json()
    errors = body.get("errors") if isinstance(body, dict) else None
    if errors:
        said = [str(error.get("message", "")) if isinstance(error, dict) else str(error) for error in errors]
        more = f" and {len(said) - _SHOWN_ERRORS} more" if len(said) > _SHOWN_ERRORS else ""
        raise answer.error(f"GraphQL errors: {'; '.join(said[:_SHOWN_ERRORS])}{more}")
    return body
