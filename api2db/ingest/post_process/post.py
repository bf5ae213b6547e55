"""The documented import path of Post."""

from api2db.form.post import Post

__all__ = ["Post"]
