"""Compression systems as attacks: one ADMM engine, its projections, and the systems that stand on it."""
