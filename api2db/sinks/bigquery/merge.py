"""The statement that merges a staging table: the newest row of each key into the table."""

from __future__ import annotations

from api2db.sinks.bigquery.manifest import Manifest

ORDER = "_api2db_order"
"""A staging table's column for the place of each row: the later of two wins."""


def merge_sql(manifest: Manifest) -> str:
    """One statement, which is all or nothing, and changes nothing when its rows are merged already."""
    names = [str(column["name"]) for column in manifest.columns if column["name"] != ORDER]
    key = [f"`{name}`" for name in manifest.key]
    staged = manifest.version in names
    newest = f"`{manifest.version}` DESC NULLS LAST, " if staged else ""
    newer = ""
    if manifest.version is not None:
        version = f"`{manifest.version}`"
        newer = f" AND (T.{version} IS NULL" + (f" OR S.{version} >= T.{version})" if staged else ")")
    changed = [f"`{name}` = S.`{name}`" for name in names if name not in manifest.key]
    update = f" WHEN MATCHED{newer} THEN UPDATE SET {', '.join(changed)}" if changed else ""
    columns = ", ".join(f"`{name}`" for name in names)
    values = ", ".join(f"S.`{name}`" for name in names)
    return (
        f"MERGE `{manifest.table}` T USING (SELECT {columns} FROM `{manifest.staging}` WHERE TRUE"
        f" QUALIFY ROW_NUMBER() OVER (PARTITION BY {', '.join(key)} ORDER BY {newest}`{ORDER}` DESC) = 1) S"
        f" ON {' AND '.join(f'T.{name} = S.{name}' for name in key)}{update}"
        f" WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})"
    )
