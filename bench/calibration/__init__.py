"""Strengths that are found once: of tuned encodings, and of attacks at equal loss of accuracy."""
