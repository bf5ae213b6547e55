"""A step of a form: a callable object. What users subclass to write their own."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from api2db.errors import ShapeError

_SHOWN = 80
"""How much of a message may show: enough for a key, too little for a row."""


class Step:
    """The base of pre-processors, features and post-processors: ``step(data)`` is ``step.lam_wrap(data)``."""

    ctype = "step"

    def __call__(self, lam_arg: Any) -> Any:
        return self.lam_wrap(lam_arg)

    def lam_wrap(self, lam_arg: Any) -> Any:
        """What the step does; every subclass says."""
        raise NotImplementedError(f"{type(self).__name__} does not override lam_wrap(self, lam_arg)")

    @property
    def label(self) -> str:
        """The step as counts and messages name it."""
        return type(self).__name__


class Labelled(Step):
    """A step of ours, named with the columns it works on."""

    _label = ""

    def __init__(self, *names: object) -> None:
        self._label = f"{type(self).__name__}({', '.join(map(str, names))})"

    @property
    def label(self) -> str:
        # A user's subclass may not have called __init__.
        return self._label or super().label


def failed(step: str, error: Exception, where: str) -> ShapeError:
    """What to raise where a step failed: its name, the kind of error and where; of the data at most a key."""
    cause = type(error).__name__
    if isinstance(error, (LookupError, pickle.UnpicklingError, OSError, NotImplementedError)):
        cause = f"{cause}: {str(error)[:_SHOWN]}"
    return ShapeError(f"step {step} failed on {where}: {cause}")


def names_of(keys: str | Sequence[str]) -> list[str]:
    """Column names given as a list, or one alone."""
    return [keys] if isinstance(keys, str) else list(keys)
