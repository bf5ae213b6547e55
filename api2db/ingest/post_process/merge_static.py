"""The documented import path of MergeStatic."""

from api2db.form.merge_static import MergeStatic

__all__ = ["MergeStatic"]
