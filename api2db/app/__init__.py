"""The documented import paths ``api2db.app.*``."""
