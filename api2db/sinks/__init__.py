"""The places batches are loaded into. ``base.Sink`` is the seam; each module beside it is one kind of place."""
