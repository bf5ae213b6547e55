"""One module per workload. Each has ``run(context) -> list[Line]``."""
