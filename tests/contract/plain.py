"""``plain://``: SQLite by a dialect that api2db has no loader of its own for, so that the generic one takes it."""

from __future__ import annotations

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite


class Plain(SQLiteDialect_pysqlite):
    name = "plain"
    supports_statement_cache = True


registry.register("plain", __name__, "Plain")
