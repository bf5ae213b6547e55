"""Benchmarks: ``python -m bench``. Real servers, real processes, what we are compared with in the same run."""
