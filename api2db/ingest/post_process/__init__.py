"""The documented import paths of post-processors."""

from api2db.form.merge_static import MergeStatic
from api2db.form.post import ColumnAdd, ColumnApply, ColumnsCalculate, DateCast, DropNa, Post

__all__ = ["ColumnAdd", "ColumnApply", "ColumnsCalculate", "DateCast", "DropNa", "MergeStatic", "Post"]
