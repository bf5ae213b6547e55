"""The import path of stores. There are none in this version; programs whose lists of stores are empty run."""

from __future__ import annotations

__all__: list[str] = []

_DOCUMENTED = ("Store", "Store2Sql", "Store2Bigquery", "Store2Omnisci")


def __getattr__(name: str) -> object:
    if name in _DOCUMENTED:
        raise ImportError(
            f"{name} isn't in this version of api2db. A stream loads as data comes in; to compose a folder of shards"
            " use FileConverter.static_compose_df_from_dir"
        )
    raise AttributeError(f"module 'api2db.store' has no attribute {name!r}")
