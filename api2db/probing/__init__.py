"""Finding out what an endpoint is like, and writing a collector for it."""
