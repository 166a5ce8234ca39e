"""The routes under /v1 and what goes in and out of them. Knows FastAPI; not BentoML."""
