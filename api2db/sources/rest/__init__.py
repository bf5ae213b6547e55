"""Any REST API."""
