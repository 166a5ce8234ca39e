"""Performance of encoding, mining and searching a vocabulary, each a ratio to a baseline in the same run."""
