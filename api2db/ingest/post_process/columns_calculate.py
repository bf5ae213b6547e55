"""The documented import path of ColumnsCalculate."""

from api2db.form.post import ColumnsCalculate

__all__ = ["ColumnsCalculate"]
