"""The documented import path of ColumnApply."""

from api2db.form.post import ColumnApply

__all__ = ["ColumnApply"]
