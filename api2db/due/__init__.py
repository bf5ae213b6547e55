"""When something is due: pure, by clocks that are handed in."""
