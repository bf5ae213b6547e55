"""The documented import path of DateCast."""

from api2db.form.post import DateCast

__all__ = ["DateCast"]
