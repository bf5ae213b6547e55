"""Which stretch of a source to ask for next, and which of its rows are new: see docs/incremental.md."""
