"""The documented import path of Collector."""

from api2db.collector import Collector

__all__ = ["Collector"]
