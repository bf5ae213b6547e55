"""The documented import path of Api2Pandas."""

from api2db.form.api2pandas import Api2Pandas

__all__ = ["Api2Pandas"]
