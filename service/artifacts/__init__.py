"""What can be served: artifacts of a directory and of the BentoML store, and the one that is active."""
