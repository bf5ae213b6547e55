"""The documented import path of ColumnAdd."""

from api2db.form.post import ColumnAdd

__all__ = ["ColumnAdd"]
