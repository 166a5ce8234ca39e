"""Zero-shot classification over HTTP with calibrated scores, and the metrics that watch them."""
