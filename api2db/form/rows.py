"""Responses as rows: what a source returned, before any feature has looked at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api2db.errors import ShapeError


def rows_of(responses: Sequence[object]) -> list[object]:
    """All rows of all responses: an object is one row, a list is its items, None is nothing.

    Raises ShapeError for a response that is neither.
    """
    rows: list[object] = []
    for position, response in enumerate(responses):
        if type(response) is dict:
            rows.append(response)
        else:
            rows.extend(rows_of_response(response, position))
    return rows


def rows_of_response(response: object, position: int) -> Sequence[object]:
    """The rows of one response (see ``rows_of``); ``position`` is its index, for the error."""
    if response is None:
        return ()
    if isinstance(response, Mapping):
        return (response,)
    if isinstance(response, (list, tuple)):
        return response
    raise ShapeError(
        f"response {position} is {type(response).__name__}, not an object or a list of objects: "
        "return decoded JSON from the source, or pick the list with ListExtract"
    )


def row_count(data: object) -> int:
    """How many rows data between two steps stands for: its items, or 1, or 0 for None."""
    if data is None:
        return 0
    return len(data) if isinstance(data, (list, tuple)) else 1
