"""Where payloads come from, and how bytes become values."""
