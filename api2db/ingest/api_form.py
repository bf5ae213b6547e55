"""The documented import path of ApiForm."""

from api2db.form.api_form import ApiForm

__all__ = ["ApiForm"]
