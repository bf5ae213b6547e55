"""What the daemon answers over HTTP: whether it lives, whether it can accept, how everything is."""
