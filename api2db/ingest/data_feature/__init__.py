"""The documented import paths of features."""

from api2db.form.feature import Feature

__all__ = ["Feature"]
