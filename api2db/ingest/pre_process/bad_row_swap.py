"""The documented import path of BadRowSwap."""

from api2db.form.bad_row_swap import BadRowSwap

__all__ = ["BadRowSwap"]
