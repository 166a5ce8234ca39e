"""Vectors in FAISS, and exact and approximate search among them."""
