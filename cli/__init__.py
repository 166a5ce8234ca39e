"""The `candor` command; the only place that sees every room."""
