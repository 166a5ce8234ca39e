"""`candor simulate`: two days of a deployment in a few minutes."""
