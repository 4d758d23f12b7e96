"""Weights of a network: views of them, files, carriers, and statistics of their values."""
