"""What becomes of answers: receipts that callers send back with the true label, and the store that keeps them."""
