"""The documented import path of GlobalExtract."""

from api2db.form.pre import GlobalExtract

__all__ = ["GlobalExtract"]
