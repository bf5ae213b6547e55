"""Who one is to an API: credentials, how they are sent, and how they are renewed."""
