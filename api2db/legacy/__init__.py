"""The commands of api2db 1.0.1 (``pmake``, ``cadd``, …) and the project they make: ``apis/`` and a ``main.py``."""
