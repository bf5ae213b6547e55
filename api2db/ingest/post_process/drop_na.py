"""The documented import path of DropNa."""

from api2db.form.post import DropNa

__all__ = ["DropNa"]
