"""What a request costs, and who may ask."""
