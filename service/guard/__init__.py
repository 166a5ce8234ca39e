"""What stands before every route, BentoML's own too: keys, limits, headers, request ids, logs, one error envelope."""
