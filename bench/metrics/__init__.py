"""What is measured of a model or a mark, beside what extraction says."""
