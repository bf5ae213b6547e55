"""The version, in one place: packaging and ``api2db --version`` read it."""

__version__ = "2.0.0.dev0"
