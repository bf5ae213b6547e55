"""Names that HeavyDB takes bare, in SQL and in its dashboards: letters, digits and underscores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from api2db.sinks.names import NameRules, digest, place

# The documented suffix: without it many a field is a reserved word.
SUFFIX = "_t"
BATCH = "api2db_batch"  # can't be a field's: those end in the suffix
LEDGER = "api2db_ledger"
_MAX_CHARS = 120
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RULES = NameRules(ignores_case=True)


def bare(name: str) -> str:
    """The name as it is where it needs no quotes; else what is left of it, with a digest that tells it apart."""
    if _BARE.fullmatch(name) and len(name) <= _MAX_CHARS:
        return name
    left = re.sub(r"[^A-Za-z0-9_]+", "_", name)[: _MAX_CHARS - 5].strip("_")
    return f"{left if left[:1].isalpha() else f'c_{left}'}_{digest(name)}"


def columns_of(fields: Sequence[str], existing: Iterable[str]) -> Mapping[str, str]:
    """The column of each field: ``<field>_t``. Two fields that differ only in case have one each."""
    wanted = {field: f"{bare(field)}{SUFFIX}" for field in fields}
    placed = place(list(dict.fromkeys(wanted.values())), existing, _RULES)
    return {field: placed[name] for field, name in wanted.items()}


def table_of(collector: str) -> str:
    """The documented table: ``<collector>_stream``."""
    return bare(f"{collector}_stream")
