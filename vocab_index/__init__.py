"""A large vocabulary in a FAISS index: outliers for DOR, and labels for images that fit none of the caller's."""
