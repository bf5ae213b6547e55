"""Collectors whose polls run in a process of their own: ``isolate=True``."""
