"""The documented import path of ListExtract."""

from api2db.form.pre import ListExtract

__all__ = ["ListExtract"]
