"""Faults planted in our own code, one at a time: each must be caught."""
