"""Reads an authentication file."""

from __future__ import annotations

import json
import os

from api2db.secret import remember_named


def auth_manage(path: str | os.PathLike[str]) -> object:
    """The parsed JSON of the file at ``path``; None if it can't be read or isn't JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    if isinstance(found, dict):
        remember_named(found)
    return found
