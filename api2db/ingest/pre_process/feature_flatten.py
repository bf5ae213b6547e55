"""The documented import path of FeatureFlatten."""

from api2db.form.pre import FeatureFlatten

__all__ = ["FeatureFlatten"]
