"""Label sets: the text features that are kept, and the sets that callers keep by name. Knows nothing of HTTP."""
