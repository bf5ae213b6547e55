"""Commands: ``python main.py`` and ``api2db``."""
