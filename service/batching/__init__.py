"""From the bytes of images to image features: decoding side by side, the model in batches. Knows nothing of HTTP."""
