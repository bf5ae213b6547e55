"""The documented import path of Pre."""

from api2db.form.pre import Pre

__all__ = ["Pre"]
