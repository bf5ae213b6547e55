"""The documented import path of Feature."""

from api2db.form.feature import Feature

__all__ = ["Feature"]
